"""Lives whose reimages boot from a checkpoint, and trouble before and after every call that has an effect: one VM,
the right road, no setup but the first, and never a disk without what its guest has written.
"""

from __future__ import annotations

import functools

import pytest

from orchestrator.model import Instance, InstanceName, LocalStorage, Phase, Power, Road, Verb
from tests.trouble.wishes import gone as awaited_gone
from tests.world.fabric import Fabric, Trouble, die, hang_up, settled, web_role

ROLE = web_role(instances=1, local_storage=(LocalStorage(name="data", size_mib=1),), reimage=Road.PREPARED)
NAME = InstanceName("web-0.shop")


def prepared_life(fabric: Fabric) -> Instance:
    """Deployed, reimaged, restarted: what was written to the system disk is gone, and nothing else."""
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    before = fabric.instance()
    fabric.world.machines[NAME].system_marker = "written"
    fabric.world.storage[NAME]["data"] = "kept"
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    after = fabric.instance()
    assert after.generation > before.generation
    assert fabric.world.machines[NAME].system_marker == "", "a reimage keeps nothing of the system disk"
    assert fabric.world.storage[NAME]["data"] == "kept", "and all of local storage"
    fabric.act(Verb.RESTART, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().boot > after.boot
    return fabric.instance()


def gone(fabric: Fabric) -> None:
    """Nothing is left."""
    fabric.remove()
    awaited_gone(fabric)


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    prepared_life(fabric)
    return tuple(fabric.trouble.verbs)


def test_it_goes_by_the_prepared_road() -> None:
    """Two reimages, one setup, no memory: a boot each, counted as the one after its checkpoint's."""
    fabric = Fabric()
    restarted = prepared_life(fabric)
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
    gone(fabric)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """kill -9 before or after any effect: the same end by the same road."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after, die))

        prepared_life(fabric)

        assert fabric.deaths == 1, f"call {at} ({effects()[at - 1]}) was not struck"
        assert fabric.instance().from_checkpoint, f"call {at} ({effects()[at - 1]}) cost the checkpoint"
        gone(fabric)


@pytest.mark.parametrize("after", [False, True], ids=["before", "answer-lost"])
def test_the_peer_hangs_up_at_every_call(after: bool) -> None:
    """A libvirtd that is gone before the effect, or takes effect and never answers."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after, hang_up))
        prepared_life(fabric)
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
    """kill -9 of QEMU: the instance serves in the end, by whatever road."""
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


def test_a_removal_at_every_call_leaves_nothing() -> None:
    """Whatever was under way, no layer stays."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.trouble.strike = fabric.remove
        fabric.deploy(ROLE)
        fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
        fabric.act(Verb.REIMAGE, NAME)
        gone(fabric)


def test_a_guest_that_does_not_shut_down_is_not_kept() -> None:
    """It serves all the same, says why, and is not asked again."""
    fabric = Fabric()
    fabric.world.faults.deaf_to_requests.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    reached = fabric.instance()
    assert (reached.generation, reached.boot, reached.checkpoint, reached.strikes) == (1, 2, None, 0)
    assert reached.no_checkpoint == "it did not shut down within 120 s (stop.within)"
    assert fabric.trouble.verbs.count("ask_shutdown") == 1
    fabric.world.faults.deaf_to_requests.clear()
    gone(fabric)


def test_a_vm_that_somebody_else_has_started_boots_once_more() -> None:
    """virsh start before our own: it boots from whatever disk it was described with, and nothing of that serves."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(lambda: bool(fabric.instances()) and fabric.instance().phase is Phase.RESTORING)
    machine = fabric.world.machines[NAME]
    machine.power, machine.system_marker = Power.RUNNING, "of another disk"
    machine.start_boot(fabric.world.time_s)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, 3)
    assert fabric.world.machines[NAME].system_marker == ""
    gone(fabric)


def test_a_damaged_disk_starts_no_guest() -> None:
    """It is made of the image, says so, and is kept anew."""
    fabric = Fabric()
    fabric.deploy(ROLE)
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
    gone(fabric)


def test_another_boot_of_the_host_takes_nothing_from_it() -> None:
    """What was saved of no memory depends on none."""
    fabric = Fabric()
    fabric.deploy(ROLE)
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
    gone(fabric)
