"""Lives with warm reimages and local storage, and trouble before and after every call that has an effect: one VM, the
right road, and never a memory that knows of storage, nor a member of a pool without it. The fake world asserts both.
"""

from __future__ import annotations

import dataclasses
import functools

import pytest

from orchestrator.model import Instance, LocalStorage, Phase, Power, Road, Verb
from orchestrator.model.world import PausedBy
from tests.trouble.warm_lives import NAME, gone, warm_life
from tests.trouble.warm_lives import ROLE as PLAIN
from tests.world.fabric import Fabric, Trouble, die, hang_up, settled

STORAGE = (LocalStorage(name="cache", size_mib=64), LocalStorage(name="jobs", size_mib=64))
ROLE = dataclasses.replace(PLAIN, local_storage=STORAGE)
BUSY = "/local/cache is busy; by: app (77)"


def life(fabric: Fabric) -> Instance:
    """A warm one, in which storage keeps what is written to it."""
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    fabric.world.storage[NAME]["jobs"] = "kept"
    last = warm_life(fabric, ROLE)
    assert fabric.world.storage[NAME] == {"cache": "", "jobs": "kept"}
    return last


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    life(fabric)
    return tuple(fabric.trouble.verbs)


def test_storage_is_taken_before_memory_is_saved_and_given_back_after_each_restore() -> None:
    """The guest is told before, and told again once it is gone; what is restored has it before it is looked at."""
    fabric = Fabric()
    last = life(fabric)
    assert (last.generation, last.boot, last.from_checkpoint) == (2, 3, True)
    verbs = fabric.trouble.verbs
    assert [verbs.count(verb) for verb in ("save", "restore", "plug_storage", "take_back")] == [1, 2, 2, 2]
    moved = [verb for verb in verbs if verb in ("put_aside", "unplug_storage", "save")]
    assert moved == ["put_aside", *["put_aside", "unplug_storage"] * 2, "save"]
    assert verbs.index("take_back") > verbs.index("plug_storage") > verbs.index("restore")
    gone(fabric)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """kill -9 before or after any effect: the same end by the same road."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after, die))
        life(fabric)
        assert fabric.deaths == 1, f"call {at} ({effects()[at - 1]}) was not struck"
        assert fabric.instance().from_checkpoint, f"call {at} ({effects()[at - 1]}) cost the checkpoint"
        gone(fabric)


@pytest.mark.parametrize("after", [False, True], ids=["before", "answer-lost"])
def test_the_peer_hangs_up_at_every_call(after: bool) -> None:
    """A libvirtd that is gone before the effect, or takes effect and never answers."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after, hang_up))
        life(fabric)
        assert fabric.instance().from_checkpoint, f"call {at} ({effects()[at - 1]}) cost the checkpoint"
        gone(fabric)


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.REBUILD, Verb.STOP], ids=str)
def test_the_operator_wishes_more_at_every_call(verb: Verb) -> None:
    """A further wish at any moment is fulfilled as well; what was stopped is started again in the end."""
    met = set[Phase]()
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def wish_more(fabric: Fabric = fabric) -> None:
            met.update(one.phase for one in fabric.instances())
            fabric.act(verb, NAME)

        fabric.trouble.strike = wish_more
        fabric.deploy(ROLE)
        fabric.until(fabric.quiet)
        for wish in (Verb.REIMAGE, Verb.START):
            fabric.act(wish, NAME)
            fabric.until(fabric.quiet)
        assert settled(fabric.instance())
        fabric.trouble.strike = lambda: None
        gone(fabric)
    assert met >= {Phase.SAVING, Phase.RESTORING}


def test_the_vm_is_killed_at_every_call() -> None:
    """kill -9 of QEMU: the instance serves in the end, with its storage, by whatever road."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def kill(fabric: Fabric = fabric) -> None:
            if NAME in fabric.world.machines:
                fabric.world.kill(NAME)

        fabric.trouble.strike = kill
        fabric.deploy(ROLE)
        fabric.until(fabric.quiet)
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        gone(fabric)


@pytest.mark.parametrize("by", [PausedBy.USER, PausedBy.DISK], ids=str)
def test_the_vm_is_paused_at_every_call(by: PausedBy) -> None:
    """By a human, who lets it go on after a while, or for want of room, which there is then."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def pause(fabric: Fabric = fabric) -> None:
            if NAME in fabric.world.machines and fabric.world.machines[NAME].power is Power.RUNNING:
                fabric.world.pause(NAME, by)

        fabric.trouble.strike = pause
        fabric.deploy(ROLE)
        fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
        for _ in range(100):
            fabric.round()
        if NAME in fabric.world.machines and fabric.world.machines[NAME].paused_by is PausedBy.USER:
            fabric.world.resume(NAME)
        fabric.until(fabric.quiet)
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        gone(fabric)


