"""The runtime channel on a real virtual machine: its own word takes it out of rotation and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import VIP, apply, instance, ready, service
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

WEB = "web-0.shop"
COMES_S = 600.0
ASKED_S = 300.0
SAYS = "ready: {within: 3 min, guest: true}"
ASKED_TIMES = 20  # of connections that none is let in of
KERNEL = "      kernel: {port: 81, target: 8080, balancer: nftables, probe: {path: /healthz}}\n"
# Hostile, from inside: a line without an end, rubbish, deep nesting, and answers that nobody reads.
HOSTILE = """
for place in /sys/class/virtio-ports/*; do
    read -r name <"$place/name"
    [ "$name" = com.vmrole.guest.0 ] && port=/dev/${place##*/}
done
{
    dd if=/dev/zero bs=65536 count=256 2>/dev/null | tr '\\000' x
    echo
    head -c 300000 /dev/urandom
    echo
    head -c 100000 /dev/zero | tr '\\000' '['
    echo
    number=0
    while [ $number -lt 400 ]; do
        echo '{"jsonrpc":"2.0","id":1,"method":"whoami"}'
        number=$((number + 1))
    done
} >"$port" &
sleep 20
kill $! 2>/dev/null
exit 0
"""


def says(lab: Lab, *words: str) -> dict[str, Any]:
    """What the host answers the guest's client."""
    answer: dict[str, Any] = json.loads(lab.guest(WEB, ["/usr/local/bin/vmrole-guest", *words], ASKED_S))
    result: dict[str, Any] = answer["result"]
    return result


def status(lab: Lab, port: int = 80) -> str:
    """What a client gets on a new connection; 000 where it is refused one."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "50", f"http://{VIP}:{port}/"]
    return lab.client.run(argv, check=False).stdout.strip()


@pytest.fixture
def speaking(lab: Lab, ready: RoleDaemon) -> RoleDaemon:
    """A daemon with an instance whose guest has said that it is ready, without which it would not be."""
    text = (
        service().replace("ready: {within: 3 min}", SAYS).replace("    localStorage:", f"{KERNEL}    localStorage:")
    )
    apply(ready, text, wait=False)
    until(lambda: "has not said that it is ready" in instance(ready)["waiting"], COMES_S, what="its services")
    assert instance(ready)["phase"] == "starting"
    assert says(lab, "ready")["done"]
    until(lambda: instance(ready)["phase"] == "serving", COMES_S, what="its way into rotation")
    for port in (80, 81):
        until(lambda port=port: status(lab, port) == "200", COMES_S, what=f"its first answer at {port}")  # type: ignore[misc]
    return ready


def test_a_guest_says_whether_it_is_in_rotation(lab: Lab, speaking: RoleDaemon) -> None:
    """It learns who it is; busy, it gets no new connection once it has its answer, of neither balancer, over a
    restart of the daemon and of its VM's socket, until its word lapses; a line of its own is in the ledger; a flood
    harms nobody else.
    """
    who = says(lab, "whoami")
    assert (who["instance"], who["role"], who["generation"]) == (WEB, "web", 1)
    assert (who["domain"], who["revision"]) == (None, 1)

    said = says(lab, "busy", "--for", "45", "a backup")
    assert (said["says"], said["done"]) == ("busy", True)
    assert status(lab) == "503"
    row = instance(speaking)
    assert (row["phase"], row["waiting"]) == ("serving", "its guest says that it is busy: a backup")
    speaking.kill()
    speaking.start()
    assert instance(speaking)["waiting"] == "its guest says that it is busy: a backup"
    assert status(lab) == "503"
    until(lambda: status(lab) == "200", COMES_S, what="its way back when its word lapsed")
    assert says(lab, "log", "hello", "from inside")["logged"] == "hello from inside"
    assert "its guest says: hello from inside" in speaking.run("events").stdout

    before = memory_kib(speaking)
    lab.guest(WEB, ["/bin/sh", "-c", HOSTILE], 120.0)
    assert memory_kib(speaking) - before < 64 * 1024
    assert status(lab) == "200"
    until(lambda: is_answered(lab), COMES_S, what="an answer after the flood")
    assert says(lab, "busy", "--for", "3600")["done"]
    for port, answer in ((80, "503"), (81, "000")):  # of HAProxy, and of the kernel
        assert {status(lab, port) for _ in range(ASKED_TIMES)} == {answer}
    assert says(lab, "ready")["done"]
    for port in (80, 81):
        until(lambda port=port: status(lab, port) == "200", COMES_S, what="its way back by its word")  # type: ignore[misc]


def is_answered(lab: Lab) -> bool:
    """Whether the guest learns who it is: not as long as its own programs flood the port."""
    asks = "/usr/local/bin/vmrole-guest whoami 2>/dev/null; echo; exit 0"
    return f'"instance": "{WEB}"' in lab.guest(WEB, ["/bin/sh", "-c", asks], ASKED_S)


def memory_kib(daemon: RoleDaemon) -> int:
    """What the daemon holds."""
    lines = Path(f"/proc/{daemon.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
