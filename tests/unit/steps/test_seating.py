"""Where instances come into their pools and leave them."""

from __future__ import annotations

import dataclasses
from typing import NoReturn

import pytest

from orchestrator.drivers.fake.parts import FakeBalancer
from orchestrator.errors import Unreachable
from orchestrator.model import Instance, Phase, Seat, Standing, Verb
from orchestrator.steps import phases, seating
from orchestrator.steps.outcomes import Done, Wait
from tests.unit.control.fleet import WEB, deployed
from tests.world.fabric import Fabric
from tests.world.instances import checkpoint


def seat(fabric: Fabric, phase: Phase) -> tuple[Seat | None, str]:
    """The seat that an instance in that phase has after its leaf."""
    now_s = fabric.world.now_s()
    one = dataclasses.replace(fabric.instance(), phase=phase, phase_since_s=now_s)
    return seating.seat(one, fabric.host.machine, fabric.host.front)


@pytest.mark.parametrize("phase", [Phase.RESTARTING, Phase.HALTING, Phase.STOPPING, Phase.STOPPED, Phase.FAILED])
def test_whoever_stops_has_left_before(phase: Phase) -> None:
    """Before any step of that phase, whether its guest still runs or not."""
    fabric = deployed()
    assert seat(fabric, phase) == (None, "")
    assert WEB not in fabric.world.seats_taken


def test_nothing_is_stopped_while_the_balancer_is_away() -> None:
    """No step is taken with a seat of which nobody knows whether it is left; a setup goes on meanwhile."""
    fabric = deployed()
    fabric.world.faults.refuses["balancer"] = Unreachable("HAProxy is away")
    for phase in (Phase.STOPPING, Phase.DRAINING, Phase.SERVING):
        with pytest.raises(Unreachable):
            seat(fabric, phase)
    for phase in (Phase.REQUESTED, Phase.ANSWERED, Phase.SETUP, Phase.STARTING, Phase.ERASING):
        assert seat(fabric, phase) == (None, "")


def test_a_vm_that_died_is_seen_without_the_balancer() -> None:
    """Nobody is asked about a seat of what does not run: it is healed."""
    fabric = deployed()
    fabric.world.faults.refuses["balancer"] = Unreachable("HAProxy is away")
    fabric.world.kill(WEB)
    assert seat(fabric, Phase.SERVING) == (None, "")


class AskedForOne(FakeBalancer):
    """Has so many members that nobody may look at all of them for one."""

    def seats(self) -> NoReturn:
        """See ports.Balancer."""
        raise AssertionError("all members were looked at for one")


@pytest.mark.parametrize("phase", Phase)
def test_no_look_at_one_is_a_look_at_all(phase: Phase) -> None:
    """In no phase: what an instance's turn costs does not grow with the others that are in a pool."""
    fabric = deployed()
    front = dataclasses.replace(fabric.host.front, balancer=AskedForOne(fabric.world))
    one = dataclasses.replace(fabric.instance(), phase=phase, phase_since_s=fabric.world.now_s())
    seating.seat(one, fabric.host.machine, front)


def test_open_connections_are_told_when_they_are_cut() -> None:
    """While there is time they go on; when the VM is off they are cut, and the words say so."""
    fabric = deployed()
    fabric.world.connections[WEB] = 3
    taken, cut = seat(fabric, Phase.DRAINING)
    assert taken is not None
    assert (fabric.world.seats_taken[WEB].standing, cut) == (Standing.DRAINING, "")
    fabric.world.kill(WEB)
    assert seat(fabric, Phase.DRAINING) == (None, seating.CUT)


def test_a_vm_that_dies_between_two_looks_takes_no_seat_with_it() -> None:
    """It ran when it joined and is off at the step's look: it leaves first, and then goes back to starting."""
    fabric = deployed()
    machine, front = fabric.host.machine, fabric.host.front
    ready = dataclasses.replace(fabric.instance(), phase=Phase.READY)
    taken, _ = seating.seat(ready, machine, front)
    assert taken is not None
    fabric.world.kill(WEB)
    assert isinstance(phases.join_pool(ready, machine, taken), Wait)
    taken, _ = seating.seat(ready, machine, front)
    outcome = phases.join_pool(ready, machine, taken)
    assert isinstance(outcome, Done)
    assert (outcome.then, WEB in fabric.world.seats_taken) == (Phase.STARTING, False)


def test_the_ledger_tells_what_was_cut() -> None:
    """A restart whose connections did not end in time says so where it leaves the rotation."""
    fabric = deployed()
    fabric.world.connections[WEB] = 3
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    assert f"draining -> restarting: {seating.CUT}" in [one.message for one in fabric.store.events(subject=WEB)]


def restored(fabric: Fabric) -> Instance:
    """An instance that has been restored once more, and is about to join its pools."""
    one = fabric.instance()
    kept = checkpoint(generation=one.generation - 1, boot=one.boot, boot_id=one.boot_id)
    return dataclasses.replace(one, checkpoint=kept, layered=one.generation, phase=Phase.READY)


def test_one_that_is_restored_need_not_wait_for_its_balancer() -> None:
    """Its own answer to the host is as good; not one that fails, and not a balancer's word against it."""
    fabric = deployed()
    one, machine = restored(fabric), fabric.host.machine
    assert one.checkpoint is not None
    unasked = Seat(address="", standing=Standing.UP, connections=0, pools=(), checked=False)
    assert seating.is_well(one, unasked, machine)
    assert isinstance(phases.join_pool(one, machine, unasked), Done)
    booted = dataclasses.replace(one, boot_id="another boot")
    assert not seating.is_well(booted, unasked, machine)
    assert seating.is_well(booted, dataclasses.replace(unasked, checked=True), machine)
    assert not seating.is_well(one, dataclasses.replace(unasked, standing=Standing.DOWN), machine)
    assert not seating.is_well(one, None, machine)
    fabric.world.faults.check_fails.add(WEB)
    assert not seating.is_well(one, unasked, machine)
    assert isinstance(phases.join_pool(one, machine, unasked), Wait)
