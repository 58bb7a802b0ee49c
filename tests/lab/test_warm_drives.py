"""Drives under warm reimages on real VMs: of the role and by hand, with writes in flight."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, instance, ready
from tests.lab.storage_writes import NAME, checkpoints, in_guest, is_whole

__all__ = ["ready"]  # fixtures

SERVICE: Final = """service: shop
roles:
  web:
    image: micro
    reimage: warm
    size: {vcpus: 1, memory: 128 MiB}
    localStorage:
      cache: {size: 32 MiB}
    drives:
      data: {drive: "orders-{index}", mount: /srv/data}
    ready: {within: 5 min}
"""
SERIALS: Final = "for each in /sys/block/vd*/serial; do cat $each; echo; done"
KEPT: Final = "cat /srv/data/orders /local/hand/file /local/cache/file; readlink /srv/data"
MOUNTED: Final = 'for each in cache data hand; do grep -q " /local/$each ext4 rw" /proc/mounts && echo $each; done'
IN_FLIGHT: Final = (
    "for each in cache data hand; do (cd /local/$each && while :; do dd if=/dev/urandom of=loose bs=65536 count=20;"
    " mkdir -p a/b; rm -r a; done) > /dev/null 2>&1 < /dev/null & done"
)


def disk_of(daemon: RoleDaemon, drive: str) -> Path:
    """The file of a drive."""
    return daemon.state / "lib" / "drives" / drive / "disk.raw"


def test_drives_outlive_warm_reimages(lab: Lab, ready: RoleDaemon, tmp_path: Path) -> None:
    """Those of the role and those by hand come back before anybody looks at the services, each with what was written
    to it; nobody else has one meanwhile, and what comes or goes by hand makes one reimage cold.
    """
    for drive in ("orders-0", "hand", "bare"):
        ready.run("drive", "create", drive, "--size", "32 MiB")
    apply(ready, SERVICE)
    assert sorted(path.name for path in checkpoints(ready).iterdir()) == ["1.memory", "1.qcow2"]
    in_guest(lab, "echo orders > /srv/data/orders; echo cache > /local/cache/file; sync")
    ready.run("drive", "attach", "hand", "web-0", "--mount")
    ready.run("drive", "attach", "bare", "web-0")
    in_guest(lab, "echo hand > /local/hand/file; sync")
    said = ready.run("reimage", "web-0", "--wait").stderr
    assert "cold: drives came or went by hand since its checkpoint" in said
    assert sorted(path.name for path in checkpoints(ready).iterdir()) == ["2.memory", "2.qcow2"]

    ready.run("drive", "grow", "orders-0", "--size", "64 MiB")
    for generation in (3, 4):
        in_guest(lab, f"echo kept > /marker; {IN_FLIGHT}")
        assert f"{NAME}: warm, from its checkpoint" in ready.run("reimage", "web-0", "--wait").stderr
        assert instance(ready)["generation"] == generation
        assert sorted(in_guest(lab, SERIALS).split()) == ["dr-bare", "ls-cache", "ls-data", "ls-hand"]
        assert in_guest(lab, f"cat /marker 2> /dev/null; {KEPT}").split() == [
            "orders",
            "hand",
            "cache",
            "/local/data",
        ]
        assert in_guest(lab, MOUNTED).split() == ["cache", "data", "hand"]
        locked = subprocess.run(
            ["qemu-io", "-f", "raw", "-c", "write 0 512", str(disk_of(ready, "orders-0"))],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "lock" in locked.stdout + locked.stderr, "QEMU keeps every other from it"
    assert json.loads(ready.run("verify", "-o", "json").stdout) == []
    ready.run("drive", "detach", "hand")
    ready.run("delete", "service", "shop", "--wait")
    for drive in ("orders-0", "hand"):
        assert is_whole(disk_of(ready, drive), tmp_path), drive
