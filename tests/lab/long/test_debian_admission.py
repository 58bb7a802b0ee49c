"""`vmrole image test` on the debian image: three generations of a whole Debian, which is too long for every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.admissions import assert_good, report_of
from tests.lab.harness.role import RoleDaemon


@pytest.mark.timeout(3600)  # Six starts of a whole Debian: seven minutes without KVM, beside other work twelve.
def test_debian_passes(daemon: RoleDaemon, debian_image: Path) -> None:
    """As micro and the simulator do in every run."""
    daemon.run("image", "add", str(debian_image), "--name", "debian")
    assert_good(report_of(daemon, "debian", "--vcpus", "2", within_s=3000.0))
    assert daemon.json("get", "services") == []
    assert daemon.json("verify") == []
