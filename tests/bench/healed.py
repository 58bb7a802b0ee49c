"""How long a VM that has died, or hangs, is in its pool, and how soon it is healed: real VMs, a real HAProxy."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

from orchestrator.client.client import Client
from orchestrator.drivers.balancer.haproxy_stat import parsed
from orchestrator.model import Carrier
from tests.bench.floor import Floor
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import Place
from tests.lab.harness.role import RoleDaemon
from tests.world.waiting import comes_true, until

WITHIN_S = 120.0
LOOK_S = 0.02
SETTLES_S = 3.0
KILLS = 5  # With one more, it would be taken for one that restarts for ever.
HANGS, WORST = 16, 12
INTERVAL_S, FALL = 1.0, 2
TARGET = 8080
# Ends as soon as a connection to this port, as a check makes it, has ended: by a packet with FIN or RST.
CHECKED = """
import socket, struct, sys
port = int(sys.argv[1])
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)) as wire:
    while True:
        packet, where = wire.recvfrom(65536)
        if packet[0] >> 4 != 4 or packet[9] != 6:
            continue
        head = 4 * (packet[0] & 15)
        if struct.unpack_from("!H", packet, head + 2)[0] == port and packet[head + 13] & 5:
            break
"""


def qemu_of(domain: str) -> int:
    """The process of a VM."""
    return int(Path(f"/run/libvirt/qemu/{domain}.pid").read_text())


def killed_s(lab: Lab, daemon: RoleDaemon, instance: str, url: str) -> tuple[list[float], list[float]]:
    """Each time from SIGKILL of its QEMU: until it is out of its pool, and until a client has an answer again."""
    out, healed = list[float](), list[float]()
    for _ in range(KILLS):
        time.sleep(SETTLES_S)
        began_s = time.time()
        os.kill(qemu_of(instance), signal.SIGKILL)
        answers_again(lab.client, url)
        healed.append(time.time() - began_s)
        until(lambda: daemon.json("get", "instances", instance)[0]["phase"] == "serving", WITHIN_S, what="serving")
        told = json.loads(daemon.run("events", instance, "-o", "json").stdout)
        left = [one["at_s"] for one in told if one["message"].startswith("draining ->") and one["at_s"] > began_s]
        out.append(left[0] - began_s)
    return out, healed


def restarted_by_hand_s(lab: Lab, floor: Floor, name: str) -> list[float]:
    """The same of a VM that is started again by hand, as soon as libvirt lets it."""
    taken = []
    for _ in range(KILLS):
        time.sleep(SETTLES_S)
        began_s = time.time()
        os.kill(qemu_of(name), signal.SIGKILL)
        until(lambda: lab.virsh("domstate", name).strip() == "shut off", WITHIN_S, what="its end")
        lab.virsh("start", name)
        answers_again(lab.host, floor.url(name))
        taken.append(time.time() - began_s)
    return taken


def answers_again(place: Place, url: str) -> None:
    """Waits until whoever asks there has an answer."""
    asked = ["curl", "-sf", "-o", "/dev/null", "-m", "1", url]
    assert comes_true(lambda: place.run(asked, check=False).returncode == 0, WITHIN_S, LOOK_S), "it stays away"


def hung_s(lab: Lab, daemon: RoleDaemon, instance: str, carrier: Carrier) -> list[float]:
    """Each time from when its VM hangs, for nothing in it goes on, until it is sent nothing more: just after a check
    of it has passed, the worst moment, but for the last ones, which are at any.
    """
    is_up = UP[carrier]
    taken = []
    for number in range(HANGS):
        time.sleep(SETTLES_S)
        if number < WORST:
            assert lab.host.run([sys.executable, "-c", CHECKED, str(TARGET)], timeout_s=WITHIN_S).returncode == 0
        else:
            time.sleep((number - WORST) * INTERVAL_S / (HANGS - WORST))
        qemu, began_s = qemu_of(instance), time.monotonic()
        os.kill(qemu, signal.SIGSTOP)
        try:
            assert comes_true(lambda: not is_up(daemon, instance), WITHIN_S, LOOK_S), "it stays in its pool"
            taken.append(time.monotonic() - began_s)
        finally:
            os.kill(qemu, signal.SIGCONT)
        until(lambda: is_up(daemon, instance), WITHIN_S, what="its way back")
    return taken


def _is_up_by_nftables(daemon: RoleDaemon, instance: str) -> bool:
    """Whether the kernel deals the instance connections."""
    return bool(Client(str(daemon.socket)).instance(instance)["standing"] == "up")


def _is_up_by_haproxy(daemon: RoleDaemon, instance: str) -> bool:
    """Whether HAProxy has the instance up."""
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(daemon.run_dir / "haproxy" / "admin.sock"))
        admin.sendall(b"show stat -1 4 -1\n")
        text = b"".join(iter(lambda: admin.recv(65536), b"")).decode()
    return any(name == instance and row.up for (_, name), row in parsed(text).items())


UP = {Carrier.HAPROXY: _is_up_by_haproxy, Carrier.NFTABLES: _is_up_by_nftables}
