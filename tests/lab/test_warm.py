"""Warm and prepared reimages of real VMs: what is as it was, what is gone, and what a saved memory must never do."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import InstanceName
from tests.lab.harness import answers
from tests.lab.harness.lab import Lab
from tests.lab.harness.load import Load
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, VIP, apply, instance, ready

__all__ = ["ready"]  # fixtures

SERVICE = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: {{instances}}
    reimage: warm
    checkpoint: {{{{maxAge: 1 d}}}}
    size: {{{{vcpus: 1, memory: 128 MiB}}}}
    endpoints:
      http: {{{{port: 80, target: 8080, protocol: http, probe: {{{{path: /healthz}}}}}}}}
    ready: {{{{within: 3 min}}}}
"""
PREPARED = f"""service: shop
vip: {VIP}
roles:
  web:
    image: micro
    instances: 1
    reimage: prepared
    size: {{vcpus: 1, memory: 128 MiB}}
    endpoints:
      http: {{port: 80, target: 8080, protocol: http, probe: {{path: /healthz}}}}
    localStorage:
      cache: {{size: 32 MiB}}
    ready: {{within: 3 min}}
    answers:
      userData: |
        #!/bin/sh
        cat /proc/sys/kernel/random/uuid > /drawn-at-setup
"""
NAME = "web-0.shop"
CLOCK_OFF_S = 0.1


def state(daemon: RoleDaemon) -> Path:
    """Where the checkpoint of the first instance lies."""
    return daemon.state / "lib" / "checkpoints" / NAME


def told(daemon: RoleDaemon) -> list[str]:
    """What the ledger has of the instance."""
    return [event["message"] for event in daemon.json("events", NAME)]


def mark(lab: Lab) -> None:
    """Writes a marker to the system disk, as a guest would."""
    lab.guest(NAME, ["/bin/sh", "-c", "echo kept > /marker; sync"])


def marker(lab: Lab) -> str:
    """What is left of it."""
    return lab.guest(NAME, ["/bin/sh", "-c", "cat /marker 2>/dev/null || echo gone"]).strip()


def random_bytes(lab: Lab) -> str:
    """Sixteen of the guest's."""
    return lab.guest(NAME, ["/bin/sh", "-c", "head -c 16 /dev/urandom | od -An -tx1"]).strip()


def boot_id(lab: Lab) -> str:
    """The guest's."""
    return lab.guest(NAME, ["/bin/cat", "/proc/sys/kernel/random/boot_id"]).strip()


def who(lab: Lab) -> str:
    """What the guest has learned and drawn in its setup: its name, its address, a secret of its own."""
    address = "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4"
    return lab.guest(NAME, ["/bin/sh", "-c", f"{address}; hostname; cat /drawn-at-setup"])


def clock_off_s(lab: Lab) -> float:
    """How far off the guest's clock is at least (seconds), for the question itself takes time."""
    ask = json.dumps({"execute": "guest-get-time"})
    before_s = time.time()
    guest_s = json.loads(lab.virsh("qemu-agent-command", NAME, ask))["return"] / 1e9
    return max(before_s - guest_s, guest_s - time.time(), 0.0)


def send_on(connection: socket.socket) -> None:
    """Until the other side refuses it; TimeoutError when nobody does."""
    end_s = time.monotonic() + 10.0
    while time.monotonic() < end_s:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        time.sleep(0.1)
    raise TimeoutError("it hangs")


