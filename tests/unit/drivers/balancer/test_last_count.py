"""What is open is counted seldom, and never from before somebody has left his pool."""

from __future__ import annotations

from orchestrator.drivers.balancer.last_count import LastCount
from tests.world.clocks import HurriedClock

SHARE = 10_000_000  # A count is good enough for some seconds then.


def test_a_count_is_good_enough_for_a_while() -> None:
    """And no longer; whoever wants a fresh one has it."""
    clock = HurriedClock()
    last, counts = LastCount[int](clock, SHARE), iter(range(10))

    def count() -> int:
        assert sum(range(1000))  # It takes some time.
        return next(counts)

    assert [last.ask(count) for _ in range(3)] == [0, 0, 0]
    assert last.ask(count, fresh=True) == 1
    clock.time_s += 1e6
    assert last.ask(count) == 2
    last.forget()
    assert last.ask(count) == 3


def test_what_was_being_counted_as_it_was_forgotten_is_nobody_else_s() -> None:
    """A member leaves his pool while another's connections are being counted: one that he was dealt meanwhile may
    not be among them, and he would be thought to have none.
    """
    last = LastCount[str](HurriedClock(), SHARE)

    def slow() -> str:
        last.forget()  # by who drains, while we list
        return "before"

    assert last.ask(slow) == "before", "to himself it is as good as any"
    assert last.ask(lambda: "after") == "after"
