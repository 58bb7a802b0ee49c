"""When a checkpoint is renewed by itself: why it is due, and each thing that it waits for by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.model import (
    Checkpoint,
    Checkpoints,
    HostFit,
    Incarnation,
    Instance,
    InstanceName,
    Phase,
    Ready,
    Road,
    Says,
    Word,
)
from orchestrator.model.checkpoint import DAY_S
from orchestrator.rules import renewal, roads
from orchestrator.rules.renewal import Around
from tests.world.fabric import web_role
from tests.world.instances import FIT, checkpoint, instance_of

ROLE = web_role(local_storage=(), reimage=Road.WARM, checkpoint=Checkpoints(max_age_s=10 * DAY_S, refresh=True))
TAKEN_S = 1_000_000.0
NOW_S = TAKEN_S + 9 * DAY_S


def serving(index: int = 0) -> Instance:
    """In rotation since its checkpoint was taken, with nothing against its renewal."""
    bare = instance_of(ROLE, index, phase=Phase.SERVING, phase_since_s=TAKEN_S, served_at_s=TAKEN_S, boot=2)
    kept = checkpoint(template=roads.built_from(ROLE), place=roads.place_of(bare), taken_at_s=TAKEN_S)
    return replace(bare, checkpoint=kept, layered=1, boot_id="boot", set_up=True, storage=1)


def of(instance: Instance, **changes: object) -> Instance:
    """The instance with another checkpoint."""
    assert instance.checkpoint is not None
    kept: Checkpoint = replace(instance.checkpoint, **changes)  # type: ignore[arg-type]
    return replace(instance, checkpoint=kept)


def wishing(instance: Instance, **changes: object) -> Instance:
    """The instance with another goal."""
    return replace(instance, goal=replace(instance.goal, **changes))  # type: ignore[arg-type]


def asked(instance: Instance, **changes: object) -> Instance:
    """The instance of a role that says something else."""
    role = replace(ROLE, **changes)  # type: ignore[arg-type]
    return replace(instance, role=role, goal=replace(instance.goal, role=role))


@pytest.mark.parametrize(
    ("changed", "fit", "now_s", "why"),
    [
        (lambda one: one, FIT, TAKEN_S + 8 * DAY_S - 1, ""),
        (lambda one: one, FIT, TAKEN_S + 8 * DAY_S, "its checkpoint nears checkpoint.maxAge"),
        (lambda one: one, FIT, TAKEN_S + 11 * DAY_S, "its checkpoint is too old (checkpoint.maxAge)"),
        (lambda one: one, FIT, TAKEN_S - 1, "its checkpoint is too old (checkpoint.maxAge)"),
        (lambda one: replace(one, checkpoint=None), FIT, TAKEN_S, "it has no checkpoint"),
        (lambda one: replace(one, checkpoint=None, no_checkpoint="no room"), FIT, NOW_S, "it has no checkpoint"),
        (lambda one: wishing(replace(one, checkpoint=None, no_checkpoint="no room"), renews=one.generation), FIT,
         NOW_S, ""),
        (lambda one: replace(one, checkpoint=None, no_checkpoint="its agent runs no commands",
                             no_checkpoint_lasts=True), FIT, NOW_S, ""),
        (lambda one: replace(one, checkpoint=None, boot_id=""), FIT, NOW_S, ""),
        (lambda one: wishing(replace(one, checkpoint=None), renews=one.generation), FIT, NOW_S, ""),
        (lambda one: wishing(replace(one, checkpoint=None, generation=3), renews=2), FIT, NOW_S,
         "it has no checkpoint"),
        (lambda one: one, replace(FIT, boot="c"), TAKEN_S, "the host has started again since its checkpoint"),
        (lambda one: one, replace(FIT, qemu="8.0"), TAKEN_S, "its checkpoint is of another QEMU"),
        (lambda one: of(one, memory=None, no_memory="the host has started again"), FIT, TAKEN_S,
         "its checkpoint has no memory: the host has started again"),
        (lambda one: replace(of(one, memory=None, no_memory="no room"), no_memory="no room"), FIT, TAKEN_S,
         "its checkpoint has no memory: no room"),
        (lambda one: wishing(replace(of(one, memory=None), no_memory="no room"), renews=one.generation), FIT,
         TAKEN_S, ""),
        (lambda one: replace(of(one, memory=None), no_memory="its kernel is too old", no_memory_lasts=True), FIT,
         TAKEN_S, ""),
        (lambda one: asked(of(one, memory=None), reimage=Road.PREPARED), replace(FIT, boot="c"), TAKEN_S, ""),
        (lambda one: asked(one, checkpoint=Checkpoints(max_age_s=10 * DAY_S)), FIT, NOW_S, ""),
        (lambda one: asked(one, ready=Ready(agent=False)), FIT, NOW_S, ""),
        (lambda one: wishing(one, serve=False), FIT, NOW_S, ""),
    ],
)  # fmt: skip
def test_it_is_due(changed: Callable[[Instance], Instance], fit: HostFit, now_s: float, why: str) -> None:
    """By its age, or as soon as the warm road would not lead on from it; not where another one would be no better."""
    assert renewal.due(changed(serving()), fit, now_s) == why


def test_in_the_quiet_it_waits_for_nothing() -> None:
    """The control of all that follow."""
    assert renewal.waits_for(serving(), Around(others=(serving(1), serving(2))), NOW_S) == ""


BUSY = Word(says=Says.BUSY, boot_id="boot", at_s=NOW_S - 1, until_s=NOW_S + 60)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda one: wishing(one, lease="lease-1"), "it is leased"),
        (lambda one: wishing(one, protected=True), "it is protected"),
        (lambda one: wishing(one, role=replace(ROLE, user_data="#!other")), "it awaits a rollout"),
        (lambda one: wishing(one, wanted=Incarnation(1, 3)), "something else is asked of it"),
        (lambda one: wishing(one, halts=1), "something else is asked of it"),
        (lambda one: replace(one, unwell_since_s=NOW_S - 1), "it does not serve"),
        (lambda one: replace(one, sick_since_s=NOW_S - 1), "it does not serve"),
        (lambda one: replace(one, phase=Phase.STARTING), "it does not serve"),
        (lambda one: replace(one, phase=Phase.FAILED), "it does not serve"),
        (lambda one: replace(one, word=BUSY), "its guest is busy"),
        (lambda one: replace(one, phase_since_s=NOW_S - 599), "it has come into rotation just now"),
        (lambda one: replace(one, reimages=(1.0, NOW_S - DAY_S + 1)), "healing has made it anew within a day"),
    ],
)
def test_it_waits_for_its_instance(changed: Callable[[Instance], Instance], why: str) -> None:
    """Nothing is taken from who is somebody's, or has just come."""
    assert why in renewal.waits_for(changed(serving()), Around(), NOW_S)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda one: replace(one, unwell_since_s=NOW_S - 1), "web-1.shop is out of rotation"),
        (lambda one: replace(one, sick_since_s=NOW_S - 1), "web-1.shop is out of rotation"),
        (lambda one: replace(one, phase=Phase.DRAINING), "web-1.shop is out of rotation"),
        (lambda one: replace(one, phase=Phase.FAILED), "web-1.shop is out of rotation"),
        (lambda one: wishing(one, wanted=Incarnation(2, 1)), "web-1.shop is out of rotation"),
        (lambda one: wishing(one, lease="lease-1"), "web-1.shop is leased"),
        (lambda one: replace(one, word=BUSY), "the guest of web-1.shop is busy"),
        (lambda one: replace(wishing(one, halts=1), phase=Phase.STOPPED), ""),
        (lambda one: wishing(one, protected=True), ""),
    ],
)
def test_it_waits_for_the_others_of_its_role(changed: Callable[[Instance], Instance], why: str) -> None:
    """For all but those that somebody has stopped: nobody else is out while one is taken out without need."""
    assert renewal.waits_for(serving(), Around(others=(serving(2), changed(serving(1)))), NOW_S) == why


