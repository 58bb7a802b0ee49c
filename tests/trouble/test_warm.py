"""Lives with warm reimages: one VM, the right road, and never a memory over a disk that it does not know. The fake
world asserts the latter inside.
"""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.control import verify
from orchestrator.control.keeping import AT_ONCE
from orchestrator.errors import NotFound
from orchestrator.model import (
    Firmware,
    Hardware,
    Instance,
    Os,
    PausedBy,
    Phase,
    Power,
    Road,
    Service,
    Stop,
    Verb,
)
from tests.trouble.warm_lives import NAME, ROLE, WARM, Life
from tests.world.fabric import Fabric, Trouble, die, web_role


def test_it_goes_by_the_warm_road() -> None:
    """Two reimages, one setup: and its end takes all with it."""
    fabric = Fabric()
    restarted = WARM.lived(fabric)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)

    last = fabric.instance()
    assert (restarted.boot, last.boot) == (3, 2), "it is in the boot of its checkpoint again"

    assert (last.generation, last.from_checkpoint) == (3, True)
    assert last.checkpoint is not None
    assert last.checkpoint.generation == 1
    verbs = fabric.trouble.verbs
    assert [verbs.count(verb) for verb in ("save", "keep_checkpoint", "restore", "lay_overlay")] == [1, 1, 3, 1]
    assert "ask_shutdown" not in verbs, "a shutdown was waited for, of which nothing is kept"
    WARM.gone(fabric)


def of_windows(life: Life) -> Life:
    """The same of a Windows, which has no local storage and no drive."""
    return Life(role=dataclasses.replace(life.role, os=Os.WINDOWS, local_storage=(), drives=()))


def test_a_windows_goes_by_it() -> None:
    """Restored as a Linux is; one that cannot be made to write is shut down, and booted from then on."""
    life, fabric = of_windows(WARM), Fabric()
    life.lived(fabric)
    assert (fabric.instance().generation, fabric.instance().road) == (2, "warm, from its checkpoint")
    assert "ask_shutdown" not in fabric.trouble.verbs
    life.gone(fabric)

    fabric = Fabric()
    fabric.world.faults.unwritten.add(NAME)
    life.lived(fabric)
    assert fabric.instance().no_memory == "its agent runs no commands"
    assert fabric.instance().road.startswith("prepared, a boot from its checkpoint: ")
    assert not fabric.world.memories
    life.gone(fabric)


def found_by_verify(fabric: Fabric) -> list[str]:
    """What it tells of."""
    found = verify.findings(fabric.host, fabric.present.all(Service), fabric.present.all(Instance))
    return [one.message for one in found]


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_what_firmware_and_tpm_remember_belongs_to_the_checkpoint(road: Road) -> None:
    """It is kept with it and missed by nobody; without it the same generation is made of the image."""
    fabric = Fabric()
    secured = Hardware(firmware=Firmware.UEFI, tpm=True)
    life = Life(role=dataclasses.replace(ROLE, hardware=secured, reimage=road))
    kept = life.lived(fabric)
    assert kept.checkpoint is not None
    assert kept.checkpoint.board is not None
    assert fabric.world.boards == {NAME: 1}
    assert found_by_verify(fabric) == []

    fabric.world.boards.clear()
    (missed,) = found_by_verify(fabric)
    assert missed == "board:1 of its checkpoint is not there: its next reimage begins with the image"
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    told = [event.message for event in fabric.control.events(NAME, 0, 200)]
    assert "restoring -> layered: cold: the board of its checkpoint is not there" in told
    assert fabric.world.boards == {NAME: fabric.instance().generation}
    life.gone(fabric)


def test_a_shutdown_that_the_file_gives_time_to_is_waited_for() -> None:
    """`stop.within`: the guest has something to say to others as it goes."""
    fabric = Fabric()
    Life(role=dataclasses.replace(ROLE, stop=Stop(within_s=90.0))).lived(fabric)
    assert "ask_shutdown" in fabric.trouble.verbs
    WARM.gone(fabric)


