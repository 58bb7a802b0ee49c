"""A guest that was restored is told the time until it knows it, by its agent or by its own command."""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.drivers.guest.agent_commands import AgentCommands
from orchestrator.drivers.guest.awakening import (
    BY_AGENT,
    BY_KERNEL,
    CLOCK_OFF_S,
    KNOWN_BY,
    RELEASE_FILE,
    RESEED,
    Awakening,
)
from orchestrator.drivers.tools.agent_channel import AgentForbids, AgentRefused, AgentSilent
from orchestrator.model import InstanceName
from tests.world.clocks import HurriedClock
from tests.world.instances import instance

ONE = instance(boot_id="boot")


class Guest:
    """A Linux with a clock that stands where it was saved, and an agent that takes its time for each answer."""

    def __init__(self, clock: HurriedClock, *, off_s: float, takes_s: float = 0.01) -> None:
        self.clock = clock
        self.off_s = off_s
        self.takes_s = takes_s
        self.sets = True  # whether the agent does
        self.runs = True  # whether it runs commands
        self.shows: str | None = KNOWN_BY[0]  # which file besides its release; None: its agent shows none
        self.release = "6.1.0-57-cloud-amd64"
        self.reseeds: int | None = 0  # what the command ends with; None: it runs none
        self.reseeded = False
        self.says: object = ...  # what time it is, instead of the truth
        self.begins_late_s = 0.3  # a command
        self.given = b""
        self.until_s = 0.0  # until when its command runs
        self.reseeds_for_s = 0.0

    def call(self, name: InstanceName, command: str, **arguments: Any) -> Any:
        """See Agents."""
        assert name == ONE.name
        self.clock.time_s += self.takes_s / 2
        answer = self._answer(command, arguments)
        self.clock.time_s += self.takes_s / 2
        return answer

    def _answer(self, command: str, arguments: dict[str, Any]) -> Any:
        match command:
            case "guest-get-time" if self.says is not ...:
                return self.says
            case "guest-get-time":
                return int((self.clock.now_s() + self.off_s) * 1e9)
            case "guest-set-time":
                if not self.sets:
                    raise AgentRefused("this feature or command is not currently supported")
                self.off_s = arguments["time"] / 1e9 - self.clock.now_s()
                return {}
            case "guest-exec" if arguments["arg"][1] == RESEED:
                assert self.given or self.shows is not None, "nothing is to be made anew of"
                if self.reseeds is None:
                    raise AgentForbids("Command guest-exec has been disabled")
                self.reseeded = self.reseeds == 0
                self.until_s = self.clock.now_s() + self.reseeds_for_s
                return {"pid": 8}
            case "guest-exec-status" if arguments["pid"] == 8:
                return {"exited": self.clock.now_s() >= self.until_s, "exitcode": self.reseeds}
            case "guest-exec":
                if not self.runs:
                    raise AgentForbids("Command guest-exec has been disabled")
                found = re.fullmatch(r"sleep ([0-9.]+); date -u -s @(\d+)", arguments["arg"][1])
                assert found is not None, arguments
                wait_s, whole_s = found.groups()
                at_s = self.clock.now_s() + self.begins_late_s + float(wait_s)
                self.off_s = int(whole_s) - at_s
                self.until_s = at_s
                return {"pid": 7}
            case "guest-exec-status":
                return {"exited": self.clock.now_s() >= self.until_s, "exitcode": 0}
            case "guest-file-open" if arguments["mode"] == "r" and self.shows is None:
                raise AgentForbids("Command guest-file-open has been disabled")
            case "guest-file-open" if arguments["mode"] == "r" and arguments["path"] == RELEASE_FILE:
                return 2
            case "guest-file-open" if arguments["mode"] == "r" and self.shows != arguments["path"]:
                raise AgentRefused("failed to open file: No such file or directory")
            case "guest-file-open":
                return 1
            case "guest-file-read" if arguments["handle"] == 2:
                return {"buf-b64": base64.b64encode(self.release.encode()).decode()}
            case "guest-file-read":
                return {"buf-b64": base64.b64encode(b"QEMUVGID\n").decode()}
            case "guest-file-write":
                self.given += base64.b64decode(arguments["buf-b64"])
                return {"count": 1}
            case "guest-file-close":
                return {}
        raise AssertionError(command)


def awake(guest: Guest, within: int = 12) -> str:
    """What it says when it is no longer silent; AgentSilent when it stays so for so many questions."""
    awakening = Awakening(AgentCommands(guest, guest.clock), guest.clock)
    for _ in range(within):
        try:
            return awakening.awaken(ONE)
        except AgentSilent:
            guest.clock.time_s += 0.5
    raise AgentSilent("for too long")


@pytest.mark.parametrize("off_s", [-86400.0, -3.0, -0.2, 0.2, 7200.0])
@pytest.mark.parametrize("sets", [True, False], ids=["by the agent", "by a command"])
@pytest.mark.parametrize("takes_s", [0.002, 0.05, 0.15])
def test_its_clock_is_right_when_it_is_awake(off_s: float, sets: bool, takes_s: float) -> None:
    """However slow its answers, and whoever sets it."""
    guest = Guest(HurriedClock(), off_s=off_s, takes_s=takes_s)
    guest.sets = sets
    assert awake(guest) == ""
    assert abs(guest.off_s) <= CLOCK_OFF_S
    assert len(guest.given) >= 256


