"""Rollouts: what an apply makes when it changes what VMs are built from; as records, and beside operations."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.control.requests import OPERATIONS_KEPT
from orchestrator.control.upgrade import upgrade
from orchestrator.control.walking import conduct
from orchestrator.errors import StaleRevision
from orchestrator.model import (
    Incarnation,
    Instance,
    InstanceName,
    Operation,
    Phase,
    Progress,
    Rollout,
    Service,
    ServiceSpec,
    Verb,
    instance_name,
)
from orchestrator.model.cause import recorded
from orchestrator.ports import Write
from orchestrator.rules import rollout
from tests.world.fabric import Fabric, web_role

WEB_0, WEB_1 = (instance_name("shop", "web", index) for index in range(2))


def spec(user_data: str = "", **changes: object) -> ServiceSpec:
    """The service with one role."""
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(user_data=user_data, **changes),))


@pytest.fixture
def fabric() -> Fabric:
    """Two instances that serve, as of revision 1."""
    fabric = Fabric()
    fabric.control.apply_spec(spec())
    fabric.until(fabric.quiet)
    return fabric


def rollouts(fabric: Fabric) -> list[Rollout]:
    """As they lie in the store, read by somebody new."""
    return sorted(Present(fabric.store).all(Rollout), key=lambda one: (one.created_at_s, one.to_revision))


def halted(fabric: Fabric) -> None:
    """The first instance of a rollout to the next revision fails, so that the other is not begun."""
    fabric.control.apply_spec(spec("#!/bin/sh\n# bad\n"))
    fabric.world.faults.services_never_start.add(WEB_0)
    fabric.until(lambda: rollouts(fabric)[-1].progress is Progress.FAILED, rounds=9000)
    fabric.world.faults.services_never_start.clear()


def test_an_apply_that_changes_vms_is_a_rollout_between_revisions(fabric: Fabric) -> None:
    """It says from where to where, whom and in which order, how far it is; among operations it is one of them."""
    assert rollouts(fabric) == [], "what is deployed for the first time replaces nothing"
    applied = fabric.control.apply_spec(spec("#!/bin/sh\n"))
    [begun] = rollouts(fabric)
    assert (begun.from_revision, begun.to_revision, begun.progress) == (1, 2, Progress.RUNNING)
    assert begun.service_uid == fabric.control.service("shop").uid
    assert [name for name, _ in begun.targets] == [WEB_0, WEB_1]
    assert applied.operation == begun.operation == fabric.control.operation(begun.id)
    assert fabric.present.running_operations("shop") == [begun.operation]
    assert fabric.store.all(records.OPERATION) == []
    fabric.until(fabric.quiet)
    [over] = rollouts(fabric)
    assert (over.progress, over.message) == (Progress.DONE, "2 of 2 serving")
    assert fabric.control.operations() == [over.operation]
    assert fabric.present.running_operations("shop") == []
    assert [one.message for one in fabric.control.events("shop")][-1] == "reimage done: 2 of 2 serving"
    fabric.control.apply_spec(spec("#!/bin/sh\n", drain_s=9.0))
    assert rollouts(fabric) == [over], "what replaces no VM rolls nothing out"


def test_one_that_is_taken_up_goes_from_where_it_went(fabric: Fabric) -> None:
    """It halts with the first that fails; the same file again is another rollout to the same revision."""
    halted(fabric)
    [first] = rollouts(fabric)
    assert first.message.startswith("web-0.shop: ")
    assert fabric.control.operation(first.id).progress is Progress.FAILED
    fabric.control.apply_spec(spec("#!/bin/sh\n# bad\n"))
    [_, second] = rollouts(fabric)
    assert (second.from_revision, second.to_revision) == (first.from_revision, first.to_revision) == (1, 2)
    fabric.until(fabric.quiet)
    assert rollouts(fabric)[-1].progress is Progress.DONE


def test_one_whose_first_is_forgotten_does_not_say_from_where(fabric: Fabric) -> None:
    """From the revision that it goes to, it does not."""
    halted(fabric)
    [first] = rollouts(fabric)
    fabric.store.commit([records.drop(first)])
    fabric.control.apply_spec(spec("#!/bin/sh\n# bad\n"))
    assert [(one.from_revision, one.to_revision) for one in rollouts(fabric)] == [(0, 2)]


def test_another_file_supersedes_it(fabric: Fabric) -> None:
    """The one that runs ends in the commit in which the next begins, which goes from the revision of the first."""
    fabric.control.apply_spec(spec("#!/bin/sh\n# a\n"))
    before = fabric.store.revision()
    fabric.control.apply_spec(spec("#!/bin/sh\n# b\n"))
    first, second = rollouts(fabric)
    assert (first.progress, first.message) == (Progress.SUPERSEDED, "the service was applied anew")
    assert (second.from_revision, second.to_revision, second.progress) == (2, 3, Progress.RUNNING)
    changed = fabric.store.changes(before)
    assert changed is not None
    assert len({one.revision for one in changed if one.kind in (records.SERVICE, records.ROLLOUT)}) == 1
    fabric.until(fabric.quiet)
    assert all(one.role.user_data == "#!/bin/sh\n# b\n" for one in fabric.instances())


def operation(*, paused: bool = True) -> Operation:
    """A rollout of two instances."""
    targets = tuple((name, Incarnation(2, 1)) for name in (WEB_0, WEB_1))
    return Operation(id="x", verb=Verb.REIMAGE, subject="shop", service="shop", targets=targets, paused=paused)


@pytest.fixture
def two(fabric: Fabric) -> dict[InstanceName, Instance]:
    """Two that serve and shall have another template."""
    other = web_role(user_data="#!/bin/sh\n", instances=0)
    return {one.name: replace(one, goal=replace(one.goal, role=other)) for one in fabric.instances()}


def advanced(before: Operation, instances: dict[InstanceName, Instance]) -> tuple[Operation, tuple[Instance, ...]]:
    """It as it stands then, and whom it begins."""
    after = rollout.advance(before, instances)
    return after.operation, after.changed


def test_while_it_is_paused_nobody_more_is_begun(two: dict[InstanceName, Instance]) -> None:
    """What is under way ends; then it waits, and says for whom. Resumed it goes on where it was."""
    _, (first,) = advanced(operation(paused=False), two)
    two[first.name] = first
    for phase in (Phase.DRAINING, Phase.SETUP):
        two[first.name] = replace(first, phase=phase)
        moved, begun = advanced(operation(), two)
        assert (moved.progress, begun) == (Progress.RUNNING, ())
        assert moved.message == "0 of 2 serving; paused, 1 not begun"
    two[first.name] = replace(first, generation=2, boot=1, role=first.goal.role, phase=Phase.SERVING)
    moved, begun = advanced(operation(), two)
    assert (moved.progress, moved.message, begun) == (
        Progress.RUNNING,
        "1 of 2 serving; paused, 1 not begun",
        (),
    )
    _, (second,) = advanced(operation(paused=False), two)
    assert second.name == WEB_1
    two[second.name] = replace(second, generation=2, boot=1, role=second.goal.role)
    assert advanced(operation(), two)[0].progress is Progress.DONE, "with nobody left it is over, paused or not"


def test_who_is_stopped_is_not_forgotten_while_it_is_paused(two: dict[InstanceName, Instance]) -> None:
    """What he takes at his start is asked of him when it is resumed, also when all others are through."""
    off = {
        name: replace(one, phase=Phase.STOPPED, goal=replace(one.goal, halts=1)) if name == WEB_1 else one
        for name, one in two.items()
    }
    done = off[WEB_0]
    wanted = replace(done.goal, wanted=operation().targets[0][1])
    off[WEB_0] = replace(done, generation=2, boot=1, role=done.goal.role, goal=wanted)
    moved, begun = advanced(operation(), off)
    assert (moved.progress, begun) == (Progress.RUNNING, ())
    assert moved.message.endswith("paused, 1 not begun")
    moved, begun = advanced(operation(paused=False), off)
    assert moved.progress is Progress.DONE
    assert [(one.name, one.goal.wanted.generation) for one in begun] == [(WEB_1, 2)]


def test_one_that_fails_while_it_is_paused_halts_it(two: dict[InstanceName, Instance]) -> None:
    """It is as bad a sign then as at any other time."""
    _, (first,) = advanced(operation(paused=False), two)
    two[first.name] = replace(first, generation=2, phase=Phase.FAILED, failed_by=recorded("no"), role=first.goal.role)
    assert advanced(operation(), two)[0].progress is Progress.FAILED


def test_a_rollout_of_a_service_that_is_gone_touches_no_other(fabric: Fabric) -> None:
    """One of the same name that is deployed before the rollout has had its turn keeps its instances as they are."""
    fabric.control.apply_spec(spec("#!/bin/sh\n"))
    [running] = rollouts(fabric)
    fabric.remove()
    while fabric.present.all(Service):  # Its operation has no turn meanwhile.
        for key in [("service", "shop"), *(("instance", one.name) for one in fabric.instances())]:
            fabric.daemon.attend(key)  # type: ignore[arg-type]
        fabric.world.pass_time(1.0)
    fabric.control.apply_spec(spec())
    fabric.until(lambda: all(one.phase is Phase.SERVING for one in fabric.instances()) and fabric.quiet())
    assert all(one.generation == one.goal.wanted.generation == 1 for one in fabric.instances())
    assert fabric.control.operation(running.id).progress is Progress.DONE


def test_a_rollout_of_before_goes_on(fabric: Fabric) -> None:
    """An earlier version had none but an operation with such a name: the one that runs becomes what it is."""
    fabric.control.apply_spec(spec("#!/bin/sh\n"))
    fabric.until(lambda: any(one.generation == 2 for one in fabric.instances()))
    [running] = rollouts(fabric)
    over = replace(running.operation, id="rollout-over", progress=Progress.DONE, revision=0)
    store = fabric.store
    store.commit([records.put(replace(running.operation, revision=0)), records.put(over), records.drop(running)])
    for kind, kept in ((records.REVISION, None), (records.SERVICE, ("spec", "network", "created_at_s"))):
        for document in store.all(kind):
            body = {key: json.loads(json.dumps(document.body[key])) for key in kept} if kept else None
            store.commit([Write(kind, document.key, body, document.revision)])
    assert upgrade(store) == 1
    assert upgrade(store) == 0
    [brought] = rollouts(fabric)
    assert brought.operation == replace(running.operation, revision=brought.revision)
    assert (brought.from_revision, brought.to_revision) == (0, 1)
    fabric.until(fabric.quiet)
    assert rollouts(fabric)[0].progress is Progress.DONE
    assert all(one.role.user_data == "#!/bin/sh\n" for one in fabric.instances())
    fabric.control.apply_spec(spec("#!/bin/sh\n# b\n"))
    assert [one.to_revision for one in rollouts(fabric)] == [1, 2]
    assert {one.id for one in fabric.control.operations()} >= {"rollout-over", running.id}


def test_old_ones_are_forgotten_as_operations_are(fabric: Fabric) -> None:
    """Of all that is over the same number is kept, whatever it was; one more ends with this request, one begins."""
    for number in range(OPERATIONS_KEPT + 20):
        fabric.control.apply_spec(spec(f"#!/bin/sh\n# {number}\n"))
    assert len(rollouts(fabric)) == OPERATIONS_KEPT + 2
    assert len(fabric.control.operations()) == OPERATIONS_KEPT + 2
    assert len(fabric.present.rollouts_of("shop")) == OPERATIONS_KEPT + 2


def test_who_has_looked_all_the_time_sees_what_a_newcomer_does(fabric: Fabric) -> None:
    """Rollouts, and the operations that they are, after begun, superseded, halted and ended ones."""
    watching, seen = Present(fabric.store), fabric.store.revision()
    told: dict[str, Operation | None] = {}
    for number in range(6):
        fabric.control.apply_spec(spec(f"#!/bin/sh\n# {number}\n"))
        fabric.act(Verb.RESTART, "web-0.shop")
        for _ in range(number * 4):
            fabric.round()
            touched = watching.touched(seen)
            assert touched is not None
            seen, told = touched.revision, told | dict(touched.operations)
    fresh = Present(fabric.store)
    assert watching.all(Operation) == fresh.all(Operation)
    assert watching.all(Rollout) == fresh.all(Rollout)
    assert len(watching.rollouts_of("shop")) == 6
    assert watching.running_operations("shop") == fresh.running_operations("shop")
    assert told == {one.id: one for one in fresh.all(Operation)}


@pytest.mark.parametrize("what", ["pause", "apply"])
def test_what_somebody_asks_while_a_rollout_is_looked_at_holds(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between reading the rollout and writing how far it is: nobody is begun after a pause, and two never run."""
    begun = fabric.control.apply_spec(spec("#!/bin/sh\n")).operation
    assert begun is not None
    present = fabric.daemon._present
    find, asked = present.find, []

    def finds(of: type, key: str) -> object:
        found = find(of, key)
        if key == begun.id and not asked:
            asked.append(what)
            if what == "pause":
                fabric.control.pause("shop")
            else:
                fabric.control.apply_spec(spec("#!/bin/sh\n# 3\n"))
        return found

    monkeypatch.setattr(present, "find", finds)
    with contextlib.suppress(StaleRevision):
        conduct(present, fabric.host, begun.id)
    assert asked
    if what == "pause":
        assert all(one.goal.wanted.generation == 1 for one in fabric.instances())
        assert rollouts(fabric)[-1].paused
    else:
        assert [one.progress for one in rollouts(fabric)] == [Progress.SUPERSEDED, Progress.RUNNING]
