"""A Debian whose disk is larger than its image: a boot of a whole Debian more, which is too long for every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply

_GIB = 1024**3


@pytest.mark.timeout(3600)
def test_the_root_file_system_grows_into_a_larger_disk(lab: Lab, daemon: RoleDaemon, debian_image: Path) -> None:
    """Partition and file system, in setup, far past what the file system was made for; nothing else is told."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, SERVICE.replace("memory: 512 MiB}", "memory: 512 MiB, disk: 40 GiB}"))
    seen = lab.guest("web-0.shop", ["/bin/sh", "-c", "cat /sys/block/vda/size; df -B1 --output=size / | tail -1"])
    disk, root = map(int, seen.split())
    assert disk * 512 == 40 * _GIB
    assert root > 38 * _GIB
    assert lab.guest("web-0.shop", ["/bin/sh", "-c", "systemctl is-system-running"]).strip() == "running"
    daemon.run("delete", "service", "shop", "--wait")
