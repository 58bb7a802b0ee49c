"""Who of a role that walks may learn that peers have come or gone."""

from __future__ import annotations

import pytest

from orchestrator.rules.topology import STEP_S, WALK_MAX_S, horizon

NOW_S = 5000.0


@pytest.mark.parametrize(
    ("before", "after", "last"),
    [
        ([], 5, None),
        ([10], 5, None),
        ([10, 12], 5, None),
        ([9], 5, 9),
        ([10, 5], 5, 9),
        ([5], 10, None),  # It knows already.
    ],
)
def test_the_next_learns_when_those_before_it_know(before: list[int], after: int, last: int | None) -> None:
    """All of them; until then it hears of all that came before."""
    assert horizon([(10, NOW_S - 1)], after, before, NOW_S) == last


def test_each_change_is_walked_by_itself() -> None:
    """Who knows of the first has the next before it."""
    moves = [(10, NOW_S - 2), (20, NOW_S - 1)]
    assert horizon(moves, 5, [10], NOW_S) == 19
    assert horizon(moves, 5, [5], NOW_S) == 9
    assert horizon(moves, 10, [10], NOW_S) == 19


@pytest.mark.parametrize(("before", "waits_s"), [(1, STEP_S), (3, 3 * STEP_S), (1000, WALK_MAX_S)])
def test_nobody_is_waited_for_without_an_end(before: int, waits_s: float) -> None:
    """A step for each, and not for ever for many; a clock that was set back holds up nobody."""
    for waited_s, last in ((0.0, 9), (waits_s - 0.1, 9), (waits_s, None), (-1.0, None)):
        assert horizon([(10, NOW_S - waited_s)], 5, [0] * before, NOW_S) == last
