"""Lives with warm reimages and drives: never a memory that knows of one, nor a member of a pool without those of its
role, nor two that have one. The fake world asserts all three.
"""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.control.attaching import Attaching
from orchestrator.model import Instance, InstanceName, Road, Silence, Verb
from tests.trouble.warm_lives import NAME, ROLE, WARM, WITH_DRIVES, Life, drives_of
from tests.world.fabric import Fabric

OTHER = InstanceName("web-1.shop")


def attaching_of(fabric: Fabric) -> Attaching:
    """As a daemon has it that has just been started, and does not wait."""
    return Attaching(fabric.present, drives_of(fabric), fabric.host.machine, fabric.control.instance, patience=0.0)


def reimaged(fabric: Fabric, name: InstanceName = NAME) -> Instance:
    """Once more."""
    fabric.act(Verb.REIMAGE, name)
    fabric.until(fabric.quiet)
    return fabric.instance(name)


def test_drives_are_taken_before_memory_is_saved_and_given_back_after_each_restore() -> None:
    """As local storage is."""
    fabric = Fabric()
    WITH_DRIVES.lived(fabric)
    verbs = fabric.trouble.verbs
    assert [verbs.count(verb) for verb in ("save", "restore", "plug_disks", "take_back")] == [1, 2, 2, 2]
    moved = [verb for verb in verbs if verb in ("put_aside", "unplug_disks", "save")]
    assert moved == ["put_aside", *["put_aside", "unplug_disks"] * 2, "save"]
    assert verbs.index("take_back") > verbs.index("plug_disks") > verbs.index("restore")
    assert "ask_shutdown" in verbs, "what it had yet to write to its drives is written"
    WITH_DRIVES.gone(fabric)


@pytest.mark.parametrize("fault", ["uses_storage", "keeps_drives", "takes_no_drive", "storage_unmountable"])
def test_who_cannot_do_without_its_drives_is_booted(fault: str) -> None:
    """In use, not let go of, not taken back, not mounted: its disk alone is kept, and its drives are with it."""
    fabric = Fabric()
    getattr(fabric.world.faults, fault).add(NAME)
    WITH_DRIVES.begun(fabric)
    for generation in (1, 2):
        reached = fabric.instance()
        assert (reached.generation, reached.boot, reached.no_checkpoint, reached.strikes) == (generation, 3, "", 0)
        assert reached.checkpoint is not None
        assert (reached.checkpoint.memory, bool(reached.checkpoint.no_memory)) == (None, True)
        assert not fabric.world.memories
        assert fabric.world.machines[NAME].drives.keys() == {"orders-0", "more"}
        reimaged(fabric)
    WITH_DRIVES.gone(fabric)


def test_a_drive_that_has_grown_is_given_back_as_large_as_it_is() -> None:
    """Also while no VM has it."""
    fabric = Fabric()
    WITH_DRIVES.begun(fabric)
    drives_of(fabric).grow("orders-0", 128)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: fabric.trouble.verbs[-1] == "restore" or "restore" in fabric.trouble.verbs[-4:])
    drives_of(fabric).grow("more", 256)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("warm")
    assert fabric.world.machines[NAME].drives == {"orders-0": 128, "more": 256}
    WITH_DRIVES.gone(fabric)


def test_a_drive_whose_file_is_gone_fails_its_instance_with_a_sentence() -> None:
    """Nothing is made in its place, on whatever road; with its file it goes on."""
    fabric = Fabric()
    WITH_DRIVES.begun(fabric)
    lost = fabric.world.drives.pop("more")
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: fabric.instance().has_failed)
    assert "drive more is not there" in fabric.instance().failure
    fabric.world.drives["more"] = lost
    fabric.control.act(Verb.REIMAGE, NAME, cold=True)
    fabric.until(fabric.quiet)
    assert reimaged(fabric).road.startswith("warm")
    WITH_DRIVES.gone(fabric)


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_what_comes_or_goes_by_hand_makes_one_reimage_cold(road: Road) -> None:
    """What a checkpoint was taken with is what it goes on with; then it is taken anew. What is not to be mounted is
    not.
    """
    life, fabric = Life(role=dataclasses.replace(ROLE, reimage=road)), Fabric()
    life.begun(fabric)
    for drive in ("mounted", "bare"):
        drives_of(fabric).create(drive, 64)
        attaching_of(fabric).attach(drive, NAME, mounted=drive == "mounted")
    for had in ({"mounted", "bare"}, {"bare"}):
        cold, kept = reimaged(fabric), reimaged(fabric)
        assert cold.road == "cold: drives came or went by hand since its checkpoint"
        assert kept.road.startswith(road)
        machine = fabric.world.machines[NAME]
        assert (machine.drives.keys(), machine.mounted) == (had, had - {"bare"})
        if "mounted" in had:
            attaching_of(fabric).detach("mounted")
    life.gone(fabric)
    assert not fabric.world.torn_out


def test_a_drive_that_was_another_in_the_meantime_is_what_it_is_by_now() -> None:
    """Detached, made what a snapshot has kept, and attached again: no memory knows what it was."""
    fabric = Fabric()
    WARM.begun(fabric)
    drives_of(fabric).create("orders", 64)
    fabric.world.drives["orders"].written = "monday"
    drives_of(fabric).snapshot("orders", "monday")
    attaching_of(fabric).attach("orders", NAME, mounted=True)
    reimaged(fabric)
    fabric.world.drives["orders"].written = "tuesday"
    attaching_of(fabric).detach("orders")
    drives_of(fabric).restore("orders", "monday")
    attaching_of(fabric).attach("orders", NAME, mounted=True)
    assert reimaged(fabric).road.startswith("warm")
    assert (fabric.world.drives["orders"].written, fabric.world.machines[NAME].mounted) == ("monday", {"orders"})
    WARM.gone(fabric)


def test_who_has_got_the_drive_in_the_meantime_keeps_it() -> None:
    """It is given back to nobody whose it is no more."""
    life, fabric = Life(role=dataclasses.replace(ROLE, instances=2)), Fabric()
    life.begun(fabric)
    drives_of(fabric).create("orders", 64)
    attaching_of(fabric).attach("orders", NAME, mounted=True)
    reimaged(fabric)
    attaching_of(fabric).detach("orders")
    attaching_of(fabric).attach("orders", OTHER, mounted=True)
    assert reimaged(fabric).road.startswith("cold: drives came or went")
    assert (fabric.world.machines[NAME].drives, fabric.world.machines[OTHER].drives) == ({}, {"orders": 64})
    reimaged(fabric, OTHER)
    assert reimaged(fabric, OTHER).road.startswith("warm")
    assert fabric.world.machines[OTHER].mounted == {"orders"}
    life.gone(fabric)


def test_nobody_asks_a_guest_to_mount_what_is_about_to_be_taken_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who attaches a drive and waits for the guest ends as soon as something begins with the instance."""
    fabric, asked = Fabric(), []
    WARM.begun(fabric)
    drives_of(fabric).create("orders", 64)

    def silent(*_: object) -> Silence:
        asked.append("take_up")
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(lambda: not fabric.instance().serving)
        return Silence(reason="it is being asked")

    monkeypatch.setattr(fabric.host.machine.guest, "take_up", silent)
    attaching = Attaching(fabric.present, drives_of(fabric), fabric.host.machine, fabric.control.instance)
    done = attaching.attach("orders", NAME, mounted=True)
    assert ("on its way" in done.told, asked) == (True, ["take_up"])
    fabric.until(fabric.quiet)
    WARM.gone(fabric)
