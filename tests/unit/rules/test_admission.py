"""What an image's test makes of what it saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator import servicefile
from orchestrator.model import Deadlines
from orchestrator.rules import admission
from orchestrator.rules.admission import Observation
from tests.world.images import MICRO
from tests.world.service_files import find

AGENT: dict[str, Any] = {
    "host_name": "Canary-0",
    "system": "Debian",
    "version": "7.2",
    "allowed": ["guest-exec"],
    "forbidden": [],
    "marks": {},
}
IMAGE: dict[str, Any] = {"sha256": MICRO.sha256, "os": "linux", "answers": "nocloud"}


def event(at_s: float, phase: str, generation: int, boot: int) -> dict[str, Any]:
    """A line of the ledger."""
    return {"at_s": at_s, "phase": phase, "generation": generation, "boot": boot}


LEDGER = [
    event(10.0, "layered", 1, 0),
    event(10.5, "answered", 1, 0),
    event(11.0, "setup", 1, 0),
    event(21.0, "starting", 1, 2),
    event(23.0, "ready", 1, 2),
    event(23.25, "serving", 1, 2),
    event(24.0, "", 0, 0),
    event(30.0, "draining", 1, 2),
    event(31.0, "stopping", 1, 2),
    event(35.0, "erasing", 1, 2),
    event(36.0, "requested", 2, 0),
    event(36.5, "layered", 2, 0),
    event(37.0, "setup", 2, 0),
    event(57.0, "starting", 2, 2),
    event(58.0, "ready", 2, 2),
    event(58.5, "serving", 2, 2),
]


def test_a_lap_is_what_one_generation_took() -> None:
    """From the overlay to the rotation, phase by phase; the end of the generation before does not count."""
    first, second = admission.laps(LEDGER)
    assert (first.generation, first.boots, second.generation) == (1, 2, 2)
    assert first.phases_s == {"layered": 0.5, "answered": 0.5, "setup": 10.0, "starting": 2.0, "ready": 0.25}
    assert second.phases_s == {"requested": 0.5, "layered": 0.5, "setup": 20.0, "starting": 1.0, "ready": 0.5}
    assert second.total_s == 22.5


def test_a_generation_that_never_served_is_no_lap() -> None:
    """A healed canary's first try is not measured."""
    failed = [*LEDGER[:3], event(99.0, "stopping", 1, 1), event(100.0, "requested", 2, 0), *LEDGER[11:]]
    (lap,) = admission.laps(failed)
    assert lap.generation == 2


def test_deadlines_leave_room_and_are_never_tiny() -> None:
    """Three times the slowest, a minute at least: a busy host is slower than the one that was measured."""
    laps = admission.laps(LEDGER)
    assert admission.suggested(laps) == Deadlines(setup_s=60.0, ready_s=60.0)
    slow = [replace(laps[0], phases_s={"setup": 100.0, "starting": 30.1})]
    assert admission.suggested([*laps, *slow]) == Deadlines(setup_s=300.0, ready_s=91.0)


def ledger(generations: int, *, boot: int = 2, stop_s: float = 4.0) -> list[dict[str, Any]]:
    """A canary that was deployed and reimaged, with so long a shutdown."""
    lines, at_s = [], 0.0
    for number in range(1, generations + 1):
        if number > 1:
            lines += [event(at_s, "stopping", number - 1, boot), event(at_s + stop_s, "erasing", number - 1, boot)]
            at_s += stop_s
        phases = ("requested", "setup", "starting", "serving")
        lines += [event(at_s + step, phase, number, boot) for step, phase in enumerate(phases)]
        at_s += 10.0
    return lines


def findings(
    events: list[dict[str, Any]], marks: list[dict[str, str]] | None = None, **agent: object
) -> dict[str, Observation]:
    """The verdicts by subject; `marks` of each generation."""
    agents = [AGENT | agent | {"marks": one} for one in marks or [{}]]
    found = admission.findings(IMAGE | {"os": "linux"}, "canary-0", agents, events, restarts=True)
    return {one.subject: one for one in found}


def verdicts(events: list[dict[str, Any]], **agent: object) -> dict[str, bool | None]:
    """Good, bad or neither, by subject."""
    return {subject: one.good for subject, one in findings(events, **agent).items()}  # type: ignore[arg-type]


