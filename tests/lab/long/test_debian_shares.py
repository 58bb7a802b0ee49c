"""A whole Debian that reads a directory of the host's: cloud-init mounts it, and systemd does at each boot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.debian_guests import SERVICE
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.services import apply

NAME = "web-0.shop"
LOOK = "cat /data/words; findmnt -no FSTYPE,OPTIONS /data; systemctl is-active data.mount; touch /data/new 2>&1"
WRITES = "mount -o remount,rw /data; touch /data/new 2>&1; rm /data/words 2>&1; ls /data"


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[RoleDaemon]:
    """One whose host's owner gives that directory to guests."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/words").write_text("of the host\n")
    daemon = lab.daemon(tmp_path / "vmrole", shares=[str(tmp_path / "shared")])
    daemon.start()
    yield daemon
    daemon.kill_with_children()


@pytest.mark.timeout(4500)  # Starts take a minute of both cores each without KVM.
def test_a_debian_reads_what_it_is_given(lab: Lab, daemon: RoleDaemon, debian_image: Path, tmp_path: Path) -> None:
    """After the restart of its setup, in which nothing but its fstab says so; made writable it is not."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    shares = f"shares: {{data: {{source: {tmp_path / 'shared'}, mount: /data}}}}"
    apply(daemon, SERVICE.replace("image: debian", f"image: debian\n    {shares}"))
    seen = lab.guest(NAME, ["/bin/sh", "-c", f"{LOOK}; true"], 120.0).splitlines()
    assert (seen[0], seen[1].split()[0], seen[2]) == ("of the host", "virtiofs", "active")
    assert "Read-only file system" in seen[3]
    tried = lab.guest(NAME, ["/bin/sh", "-c", WRITES], 120.0).splitlines()
    assert [line.rpartition(": ")[2] for line in tried] == ["Read-only file system"] * 2 + ["words"]
    assert [each.name for each in (tmp_path / "shared").iterdir()] == ["words"]
    daemon.run("delete", "service", "shop", "--wait")
