"""A drive on real virtual machines: what is in it outlives whatever it was attached to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon, processes_naming
from tests.lab.services import SERVES_S, apply, instance, ready
from tests.world.waiting import until

__all__ = ["ready"]  # fixtures

SERVICE = """service: {name}
roles:
  db:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    drives:
      data: {{drive: "orders-{{index}}", mount: /srv/data}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""
MIB = 1 << 20
FOREIGN = b"orders of another kind"  # where it is no file system's, within the first MiB
SHOWN = "grep -q ' /local/data ext4 ' /proc/mounts && readlink /srv/data && cat /srv/data/orders"
SIZE = 'for each in /sys/block/vd*; do [ "$(cat $each/serial)" != ls-data ] || cat $each/size; done'


def said(lab: Lab, domain: str, script: str) -> str:
    """What a script prints in the guest."""
    return lab.guest(domain, ["/bin/sh", "-c", script], within_s=60.0)


def check(lab: Lab, domain: str = "db-0.shop") -> None:
    """The drive is where its role wants it, with what was written to it."""
    assert said(lab, domain, SHOWN).split() == ["/local/data", "kept"]


def test_a_drive_outlives_everything(lab: Lab, ready: RoleDaemon) -> None:
    """A reimage, a rebuild, SIGKILL of its QEMU and of the daemon, the service itself; nobody takes it meanwhile, and
    it grows under the guest that runs.
    """
    ready.run("drive", "create", "orders-0", "--size", "32 MiB")
    apply(ready, SERVICE.format(name="shop"))
    said(lab, "db-0.shop", "echo kept > /srv/data/orders; sync")
    check(lab)
    disk = Path(ready.state / "lib" / "drives" / "orders-0" / "disk.raw")
    locked = subprocess.run(
        ["qemu-io", "-f", "raw", "-c", "write 0 512", str(disk)], capture_output=True, text=True, check=False
    )
    assert "lock" in locked.stdout + locked.stderr, "QEMU keeps every other from it"
    refused = ready.run("drive", "rm", "orders-0", check=False)
    assert (refused.returncode, "db-0.shop has drive orders-0" in refused.stderr) == (5, True)
    taken = ready.run("apply", "-f", "-", text=SERVICE.format(name="bank"), check=False)
    assert (taken.returncode, "db-0.shop has it" in taken.stderr) == (2, True), taken.stderr

    ready.run("drive", "grow", "orders-0", "--size", "64 MiB")
    assert int(said(lab, "db-0.shop", SIZE)) * 512 == disk.stat().st_size == 64 << 20
    for verb in ("reimage", "rebuild"):
        generation = instance(ready, "db-0")["generation"]
        ready.run(verb, "db-0", "--wait")
        assert instance(ready, "db-0")["generation"] > generation
        check(lab)

    (qemu,) = processes_naming("guest=db-0.shop")
    os.kill(qemu, signal.SIGKILL)
    ready.kill()
    ready.start()
    until(lambda: processes_naming("guest=db-0.shop") not in ([], [qemu]), SERVES_S, what="another QEMU")
    ready.run("wait", "shop", "--for=serving", "--timeout", "600")
    check(lab)

    ready.run("delete", "service", "shop", "--wait")
    (free,) = ready.json("drive", "ls")
    assert (free["instance"], free["missing"], free["size_mib"]) == (None, False, 64)
    ready.run("drive", "snapshot", "orders-0", "monday")
    apply(ready, SERVICE.format(name="bank"))
    check(lab, "db-0.bank")
    said(lab, "db-0.bank", "echo spoilt > /srv/data/orders; sync")
    ready.run("delete", "service", "bank", "--wait")
    ready.run("drive", "restore", "orders-0", "monday")
    apply(ready, SERVICE.format(name="shop"))
    check(lab)
    ready.run("delete", "service", "shop", "--wait")
    verify_knows(ready, disk)
    ready.run("drive", "rm", "orders-0")
    assert not disk.parent.exists()


def verify_knows(daemon: RoleDaemon, disk: Path) -> None:
    """A file that is away, one of another size, and one of no record; and that all is well again."""
    assert daemon.json("verify") == []
    away = disk.with_name("away")
    disk.rename(away)
    assert codes(daemon) == {("DRIVE-MISSING", "orders-0")}
    away.rename(disk)
    os.truncate(disk, disk.stat().st_size + MIB)
    assert codes(daemon) == {("DRIVE-SIZE", "orders-0")}
    os.truncate(disk, disk.stat().st_size - MIB)
    ghost = disk.parent.parent / "ghost"
    shutil.copytree(disk.parent, ghost)
    assert codes(daemon) == {("DRIVE-STRAY", "ghost")}
    daemon.run("verify", "--repair", check=False)
    assert (ghost / "disk.raw").exists(), "nobody repairs what may be somebody's"
    shutil.rmtree(ghost)
    assert daemon.json("verify") == []


def codes(daemon: RoleDaemon) -> set[tuple[str, str]]:
    """What `verify` finds, and of what."""
    found = json.loads(daemon.run("verify", "-o", "json", check=False).stdout)
    return {(one["code"], one["subject"]) for one in found}


HAND = """service: {name}
roles:
  web:
    image: micro
    size: {{vcpus: 1, memory: 128 MiB}}
    setup: {{within: 15 min}}
    ready: {{within: 10 min}}
"""
MOUNTED = "grep ' /local/orders ' /proc/mounts | cut -d ' ' -f 3"
SERIALS = "for each in /sys/block/vd*/serial; do [ ! -e $each ] || cat $each; echo; done"
WEB = "web-0.shop"


def test_a_drive_is_attached_by_hand(lab: Lab, ready: RoleDaemon) -> None:
    """To a guest that runs, which mounts it at once and keeps it through a reimage; not taken from who uses it,
    and comes away where nobody does. What is not blank and no file system is mounted by nobody, nor formatted.
    """
    for name in ("orders", "bare", "foreign"):
        ready.run("drive", "create", name, "--size", "32 MiB")
    foreign = Path(ready.state / "lib" / "drives" / "foreign" / "disk.raw")
    with foreign.open("r+b") as opened:
        opened.seek(MIB // 2)
        opened.write(FOREIGN)
    apply(ready, HAND.format(name="shop"))
    refused = ready.run("drive", "attach", "foreign", "web-0", "--mount")
    assert "its guest has not mounted it: what is in it cannot be mounted" in refused.stderr
    ready.run("drive", "detach", "foreign")
    assert foreign.read_bytes().strip(b"\0") == FOREIGN, "not a byte of it was written"
    for words in (("orders", "web-0", "--mount"), ("orders", "web-0", "--mount"), ("bare", "web-0")):
        done = ready.run("drive", "attach", *words)
        assert (done.stdout, done.stderr) == (f"{words[0]}: attached to {WEB}\n", "")
    assert said(lab, WEB, MOUNTED).split() == ["ext4"]
    assert said(lab, WEB, SERIALS).split() == ["ls-orders", "dr-bare"]
    said(lab, WEB, "echo kept > /local/orders/file; sync")

    ready.run("reimage", "web-0", "--wait")
    assert instance(ready)["generation"] == 2
    assert said(lab, WEB, f"{MOUNTED}; cat /local/orders/file").split() == ["ext4", "kept"]
    assert said(lab, WEB, SERIALS).split() == ["ls-orders", "dr-bare"]
    said(lab, WEB, "cd /local/orders && sleep 1000 >/dev/null 2>&1 </dev/null &")
    refused = ready.run("drive", "detach", "orders", check=False)
    assert (refused.returncode, "/local/orders is busy; by: sleep" in refused.stderr) == (5, True), refused.stderr
    assert said(lab, WEB, f"{MOUNTED}; cat /local/orders/file").split() == ["ext4", "kept"]
    said(lab, WEB, "killall sleep")
    for name in ("orders", "bare"):
        assert ready.run("drive", "detach", name).stdout == f"{name}: detached\n"
    assert said(lab, WEB, f"{SERIALS}; {MOUNTED}").split() == []
    assert ready.run("drive", "detach", "orders", check=False).returncode == 5
    disk = Path(ready.state / "lib" / "drives" / "orders" / "disk.raw")
    subprocess.run(["e2fsck", "-f", "-n", str(disk)], check=True)
    ready.run("delete", "service", "shop", "--wait")
    assert ready.run("verify", check=False).returncode == 0
