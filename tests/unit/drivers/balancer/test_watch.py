"""A balancer's watch, and how long what it saw is good for, by the clock that it was given."""

from __future__ import annotations

import contextlib
import itertools
import threading

import pytest

from orchestrator.drivers.balancer import watch
from orchestrator.drivers.balancer.watch import Snapshot, watching
from orchestrator.errors import Permanent
from orchestrator.model import PoolName, Seat, Standing, instance_name
from tests.world.clocks import HurriedClock
from tests.world.waiting import until

ZERO = instance_name("shop", "web", 0)
SEAT = Seat(address="10.0.0.2", standing=Standing.UP, connections=0, pools=(PoolName("shop.web.http"),), checked=True)
MEMBERS = 1000


def test_what_was_seen_is_good_for_a_while() -> None:
    """A millisecond a member, however often it is asked for meanwhile; then somebody has to look."""
    clock = HurriedClock()
    seen = Snapshot(lambda *_: None, clock)
    assert seen.fresh() is None
    seen.take({instance_name("shop", "web", index): SEAT for index in range(MEMBERS)})
    good_s = MEMBERS * watch.FRESH_S_A_MEMBER
    clock.time_s += good_s * 0.9
    assert seen.fresh() is not None
    clock.time_s += good_s * 0.2
    assert seen.fresh() is None
    assert seen.last() is not None


def test_what_holds_no_more_is_not_fresh_on_a_machine_that_has_just_started() -> None:
    """Its clock counts from the start."""
    clock = HurriedClock()
    clock.time_s = 0.0
    seen = Snapshot(lambda *_: None, clock)
    seen.take({ZERO: SEAT})
    assert seen.fresh() is not None
    seen.clear()
    assert seen.fresh() is None


@pytest.mark.parametrize("fails", [False, True])
def test_a_start_that_failed_is_tried_again_later(*, fails: bool) -> None:
    """Where a balancer is looked after five times a second, one whose start fails is left alone for two."""
    clock = HurriedClock()
    looked_at: list[float] = []
    enough = threading.Event()

    def revive() -> None:
        looked_at.append(clock.time_s)
        if len(looked_at) == 3:
            enough.set()
        if fails:
            raise Permanent("it does not start")

    with contextlib.ExitStack() as stack:
        stack.enter_context(watching("it", revive, lambda: None, clock=clock, join_s=30.0))
        until(enough.is_set)
    pauses_s = [after - before for before, after in itertools.pairwise(looked_at[:3])]
    wanted_s = watch.START_AGAIN_S if fails else watch.ALIVE_EVERY_S
    assert pauses_s == pytest.approx([wanted_s, wanted_s], abs=watch.ALIVE_EVERY_S)


@pytest.mark.parametrize(("members", "between_s"), [(1, 0.0), (500, 0.0), (1000, 2.0), (10_000, 20.0)])
def test_the_more_members_there_are_the_less_often_all_are_looked_at(members: int, between_s: float) -> None:
    """A look costs so much for each; few are looked at whenever the watch comes by."""
    clock = HurriedClock()
    seen = Snapshot(lambda *_: None, clock)
    assert seen.is_due()
    seen.take({instance_name("shop", "web", index): SEAT for index in range(members)})
    assert seen.is_due() is not bool(between_s)
    clock.time_s += between_s * 0.9
    assert seen.is_due() is not bool(between_s)
    clock.time_s += between_s * 0.2
    assert seen.is_due()


def test_who_asks_for_one_member_has_nobody_look_at_all_while_the_watch_does() -> None:
    """Where it is in trouble, what it has seen says little."""
    clock = HurriedClock()
    seen = Snapshot(lambda *_: None, clock)
    assert seen.recent() is None
    seen.take({instance_name("shop", "web", index): SEAT for index in range(10_000)})
    clock.time_s += 20.0 + watch.STALE_S * 0.9
    assert seen.recent() is not None
    clock.time_s += watch.STALE_S * 0.2
    assert seen.recent() is None


def test_what_holds_no_more_is_looked_at_again_at_once() -> None:
    """The endpoints have changed, or the balancer has ended."""
    seen = Snapshot(lambda *_: None, HurriedClock())
    seen.take({instance_name("shop", "web", index): SEAT for index in range(MEMBERS)})
    assert not seen.is_due()
    seen.clear()
    assert (seen.is_due(), seen.recent()) == (True, None)