def test_a_clock_that_is_right_is_let_be() -> None:
    """Nothing is set, and it is given random bytes all the same."""
    guest = Guest(HurriedClock(), off_s=0.01)
    guest.sets = guest.runs = False
    assert awake(guest, 1) == ""
    assert len(set(guest.given)) > 100


def test_one_look_is_enough() -> None:
    """It is told the time and asked for it at once, while a program of its own has its randomness made anew."""
    guest = Guest(HurriedClock(), off_s=-60.0)
    guest.shows, guest.reseeds_for_s = "", 0.04
    assert awake(guest, 1) == ""
    assert abs(guest.off_s) <= CLOCK_OFF_S
    assert guest.reseeded


def test_a_clock_that_is_right_is_not_enough() -> None:
    """Its randomness is waited for, be the time told long before."""
    guest = Guest(HurriedClock(), off_s=0.0)
    guest.shows, guest.reseeds_for_s = "", 2.0
    with pytest.raises(AgentSilent):
        awake(guest, 1)
    assert awake(guest) == ""


def test_answers_that_are_too_slow_prove_nothing() -> None:
    """A clock that may be off by more than it may is not right, however well it looks."""
    with pytest.raises(AgentSilent):
        awake(Guest(HurriedClock(), off_s=0.0, takes_s=0.5))


def test_a_guest_that_nobody_can_set_says_so() -> None:
    """Its road is the cold one then."""
    guest = Guest(HurriedClock(), off_s=-60.0)
    guest.sets = guest.runs = False
    assert "sets its clock" in awake(guest)


@pytest.mark.parametrize(
    ("shows", "release", "status", "words"),
    [
        *((path, "5.10.0", 1, "") for path in KNOWN_BY),
        ("", "6.1.0-57-cloud-amd64", 0, ""),
        ("", "5.18.0", 0, ""),
        ("", "10.0", 0, ""),
        ("", "6.1.0-57-cloud-amd64", 1, "perl, python3"),
        ("", "6.1.0-57-cloud-amd64", None, "perl, python3"),
        ("", "5.17.9", 0, "same random numbers twice"),
        ("", "4.19.0-26", 0, "same random numbers twice"),
        ("", "linux\x1b[2J", 0, "same random numbers twice"),
        ("/sys/bus/acpi/devices/QEMUVGID:00/hid", "5.17.9", 0, "same random numbers twice"),
        (None, "6.1.0", 0, "shows no files"),
    ],
)
def test_kernels_that_do_not_notice_are_not_restored(
    shows: str | None, release: str, status: int | None, words: str
) -> None:
    """They would give the same random numbers twice: those without a driver that has found the device, and in which
    nobody has their randomness made anew.
    """
    guest = Guest(HurriedClock(), off_s=0.0)
    guest.shows, guest.release, guest.reseeds = shows, release, status
    unfit = _until_said(lambda: Awakening(AgentCommands(guest, guest.clock), guest.clock).unfit(ONE))
    assert words in unfit
    assert bool(unfit) is bool(words)
    assert "\x1b" not in unfit


@pytest.mark.parametrize("status", [0, 1, None])
def test_what_does_not_notice_has_its_randomness_made_anew_each_time(status: int | None) -> None:
    """After the host's bytes were given, and before its clock counts for anything."""
    guest = Guest(HurriedClock(), off_s=0.0)
    guest.shows, guest.reseeds = "", status
    woken = awake(guest)
    assert guest.reseeded == (status == 0)
    assert ("perl" in woken) is (status != 0)


@pytest.mark.parametrize(("shows", "by"), [(KNOWN_BY[0], BY_KERNEL), ("", BY_AGENT)])
def test_by_what_its_randomness_was_made_anew_is_known(shows: str, by: str) -> None:
    """Until it is gone; of who was not restored nobody knows."""
    guest = Guest(HurriedClock(), off_s=0.0)
    guest.shows, guest.reseeds = shows, 0
    awakening = Awakening(AgentCommands(guest, guest.clock), guest.clock)
    assert awakening.randomness(ONE.name) == ""
    _until_said(lambda: awakening.awaken(ONE) or "woken")
    assert awakening.randomness(ONE.name) == by
    awakening.forget(ONE.name)
    assert awakening.randomness(ONE.name) == ""


def _until_said(ask: Callable[[], str]) -> str:
    for _ in range(4):
        with contextlib.suppress(AgentSilent):
            return ask()
    raise AgentSilent("for too long")


@pytest.mark.parametrize("at_ns", [10**400, -(10**400), (1 << 63) + 1, "now", None, [], 1.5])
def test_a_time_that_is_none_is_no_time(at_ns: object) -> None:
    """A guest says what it likes: it is silent for as long as it makes no sense."""
    guest = Guest(HurriedClock(), off_s=0.0)
    guest.says = at_ns
    with pytest.raises(AgentSilent, match="none"):
        Awakening(AgentCommands(guest, guest.clock), guest.clock).awaken(ONE)