def test_a_warm_reimage_that_mends_nothing_is_followed_by_a_cold_one() -> None:
    """What makes it ill may be in its checkpoint: healing restarts it, and then begins with the image."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(NAME)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: fabric.instance().generation == 2 and fabric.instance().from_checkpoint)
    fabric.until(lambda: fabric.instance().generation == 3, rounds=2000)
    assert any("starting -> restarting: " in event.message for event in fabric.control.events(NAME, 0, 200))
    fabric.world.faults.services_never_start.clear()
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING, rounds=2000)
    assert not fabric.instance().from_checkpoint
    assert any("cold: it is being healed" in event.message for event in fabric.control.events(NAME, 0, 300))


@pytest.mark.parametrize("fault", ["memory_damaged", "not_restored", "clockless"])
def test_a_memory_that_is_good_for_nothing(fault: str) -> None:
    """The road falls back to a boot of the same disk within the same generation, and says why; a memory is saved
    again with the next generation that is made of the image.
    """
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    getattr(fabric.world.faults, fault).add(NAME)
    fabric.world.machines[NAME].system_marker = "written"

    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    getattr(fabric.world.faults, fault).clear()

    for generation in (2, 3):
        reached = fabric.instance()
        assert (reached.generation, reached.boot, reached.strikes) == (generation, 3, 0)
        assert fabric.world.machines[NAME].system_marker == ""
        assert reached.checkpoint is not None
        assert (reached.checkpoint.generation, reached.checkpoint.memory) == (1, None)
        assert not fabric.world.memories, "it has the guest's secrets, and nobody has a use for it"
        assert reached.checkpoint.no_memory in "\n".join(fabric.control.why(NAME))
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
    prepared = [event.message for event in fabric.control.events(NAME, 0, 200) if "prepared" in event.message]
    assert prepared[0].startswith("prepared, a boot from its checkpoint: ")
    assert prepared[1].startswith(
        "requested -> restoring: prepared, a boot from its checkpoint: its checkpoint has no"
    )

    fabric.control.act(Verb.REIMAGE, NAME, cold=True)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert reached.checkpoint is not None
    assert reached.checkpoint.memory is not None
    WARM.gone(fabric)


@pytest.mark.parametrize("fault", ["layer_damaged", "not_started"])
def test_a_disk_that_is_good_for_nothing(fault: str) -> None:
    """Nor is the memory, then: it is made of the image within the same generation, and kept anew."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    getattr(fabric.world.faults, fault).add(NAME)
    fabric.world.faults.memory_damaged.add(NAME)

    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: not fabric.instance().from_checkpoint and fabric.instance().set_up)
    getattr(fabric.world.faults, fault).clear()
    fabric.world.faults.memory_damaged.clear()
    fabric.until(fabric.quiet)

    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.strikes) == (2, 2, 0)
    assert reached.checkpoint is not None
    assert reached.checkpoint.generation == 2
    assert reached.checkpoint.memory is not None
    assert any("restoring -> layered: cold: " in event.message for event in fabric.control.events(NAME, 0, 100))
    WARM.gone(fabric)


@pytest.mark.parametrize("fault", ["not_saved", "not_restored", "unfit", "clockless"])
def test_whose_memory_cannot_be_kept_is_booted(fault: str) -> None:
    """It says why, and is not asked again: not in this generation, and not in those of the same template."""
    fabric = Fabric()
    getattr(fabric.world.faults, fault).add(NAME)

    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    asked = fabric.trouble.verbs.count("save"), fabric.trouble.verbs.count("restore")
    for generation, cold in ((1, True), (2, False), (3, False)):
        reached = fabric.instance()
        assert (reached.generation, reached.boot, reached.no_checkpoint) == (generation, 3, "")
        assert reached.checkpoint is not None
        assert (reached.checkpoint.generation, reached.checkpoint.memory) == (min(generation, 2), None)
        assert reached.no_memory
        assert reached.no_memory in "\n".join(fabric.control.why(NAME))
        assert not fabric.world.memories, "what was saved by half has the guest's secrets"
        assert asked == (fabric.trouble.verbs.count("save"), fabric.trouble.verbs.count("restore"))
        fabric.control.act(Verb.REIMAGE, NAME, cold=cold)
        fabric.until(fabric.quiet)
    WARM.gone(fabric)


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_who_cannot_be_kept_serves_all_the_same(road: Road) -> None:
    """It says why, and is not asked again: its guest writes nothing to its disk when it is told to."""
    fabric = Fabric()
    fabric.world.faults.unwritten.add(NAME)

    fabric.deploy(web_role(instances=1, local_storage=(), reimage=road))
    fabric.until(fabric.quiet)
    for generation in (1, 2):
        reached = fabric.instance()
        assert (reached.generation, reached.boot, reached.checkpoint) == (generation, 2, None)
        assert reached.no_checkpoint == "its agent runs no commands"
        assert reached.no_checkpoint in "\n".join(fabric.control.why(NAME))
        assert not fabric.world.layers
        assert not fabric.world.memories
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
    WARM.gone(fabric)


