"""A guest that says that it is busy or ready: into the pool and out of it, over turns, restarts and reimages."""

from __future__ import annotations

import pytest

from orchestrator.errors import Unreachable
from orchestrator.model import Phase, Ready, Says, Standing, Verb
from tests.unit.control.fleet import WEB, deployed, told
from tests.world.fabric import Fabric, web_role


def is_in(fabric: Fabric) -> bool:
    """Whether new connections come to it."""
    seat = fabric.world.seats_taken.get(WEB)
    return seat is not None and seat.standing is Standing.UP


def turn(fabric: Fabric) -> None:
    """One turn, as its word wakes it."""
    fabric.daemon.attend(("instance", WEB))


def test_busy_is_out_with_the_next_turn_and_answered_then() -> None:
    """Its open connections go on, it is not healed for it however long it lasts, and it comes back as it lapses."""
    fabric = deployed()
    fabric.world.connections[WEB] = 2
    fabric.world.say(WEB, Says.BUSY, for_s=900.0, reason="a backup")
    assert is_in(fabric)
    turn(fabric)
    assert not is_in(fabric)
    assert fabric.world.connections[WEB] == 2
    assert WEB not in fabric.world.unanswered
    assert fabric.instance().waiting == "its guest says that it is busy: a backup"
    for _ in range(80):
        fabric.round(10.0)
    assert (fabric.instance().phase, is_in(fabric), fabric.instance().strikes) == (Phase.SERVING, False, 0)
    for _ in range(15):
        fabric.round(10.0)
    assert (fabric.instance().waiting, is_in(fabric)) == ("", True)


def test_the_turn_after_busy_comes_as_it_lapses() -> None:
    """Not a minute later."""
    fabric = deployed()
    fabric.world.say(WEB, Says.BUSY, for_s=7.0)
    assert fabric.daemon.attend(("instance", WEB)) == pytest.approx(7.0)
    fabric.world.pass_time(7.0)
    turn(fabric)
    assert is_in(fabric)


def test_ready_ends_busy() -> None:
    """At once."""
    fabric = deployed()
    fabric.world.say(WEB, Says.BUSY, for_s=900.0)
    turn(fabric)
    assert not is_in(fabric)
    fabric.world.say(WEB, Says.READY)
    turn(fabric)
    assert is_in(fabric)


def test_busy_outlives_the_daemon() -> None:
    """The next one knows it from the record, though no guest has said anything to it."""
    fabric = deployed()
    fabric.world.say(WEB, Says.BUSY, for_s=900.0)
    turn(fabric)
    fabric.world.words.clear()
    fabric.restart()
    turn(fabric)
    assert not is_in(fabric)


def test_a_guest_is_not_told_that_it_is_out_while_the_balancer_is_away() -> None:
    """Its word is kept meanwhile, and done when the balancer is back."""
    fabric = deployed()
    fabric.world.faults.refuses["balancer"] = Unreachable("HAProxy is away")
    fabric.world.say(WEB, Says.BUSY, for_s=900.0)
    turn(fabric)
    assert WEB in fabric.world.unanswered
    del fabric.world.faults.refuses["balancer"]
    turn(fabric)
    assert WEB not in fabric.world.unanswered
    assert not is_in(fabric)


def test_nobody_becomes_ready_without_the_word_that_its_role_asks_for() -> None:
    """Beside all else; said before its services have started, it counts as well, and in each boot anew."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, ready=Ready(guest=True)))
    fabric.until(lambda: "has not said that it is ready" in fabric.instance().waiting)
    assert (fabric.instance().phase, WEB in fabric.world.seats_taken) == (Phase.STARTING, False)
    fabric.world.say(WEB, Says.READY)
    fabric.until(fabric.quiet)
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: "has not said that it is ready" in fabric.instance().waiting)
    fabric.world.say(WEB, Says.READY)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)


def test_ready_does_not_stand_for_services() -> None:
    """Both conditions hold."""
    fabric = Fabric()
    fabric.world.faults.services_never_start.add(WEB)
    fabric.deploy(web_role(instances=1, ready=Ready(guest=True)))
    fabric.until(lambda: "still starting" in fabric.instance().waiting)
    fabric.world.say(WEB, Says.READY)
    fabric.round()
    assert fabric.instance().phase is Phase.STARTING
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)


def test_a_guest_that_never_says_so_is_healed_as_any_that_does_not_start() -> None:
    """By its role's time."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, ready=Ready(guest=True, within_s=60.0)))
    fabric.until(lambda: fabric.instance().strikes > 0)
    assert any("overdue while starting: its guest has not said that it is ready" in line for line in told(fabric))


def test_busy_before_it_serves_takes_no_time_of_its_deadline() -> None:
    """It waits for as long as the guest says."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, ready=Ready(within_s=60.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    fabric.world.say(WEB, Says.BUSY, for_s=600.0)
    for _ in range(50):
        fabric.round(10.0)
    assert (fabric.instance().phase, fabric.instance().strikes) == (Phase.STARTING, 0)
    fabric.until(fabric.quiet)
    assert fabric.instance().strikes == 0


def test_a_reimage_forgets_what_was_said() -> None:
    """Another guest has said nothing."""
    fabric = deployed()
    fabric.world.say(WEB, Says.BUSY, for_s=36_000.0)
    turn(fabric)
    fabric.act(Verb.REIMAGE, WEB)
    fabric.until(fabric.quiet)
    fabric.until(lambda: is_in(fabric))
    assert fabric.instance().word is None
