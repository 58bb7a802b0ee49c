"""Whether a Windows guest's services have started, asked through agents that obey, forbid or are slow."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.drivers.guest import windows_guest
from orchestrator.drivers.guest.agent_commands import LEFT_ALONE_MAX_S
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from orchestrator.model import Instance, Ready, Services
from tests.world.heard import heard
from tests.world.windows_agent import IN_FIRST, OOBE, STARTING, WindowsAgent, guest, with_ready, without_exec


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks, so that a test need not sleep."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", 0.0)


def told(asked: LibvirtGuest, of: Instance = STARTING) -> Services:
    found = asked.services(of)
    assert isinstance(found, Services)
    return found


def test_services_have_started_when_two_looks_say_so() -> None:
    """One look is not enough: a service may be about to fall over. Another boot begins anew."""
    asked = guest(WindowsAgent())
    assert told(asked) == heard(started=False, note="all have started; confirming with a second look")
    assert told(asked) == heard(started=True)
    assert not told(asked, dataclasses.replace(STARTING, boot_id=IN_FIRST)).started


def test_a_relapse_is_told() -> None:
    """A service that dies between the two looks is named."""
    agent = WindowsAgent()
    asked = guest(agent)
    told(asked)
    agent.services = "service=W3SVC|Stopped|1067|0|0|0|16\r\nend=1\r\n"
    assert told(asked).failed == ("W3SVC: its process ended unexpectedly (1067)",)
    agent.services = "end=0\r\n"
    assert not told(asked).started
    assert told(asked).started


def test_never_started_is_pending_until_its_grace_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that nobody tries to start is waited for; after its grace the instance is ready, with a note."""
    agent = WindowsAgent(services="service=W3SVC|Stopped|1077|0|0|0|16\r\nend=1\r\n")
    asked = guest(agent)
    assert told(asked).pending == ("W3SVC",)
    monkeypatch.setattr(windows_guest, "GRACE_S", 0.0)
    told(asked)
    assert told(asked) == heard(started=True, note="nobody has tried to start W3SVC")


def test_required_services_are_named_to_the_guest() -> None:
    """The script gets the names; what it says of them decides."""
    agent = WindowsAgent(services="service=W3SVC|Running|0|0|0|0|32\r\nend=1\r\n")
    asked = guest(agent)
    found = told(asked, with_ready(Ready(units=("w3svc", "My Service"))))
    assert found.pending == ("My Service: there is no such service",)
    assert agent.started == ["# vmrole services 1 w3svc My%20Service"]


def test_too_many_names_are_refused() -> None:
    """Names that fit into no command line fail the role with a sentence, not the thread."""
    names = tuple(f"service-{number}" for number in range(5000))
    (failed,) = told(guest(WindowsAgent()), with_ready(Ready(units=names))).failed
    assert "do not fit" in failed


def test_ready_command_is_run_as_for_linux() -> None:
    """`ready.command` is an argv that must exit 0; it runs when everything has started, not before."""
    agent = WindowsAgent()
    agent.without_powershell = "ok\n"
    asked, of = guest(agent), with_ready(Ready(command=(r"C:\check.exe", "/all")))
    assert not told(asked, of).started
    assert r"C:\check.exe /all" not in agent.started
    assert told(asked, of).started
    assert agent.started[-1] == r"C:\check.exe /all"


def test_without_exec_the_end_of_setup_is_all() -> None:
    """An agent that forbids guest-exec is judged by Setup's end, and roles that name services are told so."""
    agent = without_exec()
    asked = guest(agent)
    told(asked)
    found = told(asked)
    assert found.started
    assert "forbids guest-exec" in found.note
    refused = told(guest(agent), with_ready(Ready(units=("W3SVC",))))
    assert not refused.started
    assert refused.failed


def test_without_powershell_sc_is_asked() -> None:
    """Where PowerShell cannot be started, sc.exe and reg.exe are."""
    agent = WindowsAgent()
    agent.has_powershell = False
    asked = guest(agent)
    told(asked)
    found = told(asked)
    assert found == heard(started=False, note="the guest's sc.exe does not answer what it was asked")
    assert agent.started[-1].startswith("cmd.exe /d /c sc.exe queryex")


def test_services_wait_for_setup() -> None:
    """A guest that went back into Setup has not begun to start its services."""
    agent = WindowsAgent(OOBE)
    asked = guest(agent)
    asked.identity(STARTING)
    assert told(asked).pending == ("Windows Setup",)
    assert len(agent.started) == 1


def test_a_slow_guest_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a guest said stands for as long as it took to say it, and no PowerShell is started meanwhile."""
    monkeypatch.setattr(windows_guest, "LEFT_ALONE_MAX_S", LEFT_ALONE_MAX_S)
    agent = WindowsAgent()
    agent.running_for_s = 1.0
    asked = guest(agent)
    found = told(asked)
    assert not found.started
    for _ in range(20):
        assert told(asked) == found
    assert len(agent.started) == 1
