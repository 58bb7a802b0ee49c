"""Lives with warm reimages and local storage: never a memory that knows of storage, nor a member of a pool without
it. The fake world asserts both.
"""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.model import Phase, Power, Road, Verb
from tests.trouble.warm_lives import NAME, WARM, WITH_STORAGE, Life
from tests.world.fabric import Fabric, Trouble

ROLE = WITH_STORAGE.role
BUSY = "/local/cache is busy; by: app (77)"


def test_storage_is_taken_before_memory_is_saved_and_given_back_after_each_restore() -> None:
    """The guest is told before, and told again once it is gone; what is restored has it before it is looked at."""
    fabric = Fabric()
    last = WITH_STORAGE.lived(fabric)
    assert (last.generation, last.boot, last.from_checkpoint) == (2, 3, True)
    verbs = fabric.trouble.verbs
    assert [verbs.count(verb) for verb in ("save", "restore", "plug_disks", "take_back")] == [1, 2, 2, 2]
    moved = [verb for verb in verbs if verb in ("put_aside", "unplug_disks", "save")]
    assert moved == ["put_aside", *["put_aside", "unplug_disks"] * 2, "save"]
    assert verbs.index("take_back") > verbs.index("plug_disks") > verbs.index("restore")
    WITH_STORAGE.gone(fabric)


@pytest.mark.parametrize("fault", ["uses_storage", "keeps_drives", "takes_no_drive", "storage_unmountable"])
def test_who_cannot_do_without_it_is_booted(fault: str) -> None:
    """In use, not let go of, not taken back, not mounted: its disk alone is kept, which is told, and nobody asks
    again.
    """
    fabric = Fabric()
    getattr(fabric.world.faults, fault).add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    asked = fabric.trouble.verbs.count("put_aside")
    for generation in (1, 2):
        reached = fabric.instance()
        assert (reached.generation, reached.boot, reached.no_checkpoint, reached.strikes) == (generation, 3, "", 0)
        assert reached.checkpoint is not None
        assert (reached.checkpoint.generation, reached.checkpoint.memory) == (1, None)
        assert reached.no_memory in "\n".join(fabric.control.why(NAME))
        assert (reached.no_memory == BUSY) is (fault == "uses_storage")
        assert not fabric.world.memories
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
    assert fabric.trouble.verbs.count("put_aside") == asked
    WITH_STORAGE.gone(fabric)


@pytest.mark.parametrize("fault", ["takes_no_drive", "storage_unmountable"])
def test_what_is_restored_and_does_not_get_it_back_is_booted(fault: str) -> None:
    """Within the same generation, from the same disk: its storage is mounted as at any boot. What it has written
    to it by then is on it.
    """
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    getattr(fabric.world.faults, fault).add(NAME)
    before = len(fabric.trouble.verbs)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    ended = [verb for verb in fabric.trouble.verbs[before:] if verb in ("restore", "write_out", "power_off")]
    assert ended[ended.index("restore") :] == ["restore", "write_out", "power_off"]
    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.from_checkpoint, reached.strikes) == (2, 3, True, 0)
    assert not fabric.world.memories
    WITH_STORAGE.gone(fabric)


@pytest.mark.parametrize("fault", [None, "takes_no_drive", "storage_unmountable"])
def test_who_is_not_kept_after_all_gets_it_back(fault: str | None) -> None:
    """It was taken, and then its guest does not even shut down: it serves with it, where it is or after a boot."""
    fabric = Fabric()
    faults = fabric.world.faults
    faults.not_saved.add(NAME)
    faults.deaf_to_requests.add(NAME)
    if fault:
        getattr(faults, fault).add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.strikes) == (1, 3 if fault else 2, 0)
    assert reached.no_checkpoint == "it did not shut down within 120 s (stop.within)"
    assert fabric.world.machines[NAME].storage_mounted == {"cache", "jobs"}
    faults.deaf_to_requests.clear()
    WITH_STORAGE.gone(fabric)


def protected_after(verb: str, fault: str) -> Fabric:
    """Deployed with that fault, and protected as soon as it was asked for that."""
    fabric = Fabric(Trouble(WITH_STORAGE.untroubled().index(verb) + 1, after=True))
    fabric.trouble.strike = lambda: fabric.control.protect(NAME, on=True)
    getattr(fabric.world.faults, fault).add(NAME)
    fabric.deploy(ROLE)
    return fabric