def test_a_warm_reimage(lab: Lab, ready: RoleDaemon) -> None:
    """It is the instance of its checkpoint, on its disk, in the present, with randomness of its own; twice."""
    apply(ready, SERVICE.format(instances=1))
    first = instance(ready)
    assert (first["generation"], first["boot"]) == (1, 2)
    layer, memory = state(ready) / "1.qcow2", state(ready) / "1.memory"
    modes = [(path.stat().st_mode & 0o777, path.stat().st_uid) for path in (layer, memory)]
    assert modes == [(0o444, 0), (0o600, 0)]
    place = state(ready).stat()
    assert (place.st_mode & 0o777, place.st_uid) == (0o710, 0), "the layer is a guest's disk"
    for path in (layer, memory):
        nobody = subprocess.run(["head", "-c1", str(path)], user=65534, group=65534, extra_groups=[], check=False)
        assert nobody.returncode != 0, f"{path} can be read by everybody"
    kept = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (layer, memory)]
    booted, drawn = boot_id(lab), [random_bytes(lab)]
    address = lab.guest(NAME, ["/bin/sh", "-c", "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4; hostname"])

    for generation in (2, 3):
        mark(lab)
        dip = first["address"]
        with socket.create_connection((dip, 8080), 5.0) as open_before:
            began_s = time.monotonic()
            said = ready.run("reimage", "web-0", "--wait").stderr
            assert f"{NAME}: warm, from its checkpoint" in said
            print(f"warm reimage: {time.monotonic() - began_s:.1f} s")
            assert clock_off_s(lab) <= CLOCK_OFF_S
            open_before.settimeout(10.0)
            with pytest.raises(ConnectionError):  # Refused, not hung: nobody there knows of it.
                send_on(open_before)
        reached = instance(ready)
        assert (reached["generation"], reached["boot"], reached["vm_uuid"]) == (generation, 2, first["vm_uuid"])
        assert marker(lab) == "gone"
        assert boot_id(lab) == booted, "it repeats, and is counted right all the same"
        where = lab.guest(NAME, ["/bin/sh", "-c", "ip -4 -o addr show eth0 | tr -s ' ' | cut -d' ' -f4; hostname"])
        assert where == address
        drawn.append(random_bytes(lab))
        assert set(answers.distinct(lab.client, URL, 1, 10.0)) == {NAME}
    assert len(set(drawn)) == 3
    assert told(ready).count("requested -> restoring: warm, from its checkpoint") == 2
    assert [hashlib.sha256(path.read_bytes()).hexdigest() for path in (layer, memory)] == kept
    assert [(path.stat().st_mode & 0o777, path.stat().st_uid) for path in (layer, memory)] == modes

    ready.run("restart", "web-0", "--wait")
    again = instance(ready)
    assert (again["generation"], again["boot"]) == (3, 3), "a boot of what was restored is the next one"
    assert boot_id(lab) != booted
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    assert "warm, from its checkpoint" in ready.run("why", "web-0").stdout
    ready.run("image", "verify", "micro")
    ready.run("delete", "service", "shop", "--wait")
    assert not state(ready).exists()


def test_a_memory_in_ram(lab: Lab, ready: RoleDaemon) -> None:
    """On a tmpfs and for root alone; the road is the warm one; and a boot of the host, which takes it, is told."""
    apply(ready, SERVICE.format(instances=1).replace("maxAge: 1 d", "maxAge: 1 d, memory: true"))
    layout = Layout(ready.state / "lib", ready.state / "run")
    memory = layout.memory(InstanceName(NAME), 1)
    assert layout.memories in memory.parents
    found = memory.stat()
    assert (found.st_mode & 0o777, found.st_uid, found.st_size > 1 << 20) == (0o600, 0, True)
    assert [path.name for path in state(ready).iterdir()] == ["1.qcow2"]
    mark(lab)
    assert f"{NAME}: warm, from its checkpoint" in ready.run("reimage", "web-0", "--wait").stderr
    assert marker(lab) == "gone"
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []

    memory.unlink()
    (finding,) = json.loads(ready.run("verify", "-o", "json", check=False).stdout)
    assert (finding["code"], finding["subject"]) == ("CHECKPOINT-MISSING", NAME)
    prepared = f"{NAME}: prepared, a boot from its checkpoint: the memory of its checkpoint is not there"
    assert prepared in ready.run("reimage", "web-0", "--wait").stderr
    assert not layout.memories.exists()
    ready.run("reimage", "web-0", "--cold", "--wait")
    assert layout.memory(InstanceName(NAME), 4).is_relative_to(layout.memories)
    ready.run("delete", "service", "shop", "--wait")
    assert not layout.memories.exists()


