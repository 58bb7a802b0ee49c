"""What an image's test makes of what it saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator import servicefile
from orchestrator.rules import admission
from orchestrator.rules.admission import Lap
from tests.unit.test_manifest import MICRO, find

AGENT: dict[str, Any] = {
    "host_name": "Canary-0",
    "system": "Debian",
    "version": "7.2",
    "allowed": ["guest-exec"],
    "forbidden": [],
}
IMAGE: dict[str, Any] = {"sha256": MICRO.sha256}


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
    assert admission.suggested(laps) == {"setup_s": 60.0, "ready_s": 60.0}
    slow = [replace(laps[0], phases_s={"setup": 100.0, "starting": 30.1})]
    assert admission.suggested([*laps, *slow]) == {"setup_s": 300.0, "ready_s": 91.0}


def verdicts(laps: list[Lap], **agent: object) -> dict[str, bool | None]:
    """The verdicts by subject."""
    found = admission.findings(IMAGE, "canary-0", AGENT | agent, laps, restarts=True)
    return {one.subject: one.good for one in found}


def test_a_good_image_passes() -> None:
    """Names are compared as Windows does, without case; three generations that each went through a restart."""
    laps = [Lap(generation=n, phases_s={"setup": 1.0}, boots=2) for n in (1, 2, 3)]
    assert verdicts(laps) == {
        "system": None,
        "agent calls": True,
        "name": True,
        "setup restart": True,
        "reimage": True,
    }


def test_each_fault_of_an_image_is_seen() -> None:
    """Another name, no restart, a generation that is missing; a forbidden call is told and is no fault."""
    laps = [Lap(generation=n, phases_s={"setup": 1.0}, boots=n) for n in (1, 2)]
    found = verdicts(laps, host_name="WIN-ABC", forbidden=["guest-exec"])
    assert found == {"system": None, "agent calls": None, "name": False, "setup restart": False, "reimage": False}
    assert verdicts(laps, host_name="")["name"] is None


def test_the_canary_is_an_ordinary_service_off_rotation() -> None:
    """Its file is one that the daemon takes, with the answers that were given and without endpoints or a VIP."""
    answers = "userData: |\n  #cloud-config\n  hostname: x\n"
    text = admission.service_file(
        "canary-1", MICRO.sha256, vcpus=2, memory="256 MiB", within="20 min", answers=answers
    )
    spec = servicefile.parse(text, find)
    (role,) = spec.roles
    assert (spec.vip, role.endpoints, role.instances, role.size.vcpus) == ("", (), 1, 2)
    assert role.user_data == "#cloud-config\nhostname: x\n"
    assert (role.setup.within_s, role.ready.within_s) == (1200.0, 1200.0)