@pytest.mark.parametrize("trouble", ["full", "protected", "silent"])
@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_a_moments_trouble_is_not_for_ever(road: Road, trouble: str) -> None:
    """No room, protected, a silent agent: it serves without, says why, and is kept the next time."""
    life, fabric = Life(role=dataclasses.replace(ROLE, reimage=road)), Fabric()
    life.deployed(fabric)
    fabric.until(lambda: bool(fabric.instances()) and fabric.instance().phase is Phase.SAVING)
    match trouble:
        case "full":
            fabric.world.faults.disk_is_full = True
        case "protected":
            fabric.control.protect(NAME, on=True)
        case _:
            fabric.world.faults.agent_silent.add(NAME)
    fabric.until(lambda: fabric.instance().phase is not Phase.SAVING)
    fabric.world.faults.disk_is_full = False
    fabric.world.faults.agent_silent.clear()
    fabric.control.protect(NAME, on=False)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.checkpoint, reached.generation, reached.strikes) == (None, 1, 0)
    assert reached.no_checkpoint in "\n".join(fabric.control.why(NAME))
    life.back_on_its_road(fabric)
    life.gone(fabric)


def test_a_saving_that_fails_is_tried_once_more() -> None:
    """Each try costs the host the guest's memory in writing."""
    fabric = Fabric()
    fabric.world.faults.not_saved.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert fabric.trouble.verbs.count("save") == 2
    WARM.gone(fabric)


def test_a_disc_that_stays_in_its_drive_is_no_fault_of_the_instance() -> None:
    """Its memory is not saved with it, and nobody is healed for that."""
    fabric = Fabric()
    fabric.world.faults.holds_disc.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(lambda: bool(fabric.present.all(Instance)) and bool(fabric.instance().no_checkpoint))
    fabric.world.faults.holds_disc.clear()
    fabric.until(fabric.quiet)
    assert "still in the drive" in fabric.instance().no_checkpoint
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)
    WARM.gone(fabric)


def test_a_vm_that_somebody_starts_before_its_layer_is_recorded_does_not_serve() -> None:
    """It boots as it was described before, from the image under an overlay that is not on it."""

    def start_and_die() -> None:
        fabric.world.machines[NAME].power = Power.RUNNING
        fabric.world.machines[NAME].start_boot(fabric.world.time_s)
        die()

    fabric = Fabric(Trouble(WARM.untroubled().index("keep_checkpoint") + 1, after=True, strike=start_and_die))
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert fabric.deaths == 1
    assert fabric.instance().generation == 2
    assert any("somebody has started it since" in event.message for event in fabric.control.events(NAME, 0, 100))
    WARM.gone(fabric)


def restoring() -> Fabric:
    """One that has been restored, and has not been told the time yet."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(lambda: fabric.instance().phase is Phase.RESTORING and NAME in fabric.world.machines)
    return fabric


def test_a_vm_that_somebody_else_has_started_is_not_taken_for_what_was_saved() -> None:
    """virsh start between two turns: it boots from whatever disk it is described with."""
    fabric = restoring()
    fabric.world.machines[NAME].start_boot(fabric.world.time_s)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot) == (2, 3), "it was booted from what was kept"
    assert reached.checkpoint is not None
    assert (reached.checkpoint.generation, reached.checkpoint.memory) == (1, None)
    assert any("what runs is not what was saved" in event.message for event in fabric.control.events(NAME, 0, 100))
    WARM.gone(fabric)


def test_what_is_protected_while_it_is_restored_is_let_be() -> None:
    """Its VM is not ended for the colder road; when it is protected no more, it takes that."""
    fabric = restoring()
    fabric.world.faults.clockless.add(NAME)
    fabric.control.protect(NAME, on=True)
    fabric.until(lambda: "protected" in fabric.instance().waiting)
    assert fabric.instance().phase is Phase.RESTORING
    assert fabric.world.machines[NAME].power is Power.RUNNING
    fabric.control.protect(NAME, on=False)
    fabric.world.faults.clockless.clear()
    fabric.until(fabric.quiet)
    WARM.gone(fabric)


def test_an_older_version_makes_generations_of_the_image() -> None:
    """It counts on and keeps the words that it does not know: what is not restored is not taken for it."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    warm = fabric.instance()
    assert warm.from_checkpoint
    after = dataclasses.replace(warm, generation=warm.generation + 1)
    assert not after.from_checkpoint
    assert after.vm_uuid != warm.vm_uuid


