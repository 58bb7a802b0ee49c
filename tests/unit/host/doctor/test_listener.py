"""What `vmrole doctor` says of the certificate that the daemon shows to the network."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from orchestrator.drivers.tools.certificates import Facts
from orchestrator.errors import ConfigError
from orchestrator.host.config import Config
from orchestrator.host.doctor import listener
from orchestrator.host.doctor.check import Verdict
from tests.world.certificates import EXPIRED, certificate
from tests.world.network_daemon import given

DAY_S = 24 * 3600.0
NOW_S = 1_800_000_000.0
FILE = Path("/etc/vmrole/api.crt")


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    """Of a daemon that listens to the network, with a key in a file of its own."""
    pem, key = certificate("host.example")
    given(tmp_path / "api.crt", pem)
    given(tmp_path / "api.key", key)
    return dataclasses.replace(
        Config(),
        api_listen="203.0.113.1:8443",
        api_certificate=str(tmp_path / "api.crt"),
        api_key=str(tmp_path / "api.key"),
    )


def test_who_does_not_listen_needs_none() -> None:
    """It passes, and says so."""
    assert listener.certificate(Config()).verdict is Verdict.PASS


def test_one_that_fits_is_told_with_its_names_and_its_end(settings: Config) -> None:
    """Those that it has itself; that they are not this host's is a warning."""
    check = listener.certificate(settings)
    assert check.verdict is Verdict.WARN
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=3650)
    assert f"is for host.example until {until:%Y-%m}" in check.message
    assert "neither for 203.0.113.1" in check.message


def test_what_serves_nobody_fails(settings: Config, tmp_path: Path) -> None:
    """An expired one, another's key, a key that others can read, no certificate at all."""
    pem, key = certificate("host.example", EXPIRED)
    given(tmp_path / "api.crt", pem)
    with pytest.raises(ConfigError, match="does not fit"):
        listener.certificate(settings)
    given(tmp_path / "api.key", key)
    check = listener.certificate(settings)
    assert (check.verdict, "has expired" in check.message) == (Verdict.FAIL, True)
    (tmp_path / "api.key").chmod(0o644)
    with pytest.raises(ConfigError, match="others can read"):
        listener.certificate(settings)
    assert listener.certificate(dataclasses.replace(settings, api_certificate="")).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("names", "days", "verdict", "said"),
    [
        ((), 365, Verdict.FAIL, "names nobody"),
        (("here.example",), 365, Verdict.PASS, "here.example"),
        (("HERE.example",), 365, Verdict.PASS, ""),
        (("*.example",), 365, Verdict.PASS, ""),
        (("203.0.113.1",), 365, Verdict.PASS, ""),
        (("there.example", "203.0.113.2"), 365, Verdict.WARN, "neither for 203.0.113.1"),
        (("*.here.example",), 365, Verdict.WARN, "neither"),
        (("here.example",), 13, Verdict.WARN, "in 13 days"),
        (("here.example",), 15, Verdict.PASS, ""),
    ],
)
def test_names_and_end_are_judged(names: tuple[str, ...], days: float, verdict: Verdict, said: str) -> None:
    """By the address that is listened at and the names of the host."""
    facts = Facts(names, NOW_S + days * DAY_S + 1)
    check = listener.judge(facts, FILE, "203.0.113.1", {"here", "here.example"}, NOW_S)
    assert (check.verdict, said in check.message) == (verdict, True)
    assert check.remedy or verdict is Verdict.PASS