def serves_protected(fabric: Fabric) -> None:
    """In the boot in which it was protected, and nothing was kept of it."""
    fabric.until(fabric.quiet)
    assert (fabric.instance().no_checkpoint, fabric.instance().boot) == ("it is protected", 2)


@pytest.mark.parametrize("fault", ["takes_no_drive", "keeps_drives"])
def test_what_is_protected_while_its_storage_is_away_gets_it_back(fault: str) -> None:
    """Its VM is not ended for that, and does not serve with what it is about to lose; where that cannot be given
    back, or has yet to be let go of, it waits.
    """
    fabric = protected_after("unplug_disks", fault)
    fabric.until(lambda: bool(fabric.instances()) and "were taken from it" in fabric.instance().waiting)
    assert (fabric.instance().phase, fabric.world.machines[NAME].power) == (Phase.SAVING, Power.RUNNING)
    getattr(fabric.world.faults, fault).clear()
    serves_protected(fabric)
    restarted(fabric)
    WITH_STORAGE.gone(fabric)


def restarted(fabric: Fabric) -> None:
    """By its operator, within the same QEMU; it has its storage then as before."""
    fabric.world.faults.deaf_to_requests.clear()
    fabric.world.faults.keeps_drives.clear()
    fabric.control.protect(NAME, on=False)
    fabric.act(Verb.RESTART, NAME)
    fabric.until(fabric.quiet)
    assert fabric.world.machines[NAME].storage_mounted == {"cache", "jobs"}


def test_what_is_to_be_let_go_of_and_never_is_is_not_served_with() -> None:
    """Its VM has it until its guest answers or starts again, and loses it then: it is booted before it serves."""
    fabric = Fabric()
    fabric.world.faults.keeps_drives.add(NAME)
    fabric.world.faults.deaf_to_requests.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.strikes) == (1, 3, 0)
    assert reached.no_checkpoint == "it did not shut down within 120 s (stop.within)"
    restarted(fabric)
    WITH_STORAGE.gone(fabric)


def test_a_guest_that_has_yet_to_put_it_aside_is_waited_for() -> None:
    """Protected meanwhile, it is told to mount it once it has unmounted it: before, that would be for nothing."""
    fabric = protected_after("put_aside", "slow_to_put_aside")
    serves_protected(fabric)
    fabric.world.pass_time(60.0)
    assert fabric.world.machines[NAME].storage_mounted == {"cache", "jobs"}
    restarted(fabric)
    WITH_STORAGE.gone(fabric)


@pytest.mark.parametrize("protected", [False, True], ids=["deaf", "protected"])
@pytest.mark.parametrize("road", [Road.PREPARED, Road.COLD], ids=str)
def test_who_is_to_be_colder_while_its_storage_is_away_gets_it_back(road: Road, protected: bool) -> None:
    """What was taken for the goal of before is given back, whatever the goal is by then."""
    fabric = Fabric(Trouble(WITH_STORAGE.untroubled().index("unplug_disks") + 1, after=True))
    fabric.world.faults.deaf_to_requests.add(NAME)

    def strike() -> None:
        fabric.deploy(dataclasses.replace(ROLE, reimage=road))
        if protected:
            fabric.control.protect(NAME, on=True)

    fabric.trouble.strike = strike
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert fabric.instance().no_checkpoint
    assert fabric.world.machines[NAME].storage_mounted == {"cache", "jobs"}
    fabric.world.faults.deaf_to_requests.clear()
    fabric.control.protect(NAME, on=False)
    WITH_STORAGE.gone(fabric)


def test_a_role_that_has_no_storage_meets_none_of_it() -> None:
    """Nor does one that is cold, or prepared."""
    for role in (
        WARM.role,
        dataclasses.replace(ROLE, reimage=Road.PREPARED),
        dataclasses.replace(ROLE, reimage=Road.COLD),
    ):
        fabric = Fabric()
        Life(role=role).lived(fabric)
        assert {"put_aside", "unplug_disks", "plug_disks", "take_back"}.isdisjoint(fabric.trouble.verbs)
        WITH_STORAGE.gone(fabric)
