"""Lives whose reimages go on from a checkpoint, and trouble before and after every call that has an effect: one VM,
the right road, never a memory over a disk that it does not know, nor a disk without what its guest has written. The
fake world asserts the latter inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.model import Phase, Power, Verb
from orchestrator.model.world import PausedBy
from tests.trouble.warm_lives import LIVES, NAME, Life
from tests.world.fabric import Fabric, Trouble, die, hang_up, settled


def each_life(test: Callable[..., None]) -> Any:
    """The test once for each."""
    return pytest.mark.parametrize("life", LIVES.values(), ids=LIVES.keys())(test)


@each_life
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(life: Life, after: bool) -> None:
    """kill -9 before or after any effect: the same end by the same road."""
    for at, verb in enumerate(life.untroubled(), 1):
        fabric = Fabric(Trouble(at, after, die))
        life.lived(fabric)
        assert fabric.deaths == 1, f"call {at} ({verb}) was not struck"
        assert fabric.instance().from_checkpoint, f"call {at} ({verb}) cost the checkpoint"
        life.gone(fabric)


@each_life
@pytest.mark.parametrize("after", [False, True], ids=["before", "answer-lost"])
def test_the_peer_hangs_up_at_every_call(life: Life, after: bool) -> None:
    """A libvirtd that is gone before the effect, or takes effect and never answers."""
    for at, verb in enumerate(life.untroubled(), 1):
        fabric = Fabric(Trouble(at, after, hang_up))
        life.lived(fabric)
        assert fabric.instance().from_checkpoint, f"call {at} ({verb}) cost the checkpoint"
        life.gone(fabric)


@each_life
@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.REBUILD, Verb.STOP], ids=str)
def test_the_operator_wishes_more_at_every_call(life: Life, verb: Verb) -> None:
    """A further wish at any moment is fulfilled as well; what was stopped is started again in the end."""
    met = set[Phase]()
    for at in range(1, len(life.untroubled()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def wish_more(fabric: Fabric = fabric) -> None:
            met.update(one.phase for one in fabric.instances())
            fabric.act(verb, NAME)

        fabric.trouble.strike = wish_more
        life.begun(fabric)
        for wish in (Verb.REIMAGE, Verb.START):
            fabric.act(wish, NAME)
            fabric.until(fabric.quiet)
        assert settled(fabric.instance())
        fabric.trouble.strike = lambda: None
        life.gone(fabric)
    assert met >= {Phase.SAVING, Phase.RESTORING}


@each_life
def test_the_vm_is_killed_at_every_call(life: Life) -> None:
    """kill -9 of QEMU: the instance serves in the end, with all of its disks, by whatever road."""

    def kill(fabric: Fabric) -> None:
        if NAME in fabric.world.machines:
            fabric.world.kill(NAME)

    life.struck(kill)


@each_life
@pytest.mark.parametrize("by", [PausedBy.USER, PausedBy.DISK], ids=str)
def test_the_vm_is_paused_at_every_call(life: Life, by: PausedBy) -> None:
    """By a human, who lets it go on after a while, or for want of room, which there is then."""
    for at in range(1, len(life.untroubled()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def pause(fabric: Fabric = fabric) -> None:
            if NAME in fabric.world.machines and fabric.world.machines[NAME].power is Power.RUNNING:
                fabric.world.pause(NAME, by)

        fabric.trouble.strike = pause
        life.deployed(fabric)
        fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
        for _ in range(100):
            fabric.round()
        if NAME in fabric.world.machines and fabric.world.machines[NAME].paused_by is PausedBy.USER:
            fabric.world.resume(NAME)
        fabric.until(fabric.quiet)
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        life.gone(fabric)


@each_life
def test_a_removal_at_every_call_leaves_nothing(life: Life) -> None:
    """Whatever was under way, neither a layer nor a memory stays."""
    for at in range(1, len(life.untroubled()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.trouble.strike = fabric.remove
        life.deployed(fabric)
        fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
        fabric.act(Verb.REIMAGE, NAME)
        life.gone(fabric)
