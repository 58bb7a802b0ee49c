"""The Clock contract, on the host's clock and on the in-memory world."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake.world import World
from orchestrator.ports import Clock

Passing = tuple[Clock, Callable[[float], None]]  # a clock, and what lets its seconds pass


@pytest.fixture(params=["fake", "real"])
def passing(request: pytest.FixtureRequest) -> Passing:
    """Each clock in turn."""
    world = World()
    return (world, world.pass_time) if request.param == "fake" else (SystemClock(), time.sleep)


def test_it_counts_seconds_of_the_epoch(passing: Passing) -> None:
    """A person is shown it as a date: milliseconds, or seconds since a start, would be of no year of ours."""
    clock, _ = passing
    assert 2020 < datetime.datetime.fromtimestamp(clock.now_s(), datetime.UTC).year < 2120


def test_it_goes_on_as_time_passes(passing: Passing) -> None:
    """By as much as passed: every deadline is a difference of two looks."""
    clock, pass_time = passing
    before_s = clock.now_s()
    pass_time(0.05)
    first_s = clock.now_s()
    pass_time(0.05)
    assert first_s - before_s >= 0.049  # NTP may slew the host's clock.
    assert clock.now_s() > first_s


def test_what_lasts_only_goes_forwards(passing: Passing) -> None:
    """By as much as passed, whatever somebody does to the time of day."""
    clock, pass_time = passing
    before_s = clock.monotonic_s()
    pass_time(0.05)
    if isinstance(clock, World):
        day_s = clock.now_s()
        clock.set_back_s += 3600.0
        assert clock.now_s() < day_s
    assert clock.monotonic_s() - before_s >= 0.049


def test_a_wait_ends_with_the_news_or_with_its_time(passing: Passing) -> None:
    """Who waits lets go of the condition, is told at once, and not kept for ever."""
    clock, _ = passing
    changed = threading.Condition()
    began = time.monotonic()
    with changed:
        clock.wait(changed, 0.05)
    assert time.monotonic() - began >= 0.05

    def tell() -> None:
        with changed:
            changed.notify()

    with changed:
        teller = threading.Thread(target=tell)
        teller.start()
        clock.wait(changed, 60.0)
    teller.join(30.0)
    assert time.monotonic() - began < 60.0
