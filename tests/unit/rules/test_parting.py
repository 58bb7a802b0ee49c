"""What a draining instance's guest is told of its end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model import Incarnation, Parting, Phase
from orchestrator.rules import parting
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
