"""The guest's client in Python, as a Debian has it from its answer disc, and what goes by index among its peers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.rules.topology import STEP_S
from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import URL, apply, instance
from tests.world.waiting import until

WEB, FIRST, SECOND, SPARE = "web-0.shop", "peer-0.shop", "peer-1.shop", "spare-0.shop"
CLIENT = "/usr/local/bin/vmrole-guest"
COMES_S = 1800.0
ASKED_S = 300.0
# Beside the Debian two that walk, and one more that comes and goes.
MICRO = """  {name}:
    image: micro
    instances: {instances}
    topology: {topology}
    size: {{vcpus: 1, memory: 128 MiB}}
    setup: {{within: 30 min}}
    ready: {{within: 20 min}}
"""
ALL = (
    SERVICE.replace("    localStorage:", "    drives: {data: {drive: orders, mount: /srv/data}}\n    localStorage:")
    + MICRO.format(name="peer", instances=2, topology="walk")
    + MICRO.format(name="spare", instances=0, topology="blast")
)
# Keep the channel for themselves, and what they hear in a file.
HEARS = r"""
import glob, os
for place in glob.glob("/sys/class/virtio-ports/*"):
    with open(place + "/name") as name:
        if name.read().strip() == "com.vmrole.guest.0":
            channel = os.open("/dev/" + os.path.basename(place), os.O_RDWR)
os.write(channel, b'\n{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":["peers"]}}\n')
with open("/run/heard", "ab", buffering=0) as heard:
    while data := os.read(channel, 65536):
        heard.write(data)
"""
MICRO_HEARS = r"""
for place in /sys/class/virtio-ports/*; do
    read -r name <"$place/name"
    [ "$name" = com.vmrole.guest.0 ] && port=/dev/${place##*/}
