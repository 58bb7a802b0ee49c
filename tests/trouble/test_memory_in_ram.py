"""Lives whose checkpoints' memory lies in RAM: lost with the host's, never half here and half there, and told."""

from __future__ import annotations

import pytest

from orchestrator.model import Checkpoints, Road, Verb
from orchestrator.rules.renewal import REST_S
from tests.trouble.warm_lives import NAME, Life
from tests.world.fabric import Fabric, Trouble, die, web_role

KEPT = Checkpoints(memory=True)
ROLE = web_role(instances=1, local_storage=(), reimage=Road.WARM, checkpoint=KEPT)
LIFE = Life(role=ROLE)


def lines(fabric: Fabric) -> list[str]:
    """The ledger of the instance."""
    return [event.message for event in fabric.control.events(NAME, 0, 200)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """The same end and the same road as of one whose memory lies on disk."""
    for at, verb in enumerate(LIFE.untroubled(), 1):
        fabric = Fabric(Trouble(at, after, die))
        LIFE.lived(fabric)
        assert fabric.instance().from_checkpoint, f"call {at} ({verb}) cost the checkpoint"
        LIFE.gone(fabric)


def test_it_is_gone_with_a_boot_of_the_host() -> None:
    """Its disk is booted then, as of one whose memory does not fit any more; what says refresh is warm again."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert NAME in fabric.world.memories
    fabric.world.restart_host()
    assert not fabric.world.memories
    fabric.restart()
    fabric.until(lambda: not fabric.instance().serving)
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("prepared")
    refreshed = Checkpoints(memory=True, refresh=True)
    fabric.deploy(web_role(instances=1, local_storage=(), reimage=Road.WARM, checkpoint=refreshed))
    fabric.until(fabric.quiet)
    fabric.world.pass_time(REST_S)
    fabric.until(lambda: (one := fabric.instance()).generation == 3 and one.serving)
    assert NAME in fabric.world.memories
    LIFE.gone(fabric)


def test_without_room_it_lies_on_disk_and_says_so() -> None:
    """Once in the ledger, and in `why`; the road is the warm one all the same. With room the next one lies in RAM."""
    fabric = Fabric()
    fabric.world.faults.no_ram.add(NAME)
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    assert lines(fabric).count("its memory is saved to disk: the host has no memory left") == 1
    assert "Its memory lies on disk: the host has no memory left." in "\n".join(fabric.control.why(NAME))
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("warm")
    fabric.world.restart_host()
    assert NAME in fabric.world.memories
    fabric.restart()
    fabric.world.faults.no_ram.clear()
    fabric.until(lambda: not fabric.instance().serving)
    fabric.until(fabric.quiet)
    fabric.control.act(Verb.REIMAGE, NAME, cold=True)
    fabric.until(fabric.quiet)
    assert "lies on disk" not in "\n".join(fabric.control.why(NAME))
    assert NAME in fabric.world.in_ram
    LIFE.gone(fabric)