def test_what_keeps_a_reimage_cold() -> None:
    """It was asked for, a rebuild, another template, age: and what was written is gone. After another boot of the
    host a memory fits no more, and its disk is booted until there is another checkpoint.
    """
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)

    def cold(generation: int) -> None:
        fabric.until(fabric.quiet)
        reached = fabric.instance()
        assert reached.checkpoint is not None
        assert (reached.generation, reached.checkpoint.generation) == (generation, generation)
        assert fabric.world.machines[NAME].system_marker == ""
        fabric.world.machines[NAME].system_marker = "written"

    fabric.control.act(Verb.REIMAGE, NAME, cold=True)
    cold(2)
    fabric.act(Verb.REBUILD, NAME)
    cold(3)
    fabric.deploy(web_role(instances=1, local_storage=(), reimage=Road.WARM, user_data="#!another"))
    cold(4)
    fabric.world.restart_host()
    fabric.restart()
    fabric.until(fabric.quiet)
    for generation in (5, 6):
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        booted = fabric.instance()
        assert (booted.generation, booted.boot) == (generation, 3)
        assert booted.checkpoint is not None
        assert (booted.checkpoint.generation, booted.checkpoint.memory) == (4, None)
        assert "the host has started again since its checkpoint" in "\n".join(fabric.control.why(NAME))
        assert fabric.world.machines[NAME].system_marker == ""
    fabric.world.pass_time(8 * 24 * 3600.0)
    fabric.act(Verb.REIMAGE, NAME)
    cold(7)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().from_checkpoint, "with nothing against it"
    WARM.gone(fabric)


def test_a_role_that_is_cold_again_gives_its_checkpoint_up() -> None:
    """With the next reimage: until then the disk of the instance lies on it."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    fabric.deploy(web_role(instances=1, local_storage=()))
    fabric.until(fabric.quiet)
    assert fabric.instance().checkpoint is not None
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert (fabric.instance().checkpoint, fabric.instance().from_checkpoint) == (None, False)
    assert not fabric.world.layers
    assert not fabric.world.memories
    WARM.gone(fabric)


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_not_all_are_kept_at_once(road: Road) -> None:
    """The others wait for that, with a reason and no blame, and are kept as well. Who is paused holds up nobody."""
    fabric, most, told = Fabric(), 0, ""
    fabric.deploy(web_role(instances=7, local_storage=(), reimage=road))
    for _ in range(400):
        fabric.round(0.05)
        savers = [one for one in fabric.instances() if one.phase is Phase.SAVING]
        most = max(most, len(savers))
        told = told or next((one.waiting for one in fabric.instances() if "after those" in one.waiting), "")
        if savers and told and not fabric.world.machines[savers[0].name].paused_by:
            break
    fabric.world.pause(savers[0].name, PausedBy.USER)
    fabric.until(lambda: sum(one.checkpoint is not None and one.serving for one in fabric.instances()) >= 6)
    assert most == AT_ONCE
    assert told == f"its checkpoint is taken after those of others: {AT_ONCE} are being taken"
    fabric.world.resume(savers[0].name)
    fabric.until(fabric.quiet)
    assert all(one.strikes == 0 for one in fabric.instances())
    WARM.gone(fabric)


def test_two_instances_never_share_what_they_are() -> None:
    """Each is restored from its own checkpoint."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2, local_storage=(), reimage=Road.WARM))
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, "shop")
    fabric.until(fabric.quiet)
    uuids = {one.vm_uuid for one in fabric.instances()}
    boots = {fabric.world.machines[one.name].boot_id for one in fabric.instances()}
    assert len(uuids) == len(boots) == 2
    WARM.gone(fabric)


def test_nobody_else_is_kept() -> None:
    """A role that says nothing of it never meets a call of these roads but the erasing."""
    fabric = Fabric()
    fabric.deploy()
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, "shop")
    fabric.until(fabric.quiet)
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    roads = {"save", "restore", "prepare_checkpoint", "keep_checkpoint", "renew_overlay", "awaken", "write_out"}
    assert roads.isdisjoint(fabric.trouble.verbs)
    with pytest.raises(NotFound):
        fabric.control.why(NAME)
