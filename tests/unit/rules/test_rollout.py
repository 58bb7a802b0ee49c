"""Operations over instances: the pure decision of `rollout.advance`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import Conflict
from orchestrator.model import (
    Healing,
    Incarnation,
    Operation,
    Phase,
    Progress,
    Upgrade,
    Verb,
    Walking,
    instance_name,
)
from orchestrator.model.cause import recorded
from orchestrator.rules import rollout
from orchestrator.rules.standing import Course
from orchestrator.rules.targets import target
from tests.world.recorded import instance


def test_who_is_out_already_holds_up_the_next() -> None:
    """Also when another operation, or the healing ladder, took it out; what has failed holds up nobody."""
    other = instance_name("shop", "web", 1)
    for phase, goes in ((Phase.SETUP, False), (Phase.FAILED, True), (Phase.SERVING, True)):
        here = instance(Phase.SERVING, (1, 2), (1, 1))
        beside = replace(instance(phase, (1, 1), (1, 1)), name=other, index=1)
        operation = Operation(
            id="x", verb=Verb.REIMAGE, subject=here.name, service="shop", targets=((here.name, Incarnation(2, 1)),)
        )
        after = rollout.advance(operation, {here.name: here, other: beside})
        assert bool(after.changed) is goes, phase
        assert ("waits until web-1.shop serves again" in after.operation.message) is not goes


def test_who_is_about_to_go_out_holds_up_the_next() -> None:
    """What another operation has let go serves until its next turn, and counts as out already."""
    here = instance(Phase.SERVING, (1, 2), (1, 1))
    beside = replace(instance(Phase.SERVING, (1, 2), (1, 3)), name=instance_name("shop", "web", 1), index=1)
    operation = Operation(
        id="x", verb=Verb.RESTART, subject=here.name, service="shop", targets=((here.name, Incarnation(1, 3)),)
    )
    assert rollout.advance(operation, {here.name: here, beside.name: beside}).changed == ()


def test_what_was_removed_does_not_count_as_serving() -> None:
    """An operation on what somebody else removes ends, and says so."""
    here = instance(Phase.SERVING, (2, 1), (2, 1))
    leaving = replace(here, name=instance_name("shop", "web", 1), goal=replace(here.goal, serve=False))
    gone = instance_name("shop", "web", 2)
    targets = tuple((name, Incarnation(2, 1)) for name in (here.name, leaving.name, gone))
    operation = Operation(id="x", verb=Verb.REIMAGE, subject="shop", service="shop", targets=targets)
    after = rollout.advance(operation, {here.name: here, leaving.name: leaving})
    over = after.operation
    assert (over.progress, over.message) == (Progress.DONE, "1 of 3 serving, 2 removed meanwhile")
    assert after.changed == ()


@pytest.mark.parametrize("verb", [Verb.REIMAGE, Verb.RESTART, Verb.REBUILD])
def test_a_failure_of_before_is_no_failure_of_the_operation(verb: Verb) -> None:
    """An operation on a failed instance is not over because the instance, asked just now, has not moved yet."""
    failed = instance(Phase.FAILED, (3, 1), (1, 1))
    operation = Operation(
        id="x", verb=verb, subject=failed.name, service="shop", targets=((failed.name, target(verb, failed)),)
    )
    begun = rollout.advance(operation, {failed.name: failed})
    again = rollout.advance(begun.operation, {failed.name: begun.changed[0]}).operation
    assert (begun.operation.progress, again.progress) == (Progress.RUNNING, Progress.RUNNING)
    # After the reimage that the healing ladder tried, it is as new as was wished, and failed all the same.
    later = replace(begun.changed[0], generation=9, boot=0)
    over = rollout.advance(again, {failed.name: later}).operation
    assert (over.progress, over.message) == (Progress.FAILED, "web-0.shop: setup did not end")


def test_a_domain_that_somebody_else_has_begun_waits_for_nobody() -> None:
    """A verb that was asked for made all of it anew: it soaks, is under way, and is over."""
    here = replace(instance(Phase.SERVING, (2, 2), (2, 2)), phase_since_s=1000.0)
    beside = replace(instance(Phase.SERVING, (1, 2), (1, 2)), name=instance_name("shop", "web", 1), index=1)
    targets = tuple((one.name, Incarnation(2, 1)) for one in (here, beside))
    operation = Operation(id="x", verb=Verb.REIMAGE, subject="shop", service="shop", targets=targets)
    upgrade = Upgrade(domains=2, walking=Walking.MANUAL, soak_s=60.0)
    course = Course(upgrade=upgrade, counts={"web": 2}, rolls_to=2, back_to=1)
    both = {one.name: one for one in (here, beside)}
    early = rollout.advance(operation, both, course, 1010.0).operation
    assert early.walk.unreleased == ""
    assert early.message == "1 of 2 serving; domain 0; web-0.shop must serve for 60 s"
    with pytest.raises(Conflict, match=r"domain 0 is under way: web-0\.shop"):
        rollout.release(early, both, course, 1010.0)
    late = rollout.advance(early, both, course, 1060.0).operation
    assert (late.walk.unreleased, late.progress) == ("domain 1", Progress.RUNNING)
    assert rollout.release(late, both, course, 1060.0)[0] == "domain 1"
    alone = {here.name: here}  # The other was scaled away.
    over = rollout.advance(late, alone, course, 1060.0).operation
    assert over.progress is Progress.DONE
    with pytest.raises(Conflict, match="nothing of the rollout of service shop waits"):
        rollout.release(late, alone, course, 1060.0)


@pytest.mark.parametrize(
    ("healing", "key"),
    [
        (Healing(), "upgrade.maxUnavailable"),
        (Healing(max_unavailable=2), "upgrade.maxUnavailable"),
        (Healing(max_unavailable=1), "healing.maxUnavailable of web"),
    ],
)
def test_what_keeps_it_from_going_on_is_named(healing: Healing, key: str) -> None:
    """One that has failed, and the key by which others wait for it."""
    failed = replace(instance(Phase.FAILED, (2, 1), (2, 1)), failed_by=recorded("its service crashes"))
    others = [
        replace(instance(Phase.SERVING, (1, 2), (1, 2)), name=instance_name("shop", "web", number), index=number)
        for number in (1, 2, 3)
    ]
    targets = tuple((one.name, Incarnation(2, 1)) for one in others)
    operation = Operation(id="x", verb=Verb.REIMAGE, subject="shop", service="shop", targets=targets)
    most = 1 if healing.max_unavailable is None else 2
    course = Course(upgrade=Upgrade(max_unavailable=most), counts={"web": 4}, healing={"web": healing})
    decided = rollout.advance(operation, {one.name: one for one in (failed, *others)}, course, 1000.0)
    if key == "upgrade.maxUnavailable" and most == 2:
        assert len(decided.changed) == 1, "one more may go"
    else:
        assert decided.changed == ()
        hint = f"({failed.name} has failed: vmrole reimage {failed.name}, or raise {key})"
        assert decided.operation.message.endswith(f"; waits until {failed.name} serves again {hint}")
