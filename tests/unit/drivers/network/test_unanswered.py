"""Guests that ask for an address and get none, apart from those that were answered and have given it back."""

from __future__ import annotations

from orchestrator.drivers.network.unanswered import Unanswered
from orchestrator.model import Instance
from tests.contract.suites.network import make_service
from tests.world.clocks import HurriedClock

_ASKED_S = 5_000.0  # since the epoch, as nftables and dnsmasq tell it; far from the other clock's time


def _web() -> Instance:
    _, (web,) = make_service("shop", "", 1)
    return web


def _told(watch: Unanswered, clock: HurriedClock, asked_s: float | None, answered_s: float | None) -> int:
    """How often it is told in a minute in which that stays as it is."""
    web = _web()
    asking = {} if asked_s is None else {web.nic.mac: asked_s}
    answered = {} if answered_s is None else {web.nic.mac: answered_s}
    found = 0
    for _ in range(12):
        found += len(list(watch.among([web], asking, answered)))
        clock.time_s += 5.0
    return found


def test_who_is_not_answered_is_told_once() -> None:
    """With no lease, or with that of an earlier request."""
    for earlier_s in (None, _ASKED_S - 60.0):
        clock = HurriedClock()
        watch = Unanswered(clock)
        assert _told(watch, clock, _ASKED_S, earlier_s) == 1
        assert _told(watch, clock, _ASKED_S, earlier_s) == 0


def test_who_gives_its_lease_back_was_answered() -> None:
    """As guests do that go down, soon after they asked; what they ask later is answered or not by itself."""
    clock = HurriedClock()
    watch = Unanswered(clock)
    assert _told(watch, clock, _ASKED_S, _ASKED_S) == 0
    assert _told(watch, clock, _ASKED_S, None) == 0
    assert _told(watch, clock, _ASKED_S + 60.0, None) == 1


def test_who_asks_again_after_a_pause_is_looked_at_anew() -> None:
    """What it was answered before nobody remembers longer than its request."""
    clock = HurriedClock()
    watch = Unanswered(clock)
    assert _told(watch, clock, _ASKED_S, _ASKED_S) == 0
    assert _told(watch, clock, None, None) == 0
    assert _told(watch, clock, _ASKED_S, None) == 1