@pytest.mark.parametrize(
    ("around", "why"),
    [
        (Around(operation="reimage-1"), "reimage-1 is under way"),
        (Around(standstill="automation is paused"), "automation is paused"),
        (Around(strain="the host is short of memory"), "the host is short of memory"),
        (Around(suspect=True), "its image is suspect"),
        (Around(elsewhere=InstanceName("db-0.other")), "the checkpoint of db-0.other is being renewed"),
    ],
)
def test_it_waits_for_whatever_else_is_under_way(around: Around, why: str) -> None:
    """Of its service, and of the host."""
    assert renewal.waits_for(serving(), around, NOW_S) == why


def test_a_clock_that_was_set_back_keeps_nobody_waiting() -> None:
    """What lies in the future has not just been."""
    one = replace(serving(), phase_since_s=NOW_S + DAY_S, reimages=(NOW_S + DAY_S,))
    assert renewal.waits_for(one, Around(), NOW_S) == ""


def test_it_is_under_way_until_it_serves_or_has_failed() -> None:
    """Or somebody has taken it back: one that is protected meanwhile holds up nobody else."""
    before = serving()
    begun = replace(before, goal=renewal.wished(before))
    anew = replace(begun, generation=2, phase=Phase.SETUP, served_at_s=0.0)
    assert begun.goal.wanted == Incarnation(2, 1)
    assert renewal.is_under_way(begun)
    assert renewal.is_under_way(anew)
    ended = [
        before,
        replace(anew, phase=Phase.SERVING, served_at_s=NOW_S),
        replace(anew, phase=Phase.FAILED),
        wishing(begun, wanted=begun.at),
        wishing(begun, serve=False),
        None,
    ]
    assert not any(renewal.is_under_way(one) for one in ended)


def test_its_road_is_the_cold_one_and_says_why() -> None:
    """Nobody has asked for it; the generation after it is warm again."""
    before = serving()
    anew = replace(before, goal=renewal.wished(before), generation=2)
    assert str(roads.chosen(anew, FIT, NOW_S)) == "cold: its checkpoint is renewed"
    assert roads.chosen(replace(anew, generation=3), FIT, NOW_S).road is Road.WARM


@pytest.mark.parametrize(
    ("changed", "around", "sentence"),
    [
        (lambda one: one, Around(), "It is renewed within a minute or two."),
        (lambda one: one, Around(operation="x-1"), "It is to be renewed, which waits: x-1 is under way."),
        (lambda one: of(one, taken_at_s=NOW_S - 60), Around(), "It is renewed by itself from an age of 192 h on."),
        (lambda one: asked(one, checkpoint=Checkpoints()), Around(), ""),
        (lambda one: replace(one, checkpoint=None, no_checkpoint="no room"), Around(),
         "It is renewed within a minute or two."),
        (lambda one: replace(one, checkpoint=None, no_checkpoint="its agent runs no commands",
                             no_checkpoint_lasts=True), Around(), ""),
        (lambda one: replace(one, checkpoint=None), Around(), "It is renewed within a minute or two."),
        (lambda one: wishing(one, renews=2, wanted=Incarnation(2, 1)), Around(), ""),
    ],
)  # fmt: skip
def test_what_people_are_told(changed: Callable[[Instance], Instance], around: Around, sentence: str) -> None:
    """In `why`: when, or what it waits for."""
    assert renewal.told(changed(serving()), around, NOW_S) == sentence