def test_a_removal_at_every_call_leaves_nothing() -> None:
    """Whatever was under way."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.trouble.strike = fabric.remove
        fabric.deploy(ROLE)
        fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
        fabric.act(Verb.REIMAGE, NAME)
        gone(fabric)


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
    gone(fabric)


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
    gone(fabric)


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
    gone(fabric)


def test_what_is_protected_while_its_storage_is_away_gets_it_back() -> None:
    """Its VM is not ended for that; where it cannot be given back, that waits until it is protected no more."""
    fabric = Fabric(Trouble(effects().index("unplug_storage") + 1, after=True))
    fabric.trouble.strike = lambda: fabric.control.protect(NAME, on=True)
    fabric.world.faults.takes_no_drive.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(lambda: bool(fabric.instances()) and "was taken from it" in fabric.instance().waiting)
    assert (fabric.instance().phase, fabric.world.machines[NAME].power) == (Phase.SAVING, Power.RUNNING)
    fabric.world.faults.takes_no_drive.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().no_checkpoint, fabric.instance().boot) == ("it is protected", 2)
    fabric.control.protect(NAME, on=False)
    gone(fabric)


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
    gone(fabric)


def test_what_is_let_go_of_late_is_given_back_then() -> None:
    """To who is protected: its VM is not ended, and does not serve with what it is about to lose."""
    fabric = Fabric(Trouble(effects().index("unplug_storage") + 1, after=True))
    fabric.trouble.strike = lambda: fabric.control.protect(NAME, on=True)
    fabric.world.faults.keeps_drives.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(lambda: bool(fabric.instances()) and "was taken from it" in fabric.instance().waiting)
    assert (fabric.instance().phase, fabric.world.machines[NAME].power) == (Phase.SAVING, Power.RUNNING)
    fabric.world.faults.keeps_drives.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().no_checkpoint, fabric.instance().boot) == ("it is protected", 2)
    restarted(fabric)
    gone(fabric)


def test_a_guest_that_has_yet_to_put_it_aside_is_waited_for() -> None:
    """Protected meanwhile, it is told to mount it once it has unmounted it: before, that would be for nothing."""
    fabric = Fabric(Trouble(effects().index("put_aside") + 1, after=True))
    fabric.trouble.strike = lambda: fabric.control.protect(NAME, on=True)
    fabric.world.faults.slow_to_put_aside.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert (fabric.instance().no_checkpoint, fabric.instance().boot) == ("it is protected", 2)
    fabric.world.pass_time(60.0)
    assert fabric.world.machines[NAME].storage_mounted == {"cache", "jobs"}
    restarted(fabric)
    gone(fabric)


@pytest.mark.parametrize("protected", [False, True], ids=["deaf", "protected"])
@pytest.mark.parametrize("road", [Road.PREPARED, Road.COLD], ids=str)
def test_who_is_to_be_colder_while_its_storage_is_away_gets_it_back(road: Road, protected: bool) -> None:
    """What was taken for the goal of before is given back, whatever the goal is by then."""
    fabric = Fabric(Trouble(effects().index("unplug_storage") + 1, after=True))
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
    gone(fabric)


def test_a_role_that_has_no_storage_meets_none_of_it() -> None:
    """Nor does one that is cold, or prepared."""
    for role in (
        PLAIN,
        dataclasses.replace(ROLE, reimage=Road.PREPARED),
        dataclasses.replace(ROLE, reimage=Road.COLD),
    ):
        fabric = Fabric()
        warm_life(fabric, role)
        assert {"put_aside", "unplug_storage", "plug_storage", "take_back"}.isdisjoint(fabric.trouble.verbs)
        gone(fabric)
