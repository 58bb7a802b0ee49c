"""Lives whose reimages boot from a checkpoint: one VM, the right road, no setup but the first, and never a disk
without what its guest has written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.drivers.fake.world import FakeMachine
from orchestrator.model import Os, Phase, Power, Road, Verb
from tests.trouble.warm_lives import NAME, PREPARED, Life
from tests.world.fabric import Fabric, Trouble, die


def test_it_goes_by_the_prepared_road() -> None:
    """Two reimages, one setup, no memory: a boot each, counted as the one after its checkpoint's."""
    fabric = Fabric()
    restarted = PREPARED.lived(fabric)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)

    last = fabric.instance()
    assert (restarted.generation, restarted.boot) == (2, 4)
    assert (last.generation, last.boot, last.from_checkpoint) == (3, 3, True)
    assert last.checkpoint is not None
    assert (last.checkpoint.generation, last.checkpoint.memory, last.checkpoint.no_memory) == (1, None, "")
    verbs = fabric.trouble.verbs
    counted = [verbs.count(verb) for verb in ("save", "keep_checkpoint", "restore", "lay_overlay", "renew_overlay")]
    assert counted == [0, 1, 0, 1, 3]
    told = [event.message for event in fabric.control.events(NAME, 0, 200)]
    assert told.count("requested -> restoring: prepared, a boot from its checkpoint") == 2
    assert sum(message.startswith("answered -> setup") for message in told) == 1
    assert "the next reimage is prepared, a boot from its checkpoint." in "\n".join(fabric.control.why(NAME))
    PREPARED.gone(fabric)


def test_a_guest_that_does_not_shut_down_is_not_kept() -> None:
    """It serves all the same, says why, and is not asked again."""
    fabric = Fabric()
    fabric.world.faults.deaf_to_requests.add(NAME)
    PREPARED.deployed(fabric)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.checkpoint, reached.strikes) == (1, 2, None, 0)
    assert reached.no_checkpoint == "it did not shut down within 120 s (stop.within)"
    assert fabric.trouble.verbs.count("ask_shutdown") == 1
    fabric.world.faults.deaf_to_requests.clear()
    PREPARED.gone(fabric)


def struck(verb: str, strike: Callable[[FakeMachine], None], *, after: bool) -> Fabric:
    """Deployed and at rest; before or after that call its VM was struck."""
    fabric = Fabric(Trouble(PREPARED.untroubled().index(verb) + 1, after=after))
    fabric.trouble.strike = lambda: strike(fabric.world.machines[NAME])
    PREPARED.begun(fabric)
    return fabric


def test_a_guest_that_is_cut_off_as_it_shuts_down_is_not_kept() -> None:
    """Its disk may lack what it had yet to write. It serves, says why, and is kept the next time."""

    def kill(machine: FakeMachine) -> None:
        machine.power, machine.going_down_at_s, machine.shut_down = Power.OFF, None, False

    fabric = struck("ask_shutdown", kill, after=True)
    reached = fabric.instance()
    assert (reached.generation, reached.checkpoint, reached.strikes) == (1, None, 0)
    assert reached.no_checkpoint.startswith("its VM was cut off as its guest shut down")
    assert reached.no_checkpoint in "\n".join(fabric.control.why(NAME))
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road == f"cold: it has no checkpoint: {reached.no_checkpoint}"
    assert fabric.instance().checkpoint is not None
    PREPARED.gone(fabric)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_libvirt_forgets_is_known_already(after: bool) -> None:
    """A libvirtd that starts again tells of nobody how he has ended: who was seen to shut down is kept, for his
    disk may be a layer by then.
    """

    def forget(machine: FakeMachine) -> None:
        machine.shut_down = False
        die()

    fabric = struck("keep_checkpoint", forget, after=after)
    assert (fabric.deaths, fabric.instance().from_checkpoint) == (1, True)
    PREPARED.gone(fabric)


def test_who_is_started_as_he_has_shut_down_is_asked_once_more() -> None:
    """Then he has more to write."""

    def start(machine: FakeMachine) -> None:
        machine.start_boot(machine.booted_at_s + 60.0)
        die()

    fabric = struck("keep_checkpoint", start, after=False)
    assert fabric.trouble.verbs.count("ask_shutdown") == 2
    assert fabric.instance().from_checkpoint
    PREPARED.gone(fabric)


def test_a_vm_that_somebody_else_has_started_boots_once_more() -> None:
    """virsh start before our own: it boots from whatever disk it was described with, and nothing of that serves."""
    fabric = Fabric()
    PREPARED.deployed(fabric)
    fabric.until(lambda: bool(fabric.instances()) and fabric.instance().phase is Phase.RESTORING)
    machine = fabric.world.machines[NAME]
    machine.power, machine.system_marker = Power.RUNNING, "of another disk"
    machine.start_boot(fabric.world.time_s)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, 3)
    assert fabric.world.machines[NAME].system_marker == ""
    PREPARED.gone(fabric)


def test_a_damaged_disk_starts_no_guest() -> None:
    """It is made of the image, says so, and is kept anew."""
    fabric = Fabric()
    PREPARED.deployed(fabric)
    fabric.until(fabric.quiet)
    fabric.world.faults.layer_damaged.add(NAME)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: not fabric.instance().from_checkpoint and fabric.instance().set_up)
    fabric.world.faults.layer_damaged.clear()
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot) == (2, 3)
    assert reached.checkpoint is not None
    assert reached.checkpoint.generation == 2
    told = [event.message for event in fabric.control.events(NAME, 0, 100)]
    assert "restoring -> layered: cold: the layer of its checkpoint is damaged" in told
    PREPARED.gone(fabric)


def test_another_boot_of_the_host_takes_nothing_from_it() -> None:
    """What was saved of no memory depends on none."""
    fabric = Fabric()
    PREPARED.deployed(fabric)
    fabric.until(fabric.quiet)
    fabric.world.restart_host()
    fabric.restart()
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot) == (2, 3)
    assert reached.checkpoint is not None
    assert reached.checkpoint.generation == 1
    PREPARED.gone(fabric)


def test_a_windows_takes_it_where_its_role_says_warm() -> None:
    """With local storage its memory is not kept, which is told; its guest knows the generation of its setup."""
    role = replace(PREPARED.role, os=Os.WINDOWS, drives=(), reimage=Road.WARM)
    assert role.local_storage
    life, fabric = Life(role=role), Fabric()
    life.lived(fabric)
    reached = fabric.instance()
    assert (reached.generation, reached.setup_generation, reached.strikes) == (2, 1, 0)
    told = "prepared, a boot from its checkpoint: a Windows does not let go of its local storage and drives"
    assert reached.road == told
    assert not fabric.world.memories
    life.gone(fabric)
