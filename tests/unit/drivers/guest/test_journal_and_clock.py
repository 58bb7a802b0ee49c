"""What a guest tells for the evidence of its failure, and how wrong its clock is: bounded, and and nobody waits."""

from __future__ import annotations

import time

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.evidence import Transcript
from orchestrator.drivers.guest import guest_agent
from orchestrator.drivers.guest.agent_commands import OUTPUT_BYTES
from orchestrator.drivers.guest.awakening import CLOCK_LAST_NS
from orchestrator.drivers.guest.guest_agent import LibvirtGuest
from tests.world.instances import instance
from tests.world.linux_agent import BOOT, EXEC, Agent, guest

WEB = instance(boot_id=BOOT)


def test_the_journal_is_asked_for() -> None:
    """By a fixed script; what it prints is kept as it is, cut off."""
    agent = Agent(output="kernel: one\n" * 10)
    assert guest(agent).evidence(WEB) == {"journal.txt": b"kernel: one\n" * 10}
    assert agent.started[0][:2] == ["/bin/sh", "-c"]
    agent.output = "x" * (3 * OUTPUT_BYTES)
    assert len(guest(agent).evidence(WEB)["journal.txt"]) == OUTPUT_BYTES


@pytest.mark.parametrize("trouble", ["silent", "forbidden", "frozen"])
def test_a_guest_that_tells_nothing_holds_up_nobody(trouble: str) -> None:
    """Why there is no journal stands in its place."""
    agent = Agent()
    agent.silent = "no answer" if trouble == "silent" else ""
    agent.forbidden, agent.frozen = (EXEC if trouble == "forbidden" else ()), trouble == "frozen"
    assert guest(agent).evidence(WEB)["journal.txt"].startswith(b"none: ")


def test_a_guest_that_is_slow_to_tell_has_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that never ends is given up."""
    monkeypatch.setattr(guest_agent, "JOURNAL_S", 0.3)
    agent = Agent(output="late\n")
    agent.running_for_s = 3600.0
    began_s = time.monotonic()
    assert guest(agent).evidence(WEB)["journal.txt"] == b"none: the guest did not tell it within 0.3 s\n"
    assert time.monotonic() - began_s >= 0.3
    assert len(agent.started) == 1


@pytest.mark.parametrize("off_s", [0.0, 7200.0, -90.0])
def test_a_clock_is_compared(off_s: float) -> None:
    """By the agent's own word, in nanoseconds; asked once, and then not for minutes."""
    agent = Agent()
    agent.answers["guest-get-time"] = int((SystemClock().now_s() + off_s) * 1e9)
    asked = guest(agent)
    found = asked.clock_off_s(WEB)
    assert found == pytest.approx(off_s, abs=60.0)
    agent.answers["guest-get-time"] = 0
    assert asked.clock_off_s(WEB) == found
    asked.forget(WEB.name)
    assert asked.clock_off_s(WEB) == pytest.approx(-SystemClock().now_s(), abs=60.0)


@pytest.mark.parametrize("answer", [None, "now", [], {"return": 1}, 1.5, pytest.param(10**400, id="huge")])
def test_a_hostile_clock_is_nothing_but_a_number(answer: object) -> None:
    """What is no number is not known, and one that is too large is cut."""
    agent = Agent()
    agent.answers["guest-get-time"] = answer
    found = guest(agent).clock_off_s(WEB)
    assert found is None or 0 < found < CLOCK_LAST_NS / 1e9


def test_nobody_knows_the_clock_of_a_silent_guest() -> None:
    """It is not asked again and again."""
    agent = Agent()
    agent.silent = "no answer"
    asked = LibvirtGuest(agent, agent, Transcript(SystemClock()), SystemClock())
    assert asked.clock_off_s(WEB) is None
    agent.silent = ""
    agent.answers["guest-get-time"] = 0
    assert asked.clock_off_s(WEB) is None
