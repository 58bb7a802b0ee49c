"""A whole Debian whose memory is restored while its local storage goes on: systemd has a unit for the mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply, mark, markers

NAME = "web-0.shop"
WARM = SERVICE.replace("image: debian", "image: debian\n    reimage: warm")
# Whether systemd takes it for mounted, and still does once everything that has become of the disk is known.
MOUNTED = "udevadm settle; sleep 3; systemctl is-active local-cache.mount; findmnt -no FSTYPE /local/cache"


@pytest.mark.timeout(4500)  # Starts take a minute of both cores each without KVM.
def test_a_warm_reimage_keeps_local_storage(lab: Lab, daemon: RoleDaemon, debian_image: Path) -> None:
    """Mounted by systemd's own unit after each restore, and at a boot from the same disk."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    apply(daemon, WARM)
    mark(lab, NAME)
    for _ in range(2):
        assert f"{NAME}: warm, from its checkpoint" in daemon.run("reimage", "web-0", "--wait").stderr
        assert markers(lab, NAME).split() == ["gone", "kept"]
        assert lab.guest(NAME, ["/bin/sh", "-c", MOUNTED], 60.0).split() == ["active", "ext4"]
    next((daemon.state / "lib" / "checkpoints").rglob("*.memory")).unlink()
    assert f"{NAME}: prepared, a boot from its checkpoint: " in daemon.run("reimage", "web-0", "--wait").stderr
    assert markers(lab, NAME).split() == ["gone", "kept"]
    assert lab.guest(NAME, ["/bin/sh", "-c", MOUNTED], 60.0).split() == ["active", "ext4"]
    daemon.run("delete", "service", "shop", "--wait")