done
exec 3<>"$port"
printf '\n{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":["peers"]}}\n' >&3
exec cat <&3 >/run/heard
"""
# Says again and again that it knows what it knew then, and no more.
ASKS = f"while :; do {CLIENT} peers --after $1 >/dev/null; sleep 5; done"


def sh(lab: Lab, script: str, *words: str, name: str = WEB) -> str:
    """What a script prints in the guest."""
    return lab.guest(name, ["/bin/sh", "-c", script, "sh", *words], ASKED_S).strip()


def behind(lab: Lab, script: str, *words: str, name: str = WEB) -> None:
    """Has a script go on in the guest."""
    sh(lab, '(sh -c "$@" >/dev/null 2>&1 </dev/null &)', script, "sh", *words, name=name)


def says(lab: Lab, *words: str) -> Any:
    """What the client prints."""
    return json.loads(lab.guest(WEB, [CLIENT, *words], ASKED_S))


def heard(lab: Lab, name: str) -> list[dict[str, Any]]:
    """The messages that a subscriber was sent unasked."""
    lines = sh(lab, "cat /run/heard 2>/dev/null; exit 0", name=name).splitlines()
    return [told["params"] for line in lines if (told := json.loads(line)).get("method") == "peers"]


def subscribed(lab: Lab, name: str) -> bool:
    """Whether its subscription was answered."""
    return '"to"' in sh(lab, "cat /run/heard 2>/dev/null; exit 0", name=name)


def knows(lab: Lab, name: str, peer: str) -> bool:
    """Whether a subscriber was told of a peer that came."""
    return any(one["name"] == peer for told in heard(lab, name) for one in told["peers"])


def lost(lab: Lab, name: str, peer: str) -> bool:
    """Whether a subscriber was told of a peer that went."""
    return any(peer in told["gone"] for told in heard(lab, name))


def status(lab: Lab) -> str:
    """What a client gets on a new connection."""
    argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "20", URL]
    return lab.client.run(argv, check=False).stdout.strip()


@pytest.fixture
def debian(daemon: RoleDaemon, debian_image: Path, micro_image: Path) -> RoleDaemon:
    """A daemon with a Debian that serves and has a drive, and two peers of it."""
    for name, image in (("debian", debian_image), ("micro", micro_image)):
        daemon.run("image", "add", str(image), "--name", name)
    daemon.run("drive", "create", "orders", "--size", "32 MiB")
    apply(daemon, ALL)
    return daemon


@pytest.mark.timeout(3 * COMES_S)
def test_a_guest_speaks_by_the_client_in_python(lab: Lab, debian: RoleDaemon) -> None:
    """Who it is, its peers, its word, its line, its blobs, changes unasked, and its end, which it acknowledges."""
    assert sh(lab, f"head -n 1 {CLIENT}") == "#!/usr/bin/env python3"
    assert sh(lab, "findmnt -n -o FSTYPE /local/data; readlink /srv/data").split() == ["ext4", "/local/data"]
    sh(lab, "echo kept > /srv/data/orders; sync")
    who = says(lab, "whoami")
    assert (who["instance"], who["role"], who["hostname"], who["generation"]) == (WEB, "web", "web-0", 1)
    assert (who["domain"], who["revision"]) == (None, 1)
    found = says(lab, "peers")
    assert {one["name"]: one["state"] for one in found["peers"]} == {FIRST: "serving", SECOND: "serving"}
    assert {one["address"] for one in found["peers"]} == {instance(debian, one)["address"] for one in (FIRST, SECOND)}

    assert status(lab) == "200"
    assert says(lab, "busy", "--for", "3600", "a backup")["done"]
    assert status(lab) == "503"
    assert instance(debian)["waiting"] == "its guest says that it is busy: a backup"
    assert says(lab, "ready")["done"]
    until(lambda: status(lab) == "200", COMES_S, what="its way back")
    assert says(lab, "log", "hello", "from inside")["logged"] == "hello from inside"
    assert "its guest says: hello from inside" in debian.run("events").stdout

    digest = sh(lab, "head -c 1000000 /dev/urandom > /root/state; sha256sum < /root/state")
    put = says(lab, "blob", "put", "state", "/root/state")
    assert (put["size"], put["sha256"]) == (1_000_000, digest.split()[0])
    assert sh(lab, f"{CLIENT} blob get state | sha256sum") == digest
    swap = f'echo $1 | {CLIENT} blob put --role --if-version $2 count 2>/run/refused; echo " $?"'
    first = sh(lab, swap, "1", "none").splitlines()
    assert first[-1].strip() == "0"
    version = json.loads(first[0])["version"]
    assert sh(lab, swap, "2", "none") == "5"
    assert sh(lab, swap, "2", version).endswith(" 0")
    assert sh(lab, swap, "3", version) == "5"
    assert sh(lab, f"{CLIENT} blob get --role count") == "2"
    assert [one["name"] for one in says(lab, "blob", "ls")] == ["state"]
    assert says(lab, "blob", "rm", "state")["name"] == "state"
    assert says(lab, "blob", "ls") == []

    changes_are_told(lab, debian)

    behind(lab, f'exec {CLIENT} stopping --wait -- sh -c "$1"', "echo parted >> /local/cache/parted; sync")
    until(lambda: says(lab, "stopping") == {"stopping": None}, COMES_S, what="its asking")
    debian.run("restart", WEB, "--wait")
    told = debian.run("events", WEB).stdout
    assert "its guest learns of its restart and has 30 s for it (drain)" in told
    assert "draining -> restarting: its guest has let go" in told
    assert sh(lab, "cat /local/cache/parted /srv/data/orders").split() == ["parted", "kept"]
    assert debian.json("verify") == []


def changes_are_told(lab: Lab, debian: RoleDaemon) -> None:
    """To who watches and who has subscribed at once; to who walks when those before it have asked, or have had time
    to.
    """
    behind(lab, f"echo $$ >/run/watching; exec {CLIENT} peers --watch >/run/watched")
    until(lambda: FIRST in sh(lab, "cat /run/watched"), COMES_S, what="its first line")
    number = json.loads(sh(lab, f"{CLIENT} peers", name=FIRST))["result"]["number"]
    behind(lab, ASKS, str(number), name=FIRST)
    behind(lab, MICRO_HEARS, name=SECOND)
    until(lambda: subscribed(lab, SECOND), COMES_S, what="its subscription")
    began_s = time.time()
    debian.run("scale", "shop", "spare=1")
    until(lambda: knows(lab, SECOND, SPARE), COMES_S, what="the last one to learn of it")
    assert time.time() - began_s >= STEP_S, "who is before it did not say that it knows"
    until(lambda: SPARE in sh(lab, "cat /run/watched"), COMES_S, what="a line of the change")

    sh(lab, "kill $(cat /run/watching)")
    sh(lab, 'printf %s "$1" > /run/hears.py', HEARS)
    behind(lab, "echo $$ >/run/hearing; exec python3 /run/hears.py")
    until(lambda: subscribed(lab, WEB), COMES_S, what="its subscription")
    debian.run("scale", "shop", "spare=0")
    until(lambda: lost(lab, WEB, SPARE) and lost(lab, SECOND, SPARE), COMES_S, what="its end to be told")
    sh(lab, "kill $(cat /run/hearing)")