def _flip(path: Path) -> None:
    at = path.stat().st_size // 2
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "file"),
    [(_flip, "1.memory"), (_cut, "1.memory"), (Path.unlink, "1.memory")],
    ids=["flipped", "truncated", "gone"],
)
def test_a_damaged_checkpoint_starts_no_guest(
    lab: Lab, ready: RoleDaemon, damage: Callable[[Path], None], file: str
) -> None:
    """It is found by its digest, and the generation boots from the checkpoint's disk; where that is damaged as well,
    it is made of the image, and the next checkpoint is good again.
    """
    apply(ready, SERVICE.format(instances=1))
    mark(lab)
    damage(state(ready) / file)

    ready.run("reimage", "web-0", "--wait")

    reached = instance(ready)
    assert (reached["generation"], reached["boot"]) == (2, 3)
    assert marker(lab) == "gone"
    prepared = "prepared, a boot from its checkpoint: the memory of its checkpoint is not "
    assert any(message.startswith(prepared) for message in told(ready)), told(ready)
    assert "restoring -> starting: it boots" in told(ready)
    assert [path.name for path in state(ready).iterdir()] == ["1.qcow2"]
    assert "its checkpoint has no memory: the memory of its checkpoint is not " in ready.run("why", "web-0").stdout
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []

    _flip(state(ready) / "1.qcow2")
    ready.run("reimage", "web-0", "--wait")

    reached = instance(ready)
    assert (reached["generation"], reached["boot"]) == (3, 2)
    cold = "restoring -> layered: cold: the layer of its checkpoint is not what was kept"
    assert cold in told(ready), told(ready)
    assert sorted(path.name for path in state(ready).iterdir()) == ["3.memory", "3.qcow2"]
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []


def test_a_prepared_reimage(lab: Lab, ready: RoleDaemon) -> None:
    """A boot, and no setup, of the disk as it was when it was kept; local storage stays as it is. Twice."""
    apply(ready, PREPARED)
    first = instance(ready)
    assert (first["generation"], first["boot"]) == (1, 3), "it has been booted from what was kept"
    layer = state(ready) / "1.qcow2"
    assert [path.name for path in state(ready).iterdir()] == ["1.qcow2"], "no memory is saved"
    assert (layer.stat().st_mode & 0o777, layer.stat().st_uid) == (0o444, 0)
    kept = hashlib.sha256(layer.read_bytes()).hexdigest()
    booted, identity = {boot_id(lab)}, who(lab)

    for generation in (2, 3):
        mark(lab)
        lab.guest(NAME, ["/bin/sh", "-c", f"echo {generation} >> /local/cache/log; sync"])
        began_s = time.monotonic()
        ready.run("reimage", "web-0", "--wait")
        print(f"prepared reimage: {time.monotonic() - began_s:.1f} s")
        reached = instance(ready)
        assert (reached["generation"], reached["boot"], reached["vm_uuid"]) == (generation, 3, first["vm_uuid"])
        assert marker(lab) == "gone"
        assert who(lab) == identity
        booted.add(boot_id(lab))
        assert set(answers.distinct(lab.client, URL, 1, 10.0)) == {NAME}
    assert lab.guest(NAME, ["/bin/cat", "/local/cache/log"]).split() == ["2", "3"]
    assert len(booted) == 3
    assert told(ready).count("requested -> restoring: prepared, a boot from its checkpoint") == 2
    assert told(ready).count("answered -> setup") == 1, "there is one setup, the first"
    assert hashlib.sha256(layer.read_bytes()).hexdigest() == kept

    ready.run("reimage", "web-0", "--cold", "--wait")
    assert who(lab) != identity, "a setup of its own"
    assert "requested -> layered: cold: that was asked for" in told(ready)
    assert [path.name for path in state(ready).iterdir()] == ["4.qcow2"]
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    ready.run("delete", "service", "shop", "--wait")
    assert not state(ready).exists()


def test_no_request_is_lost_by_warm_reimages(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Two, one after the other, under load."""
    apply(ready, SERVICE.format(instances=2))
    answers.distinct(lab.client, URL, 2, 30.0)
    with Load(lab.client, URL, 30.0, tmp_path / "load.json") as load:
        ready.run("reimage", "web.shop", "--wait")
        account = load.account()
    assert account["failed"] == 0, account
    assert {one["generation"] for one in ready.json("get", "instances", "shop")} == {2}
    assert len({one["vm_uuid"] for one in ready.json("get", "instances", "shop")}) == 2
