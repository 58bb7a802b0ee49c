"""The doctor on a host where everything is there, and on the same one with parts taken away."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.config import Config
from orchestrator.doctor import Verdict, checks, host, programs
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import HOST, OUTSIDE_LINK


@pytest.fixture
def settings(lab: Lab, tmp_path: Path) -> Config:
    """The lab's configuration."""
    return Config(
        state_dir=tmp_path / "state",
        run_dir=Path("/run/vmrole-doctor"),
        socket=Path("/run/vmrole-doctor/s"),
        libvirt_uri=lab.libvirt_uri,
        vip_interface=OUTSIDE_LINK,
    )


def test_nothing_fails_where_all_is_there_and_nothing_is_left(lab: Lab, settings: Config) -> None:
    """A good host gets a PASS, or a WARN about what it may lack, each time; looking leaves no file, link or table."""
    found = checks(settings)
    assert [check for check in found if check.verdict is Verdict.FAIL] == []
    warned = [check for check in found if check.verdict is Verdict.WARN]
    assert {check.name for check in warned} <= {"accelerator", "apparmor", "socket group", "clock"}
    assert all(check.remedy for check in warned)
    assert not settings.state_dir.exists()
    assert lab.leftovers() == []


def test_what_is_taken_away_is_missed(lab: Lab, settings: Config) -> None:
    """libvirtd away, a route into the pool, and routing switched off are each told by their own check."""
    for check in (programs.libvirt, host.network_pool, host.forwarding):
        assert check(settings).verdict is Verdict.PASS
    lab.kill_libvirtd()
    HOST.run(["ip", "route", "add", "10.90.5.0/24", "dev", OUTSIDE_LINK])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    try:
        assert programs.libvirt(settings).verdict is Verdict.FAIL
        assert programs.virtlogd(settings).verdict is Verdict.PASS
        assert "10.90.5.0/24" in host.network_pool(settings).message
        assert host.forwarding(settings).verdict is Verdict.WARN
    finally:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        HOST.run(["ip", "route", "del", "10.90.5.0/24"])
