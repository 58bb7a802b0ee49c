"""What a driver waits for it waits for by the clock that it was given; what the kernel measures, by the machine's."""

from __future__ import annotations

import threading

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.drivers.tools.patience import Event, Patience
from tests.world.clocks import HurriedClock

HOUR_S = 3600.0


def test_patience_ends_by_the_clock_that_it_was_given() -> None:
    """An hour is over as soon as that clock says so, and not before."""
    clock = HurriedClock()
    patience = Patience(clock, HOUR_S)
    patience.pause(HOUR_S - 1.0)
    assert not patience.over
    patience.pause(2.0)
    assert patience.over


def test_who_waits_for_what_does_not_come_goes_on_in_time() -> None:
    """By that clock; and it has not come."""
    clock = HurriedClock()
    began_s = clock.time_s
    assert not Event(clock).within(HOUR_S)
    assert clock.time_s - began_s == HOUR_S


@pytest.mark.parametrize("late", [False, True])
def test_what_has_come_is_waited_for_no_more(*, late: bool) -> None:
    """Neither by who asks afterwards, nor by who waited already."""
    event = Event(SystemClock())
    setter = threading.Thread(target=event.set)
    setter.start()
    if not late:
        setter.join()
    assert event.within(HOUR_S) or event.is_set()
    setter.join()
    assert event.within(0.0)


def test_a_deadline_says_what_is_left_of_it() -> None:
    """To a socket that may not be given less than nothing."""
    ended, running = Deadline(0.0), Deadline(HOUR_S)
    assert (ended.left_s, ended.over, running.over) == (0.0, True, False)
    assert 0.0 < running.left_s <= HOUR_S
    assert running.passed_s >= 0.0