def test_a_good_image_passes() -> None:
    """Names are compared as Windows does, without case; three generations that each went through a restart."""
    assert verdicts(ledger(3)) == {
        "system": None,
        "agent calls": True,
        "name": True,
        "machine-id": None,
        "SSH host keys": None,
        "shutdown": True,
        "setup restart": True,
        "reimage": True,
    }


def test_each_fault_of_an_image_is_seen() -> None:
    """Another name, no restart, a generation that is missing; a forbidden call is told and is no fault."""
    found = verdicts(ledger(2, boot=1), host_name="WIN-ABC", forbidden=["guest-exec"])
    assert {subject for subject, good in found.items() if good is False} == {"name", "setup restart", "reimage"}
    assert found["agent calls"] is None
    assert verdicts(ledger(3), host_name="")["name"] is None


@pytest.mark.parametrize(
    ("marks", "machine_id", "host_keys"),
    [
        ([{"machine-id": "a", "SSH host key (rsa)": "k"}, {"machine-id": "b", "SSH host key (rsa)": "l"}], "", ""),
        ([{"machine-id": "a"}, {"machine-id": "a"}], "/etc/machine-id", ""),
        ([{"machine-id": "a"}, {"machine-id": "b"}, {"machine-id": "a"}], "/etc/machine-id", ""),
        ([{"SSH host key (rsa)": "k"}, {"SSH host key (rsa)": "k"}], "", "rm /etc/ssh/ssh_host_*"),
        # One kind is made anew, the other comes from the image; the same text of two kinds means nothing.
        (
            [
                {"SSH host key (rsa)": "k", "SSH host key (ed25519)": "m"},
                {"SSH host key (rsa)": "k", "SSH host key (ed25519)": "n"},
            ],
            "",
            "rm /etc/ssh/ssh_host_*",
        ),
        ([{"SSH host key (rsa)": "k"}, {"SSH host key (ed25519)": "k"}], "", ""),
        ([{}, {"machine-id": "a"}], "", ""),
    ],
)
def test_what_two_generations_share_comes_from_the_image(
    marks: list[dict[str, str]], machine_id: str, host_keys: str
) -> None:
    """A machine-id or an SSH host key that is the same twice is told with the command that takes it out."""
    found = findings(ledger(3), marks)
    for subject, remedy in (("machine-id", machine_id), ("SSH host keys", host_keys)):
        assert remedy in found[subject].advice
        assert bool(found[subject].advice) == bool(remedy)
        assert found[subject].good is not bool(remedy)


@pytest.mark.parametrize(
    ("took_s", "good", "advice"), [(4.0, True, ""), (90.0, None, "5 min"), (150.0, False, "8 min")]
)
def test_a_slow_shutdown_is_told_with_what_to_say(took_s: float, good: bool | None, advice: str) -> None:
    """Beside the two minutes that a role gives by default: fine, close to it, or over it, which would lose data."""
    shutdown = findings(ledger(3, stop_s=took_s))["shutdown"]
    assert (shutdown.good, bool(shutdown.advice)) == (good, bool(advice))
    assert advice in shutdown.advice
    assert f"{took_s:.1f} s" in shutdown.detail


def test_an_image_that_reads_no_answers_has_no_name_to_be_asked_for() -> None:
    """Nor a setup whose time could be said."""
    appliance = IMAGE | {"answers": "none"}
    found = admission.findings(appliance, "canary-0", [AGENT | {"host_name": "router"}], ledger(3), restarts=False)
    assert {one.subject: one.good for one in found}["name"] is None
    text = admission.service_file("canary-1", appliance, vcpus=1, memory="256 MiB", within="20 min")
    assert "setup" not in text
    assert "ready" in text


def test_the_canary_is_an_ordinary_service_off_rotation() -> None:
    """Its file is one that the daemon takes, with the answers that were given and without endpoints or a VIP."""
    answers = "userData: |\n  #cloud-config\n  hostname: x\n"
    text = admission.service_file("canary-1", IMAGE, vcpus=2, memory="256 MiB", within="20 min", answers=answers)
    spec = servicefile.parse(text, find)
    (role,) = spec.roles
    assert (spec.vip, role.endpoints, role.instances, role.size.vcpus) == ("", (), 1, 2)
    assert role.user_data == "#cloud-config\nhostname: x\n"
    assert (role.setup.within_s, role.ready.within_s, role.stop.within_s) == (1200.0, 1200.0, 360.0)
