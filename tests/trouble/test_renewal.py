"""Lives in which checkpoints are renewed by themselves: one at a time, in the quiet, and never for nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from orchestrator.model import Checkpoints, Instance, InstanceName, Phase, Road, Service, Verb
from orchestrator.model.checkpoint import DAY_S
from orchestrator.rules.renewal import REST_S
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role

KEPT = Checkpoints(max_age_s=10 * DAY_S, refresh=True)
NAME, OTHER = InstanceName("web-0.shop"), InstanceName("web-1.shop")


def deployed(fabric: Fabric, instances: int = 3, **changes: object) -> Fabric:
    """With so many that serve, each with a checkpoint."""
    fabric.deploy(web_role(instances=instances, local_storage=(), reimage=Road.WARM, checkpoint=KEPT, **changes))
    fabric.until(fabric.quiet)
    assert all(one.checkpoint for one in fabric.instances())
    return fabric


def is_renewed(one: Instance) -> bool:
    """Whether it serves with a checkpoint of its second generation."""
    return one.serving and one.checkpoint is not None and one.checkpoint.generation == 2


def all_renewed(fabric: Fabric) -> None:
    """Rounds until that is so of all; never is more than one out of rotation, nor more than one made anew."""
    for _ in range(2000):
        if all(is_renewed(one) for one in fabric.instances()):
            return
        fabric.round()
        assert sum(not one.serving for one in fabric.instances()) <= 1
    raise AssertionError([(one.name, one.phase, one.waiting, one.generation) for one in fabric.instances()])


def rests(fabric: Fabric, rounds: int = 300) -> None:
    """Nobody is made anew any more, however long one waits."""
    before = {one.name: one.generation for one in fabric.instances()}
    for _ in range(rounds):
        fabric.round(REST_S / 100)
    assert {one.name: one.generation for one in fabric.instances()} == before


def host_restarts(fabric: Fabric) -> None:
    """Until all serve again."""
    fabric.world.restart_host()
    fabric.restart()
    fabric.until(lambda: not any(one.serving for one in fabric.instances()))
    fabric.until(fabric.quiet)


def lines(fabric: Fabric, name: str = NAME) -> list[str]:
    """The ledger of an instance."""
    return [event.message for event in fabric.control.events(name, 0, 200)]


def test_they_are_renewed_before_they_are_too_old() -> None:
    """Not earlier, all of them, once: and the ledger and `why` say so. The next reimage is warm."""
    fabric = deployed(Fabric())
    fabric.world.pass_time(7 * DAY_S)
    rests(fabric)
    assert "It is renewed by itself from an age of 192 h on." in "\n".join(fabric.control.why(NAME))
    fabric.world.pass_time(1.1 * DAY_S)
    all_renewed(fabric)
    told = lines(fabric)
    assert "its checkpoint is to be renewed: its checkpoint nears checkpoint.maxAge" in told
    assert "serving -> draining: its checkpoint is to be renewed" in told
    assert "This generation was made of its image (its checkpoint is renewed)" in "\n".join(fabric.control.why(NAME))
    rests(fabric)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("warm")


def test_a_role_whose_host_has_started_again_is_warm_again() -> None:
    """Its memory fits no more: it is renewed without anybody asking, and without a wait for its age."""
    fabric = deployed(Fabric())
    host_restarts(fabric)
    fabric.world.pass_time(REST_S)
    all_renewed(fabric)
    assert "its checkpoint is to be renewed: the host has started again since its checkpoint" in lines(fabric)
    rests(fabric)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("warm")


def test_whose_memory_was_erased_is_renewed_as_well() -> None:
    """One that took the prepared road in between."""
    fabric = deployed(Fabric(), instances=1)
    host_restarts(fabric)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().road.startswith("prepared")
    fabric.world.pass_time(REST_S)
    fabric.until(lambda: (one := fabric.instance()).generation == 3 and one.serving)
    assert (kept := fabric.instance().checkpoint) is not None
    assert kept.memory is not None


def test_what_cannot_be_kept_is_not_tried_again_and_again() -> None:
    """Neither without a memory nor without a checkpoint at all."""
    for fault in ("not_saved", "unwritten"):
        fabric = Fabric()
        getattr(fabric.world.faults, fault).add(NAME)
        fabric.deploy(web_role(instances=1, local_storage=(), reimage=Road.WARM, checkpoint=KEPT))
        fabric.until(fabric.quiet)
        fabric.world.pass_time(REST_S)
        rests(fabric)


def test_it_waits_while_automation_is_paused_or_somebody_is_out() -> None:
    """And goes on when that is over."""
    fabric = deployed(Fabric())
    fabric.control.stand_still("shop")
    fabric.world.pass_time(9 * DAY_S)
    rests(fabric)
    assert "It is to be renewed, which waits: automation" in "\n".join(fabric.control.why(NAME))
    fabric.control.protect("web-1", on=True)
    fabric.world.faults.check_fails.add(OTHER)
    fabric.round()
    fabric.control.go_on("shop")
    rests(fabric)
    assert f"It is to be renewed, which waits: {OTHER} is out of rotation." in "\n".join(fabric.control.why(NAME))
    fabric.world.faults.check_fails.clear()
    fabric.control.protect("web-1", on=False)
    all_renewed(fabric)


def two_services() -> Fabric:
    """Of one instance each, whose checkpoints are to be renewed."""
    fabric = deployed(Fabric(), instances=1)
    role = web_role(instances=1, local_storage=(), reimage=Road.WARM, checkpoint=KEPT)
    fabric.deploy(role, name="other", vip="203.0.113.11")
    fabric.until(fabric.quiet)
    fabric.world.pass_time(9 * DAY_S)
    return fabric


def test_of_two_services_one_goes_first() -> None:
    """A renewal is a whole setup of a guest: the host does one at a time."""
    fabric = two_services()
    all_renewed(fabric)
    rests(fabric)


def test_a_daemon_that_starts_anew_knows_whom_it_renews() -> None:
    """Of two services, the other waits until that one has ended, and not only while one daemon lives."""
    fabric = two_services()
    fabric.until(lambda: any(one.phase is Phase.SETUP for one in fabric.instances()))
    for _ in range(2000):
        fabric.restart()
        fabric.round()
        assert sum(not one.serving for one in fabric.instances()) <= 1
        if all(is_renewed(one) for one in fabric.instances()):
            return
    raise AssertionError([(one.name, one.phase, one.generation) for one in fabric.instances()])


def renewed_life(fabric: Fabric) -> None:
    """Deployed, left alone until its checkpoint is nearly too old, renewed, reimaged from the new one, deleted."""
    deployed(fabric, instances=1)
    fabric.world.pass_time(9 * DAY_S)
    fabric.until(lambda: is_renewed(fabric.instance()))
    rests(fabric, rounds=12)
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 3
    assert fabric.instance().from_checkpoint
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    renewed_life(fabric)
    return tuple(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("strike", [die, hang_up], ids=["killed", "hung-up"])
def test_trouble_at_every_call(after: bool, strike: Callable[[], None]) -> None:
    """A daemon that dies, or a peer that hangs up: it is renewed once, and no more."""
    for at in range(1, len(effects()) + 1):
        renewed_life(Fabric(Trouble(at, after, strike)))  # type: ignore[arg-type]


def test_a_renewal_that_fails_is_left_to_healing() -> None:
    """And is not begun again as soon as it serves, for it may well fail again: but within two days."""
    fabric = deployed(Fabric(), instances=1)
    fabric.world.pass_time(9 * DAY_S)
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    fabric.world.faults.setup_never_ends.add(NAME)
    fabric.world.pass_time(601.0)
    fabric.until(lambda: fabric.instance().strikes > 0)
    fabric.world.faults.setup_never_ends.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().checkpoint) == (3, None)
    fabric.world.pass_time(REST_S)
    rests(fabric)
    assert "which waits: healing has made it anew within a day." in "\n".join(fabric.control.why(NAME))
    fabric.world.pass_time(DAY_S)
    fabric.until(lambda: (one := fabric.instance()).serving and one.checkpoint is not None)
    assert fabric.instance().generation == 4


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_a_guest_that_cannot_be_kept_is_left_alone(road: Road) -> None:
    """Nobody knows which boot it is in, for its agent shows no files: what is made anew has no checkpoint either."""
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = True
    fabric.deploy(web_role(instances=1, local_storage=(), reimage=road, checkpoint=KEPT))
    fabric.until(fabric.quiet)
    rests(fabric)
    assert "renewed" not in "\n".join(fabric.control.why(NAME))
