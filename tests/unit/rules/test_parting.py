"""What the guest of an instance is told of its end, and which of them is waited for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model import Farewell, Identity, Incarnation, Parting, Phase, Silence
from orchestrator.rules import parting, patience
from tests.world.recorded import instance

NOW_S = 5000.0
AGAIN = Incarnation(2, 1)


@pytest.mark.parametrize(
    ("goal", "why"),
    [
        ({}, ""),
        ({"wanted": Incarnation(1, 2)}, "restart"),
        ({"wanted": AGAIN}, "reimage"),
        ({"halts": 1}, "stop"),
        ({"halts": 1, "wanted": AGAIN}, "stop"),
        ({"serve": False, "wanted": AGAIN}, "removal"),
        ({"lent": 1}, "reimage"),
        ({"lease": "x", "wanted": AGAIN}, ""),  # Its VM goes on, with a client.
        ({"lease": "x", "serve": False}, "removal"),
        ({"protected": True, "wanted": AGAIN}, ""),
        ({"protected": True, "serve": False}, "removal"),
    ],
)
def test_why_it_ends(goal: dict[str, Any], why: str) -> None:
    """By the wish that its draining follows; nobody is told of an end who stays, or who has left already."""
    here = instance(Phase.DRAINING, (1, 1), (1, 1))
    here = replace(here, goal=replace(here.goal, **goal))
    assert parting.why(here) == why
    for phase in (Phase.SERVING, Phase.LEASED, Phase.STOPPING):
        assert parting.why(replace(here, phase=phase)) == ""


@pytest.mark.parametrize(
    ("phase", "goal", "why"),
    [
        (Phase.RESTARTING, {}, "restart"),  # by healing: nobody has wished for it
        (Phase.RESTARTING, {"wanted": Incarnation(1, 2)}, "restart"),
        (Phase.STOPPING, {}, "reimage"),
        (Phase.STOPPING, {"serve": False}, "removal"),
        (Phase.HALTING, {"halts": 1}, "stop"),
        (Phase.HALTING, {"serve": False}, "removal"),
        (Phase.STOPPING, {"protected": True}, ""),
        (Phase.STOPPING, {"protected": True, "serve": False}, "removal"),
    ],
)
def test_why_one_ends_that_has_not_drained(phase: Phase, goal: dict[str, Any], why: str) -> None:
    """By the phase; once it is asked to shut down, or where it has had its time, it is told no more."""
    here = instance(phase, (1, 1), (1, 1))
    here = replace(here, goal=replace(here.goal, **goal))
    for how in (Farewell.DUE, Farewell.TOLD):
        assert parting.why(replace(here, farewell=how)) == why
        assert parting.why(replace(here, farewell=how, asked_at_s=NOW_S)) == ""
    assert parting.why(here) == ""


@pytest.mark.parametrize("before", list(Phase), ids=str)
def test_who_was_drained_has_had_its_time(before: Phase) -> None:
    """So has who is on its way down; who is off, or is not shut down, is told of nothing."""
    ends = (Phase.RESTARTING, Phase.HALTING, Phase.STOPPING)
    had = (Phase.DRAINING, *ends, Phase.STOPPED, Phase.ERASING, Phase.GONE)
    here = instance(before, (1, 1), (1, 1))
    for phase in Phase:
        due = phase in ends and before not in had
        assert parting.due(here, phase) is (Farewell.DUE if due else Farewell.NONE)


def test_another_end_has_its_own_time() -> None:
    """Where the guest has not been asked to shut down yet."""
    here = replace(instance(Phase.RESTARTING, (1, 1), (1, 2)), farewell=Farewell.TOLD)
    assert parting.due(here, Phase.STOPPING) is Farewell.DUE
    assert parting.due(here, Phase.STARTING) is Farewell.NONE
    assert parting.due(replace(here, asked_at_s=NOW_S), Phase.STOPPING) is Farewell.NONE


@pytest.mark.parametrize(
    ("heard", "healed", "lives"),
    [
        (Identity(boot_id="b"), True, True),
        (Identity(boot_id="c"), True, False),  # It has restarted by itself since it asked.
        (Identity(boot_id="", source="ping"), True, True),
        (Identity(boot_id="", source="none"), True, False),
        (Identity(boot_id="", source="none"), False, True),
        (Silence(reason="nothing"), False, False),
        (Silence(reason="nothing", frozen=True), False, False),
    ],
)
def test_nobody_waits_for_the_dead(heard: Identity | Silence, healed: bool, lives: bool) -> None:
    """What cannot show that it lives is not taken to live where it is healed."""
    here = instance(Phase.RESTARTING, (1, 1), (1, 2))
    asked = Parting(boot_id="b", asked_at_s=NOW_S - 60)
    here = replace(here, phase_since_s=NOW_S, healed_at_s=NOW_S if healed else 0.0, parting=asked)
    assert parting.answers(here, heard) is lives


@pytest.mark.parametrize(
    ("boot_id", "own", "asked_ago_s", "counts"),
    [
        ("b", "b", 9000.0, True),
        ("a", "b", 1.0, False),
        ("", "b", parting.LAPSES_S - 1, True),
        ("", "b", parting.LAPSES_S, False),
        ("a", "", parting.LAPSES_S, False),
    ],
)
def test_who_has_asked_in_this_boot_is_waited_for(boot_id: str, own: str, asked_ago_s: float, counts: bool) -> None:
    """Where boots have no names it has to ask now and then."""
    here = instance(Phase.DRAINING, (1, 1), (1, 2))
    asked = Parting(boot_id=boot_id, asked_at_s=NOW_S - asked_ago_s)
    here = replace(here, phase_since_s=NOW_S - 10, boot_id=own, parting=asked)
    assert parting.left_s(here, NOW_S) == (here.goal.role.drain_s - 10 if counts else 0.0)
    assert parting.told(here, NOW_S) == {"why": "restart", "within_s": here.goal.role.drain_s - 10}


def test_its_time_is_none_of_its_shutdown_s() -> None:
    """Its deadline runs from when it is asked to shut down, and that is as long as its role drains at the latest."""
    here = instance(Phase.STOPPING, (1, 1), (2, 1))
    assert patience.asked_after_s(here) == 0.0
    told = replace(here, farewell=Farewell.TOLD, phase_since_s=NOW_S)
    assert patience.asked_after_s(told) == here.goal.role.drain_s > 0
    assert patience.asked_after_s(replace(told, farewell=Farewell.NONE, asked_at_s=NOW_S + 7)) == 7.0
