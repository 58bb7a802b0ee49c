"""conduct(): reads an operation and its instances, has the rule decide, writes what was decided in one commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.control.standstill import standstill_of
from orchestrator.control.turns import BRAKE, NEVER_S
from orchestrator.control.unfolding import BATCH
from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision
from orchestrator.model import (
    Event,
    InstanceName,
    OnFailure,
    Operation,
    Progress,
    Rollout,
    Service,
    Upgrade,
    Walking,
)
from orchestrator.model.cause import of_error
from orchestrator.ports import Host
from orchestrator.rules import rollout
from orchestrator.rules.standing import Course, course_by

AUDIT_S = 60.0  # How often what nobody tells of is looked at: a service's network and endpoints, an operation.

GoesBack = Callable[[str, int, int], object]  # a service's address, back to which, and at which it is
"""Takes a service back to a revision of its file, and with that ends the rollout that runs; see `Control.undo`."""


def conduct(
    present: Present, host: Host, operation_id: str, goes_back: GoesBack | None = None
) -> tuple[tuple[InstanceName, ...], float]:
    """Moves an operation on; returns the instances whose goals it changed and when to look again (seconds)."""
    rolls = present.find(Rollout, operation_id)
    # Of one value: who pauses or supersedes it meanwhile is not overwritten.
    operation = rolls.operation if rolls else present.find(Operation, operation_id)
    if operation is None or operation.progress is not Progress.RUNNING:
        return (), NEVER_S
    course = course_of(rolls or operation, present)
    gone = rolls is not None and _is_of_another(rolls, present)
    if rolls is not None and operation.walk.broken and not gone and present.instances_of(operation.service):
        if course.standstill:
            return (), AUDIT_S
        return (), _go_back(present, host, rolls, goes_back)
    now_s = host.machine.clock.now_s()
    with BRAKE:
        instances = {} if gone else present.instances_of(operation.service)
        advance = rollout.advance(operation, instances, course, now_s)
        moved, changed = advance.operation, advance.changed[:BATCH]
        if len(changed) < len(advance.changed):  # It is not over before all are wished for.
            moved = replace(moved, progress=Progress.RUNNING)
        if moved != operation or changed:
            write = records.put(rolls.at(moved) if rolls else moved)
            events = _told(operation, moved, now_s)
            present.commit([write, *(records.put_wish(one) for one in changed)], events)
    names = tuple(one.name for one in changed)
    if len(changed) < len(advance.changed) or moved.walk.broken:
        return names, 0.0
    if moved.progress is not Progress.RUNNING:
        return names, NEVER_S
    return names, min(AUDIT_S, advance.again_s)


def course_of(operation: Operation | Rollout, present: Present) -> Course:
    """By what it walks now. A verb that somebody asks for waits for nobody, and neither does the way back."""
    service = present.find(Service, operation.service)
    spec = service.spec if service else None
    upgrade = spec.upgrade if spec else Upgrade()
    if isinstance(operation, Rollout):
        if operation.restores:
            upgrade = replace(upgrade, walking=Walking.AUTO, on_failure=OnFailure.HALT)
        still = standstill_of(present, operation.service)
        return replace(
            course_by(spec, upgrade),
            standstill=f"{still.says} until: {still.end}" if still else "",
            rolls_to=operation.to_revision,
            back_to=operation.from_revision,
            service=service.address if service else "",
        )
    if operation.halts:
        return Course(upgrade=Upgrade(max_unavailable=operation.together))
    asked = replace(
        upgrade, max_unavailable=operation.together, max_unavailable_percent=None, walking=Walking.AUTO, canary=0
    )
    return course_by(spec, asked)


def _told(before: Operation, after: Operation, now_s: float) -> list[Event]:
    """What the ledger says of it: its end, and that it waits for somebody."""
    if after.progress is not Progress.RUNNING:
        told = f"{after.verb} {after.progress}: {after.message}"
    elif after.walk.broken and not before.walk.broken:
        told = f"{after.verb} goes back: {after.walk.broken}"
    elif after.walk.asks and not before.walk.asks:
        told = after.message
    else:
        return []
    return [Event(at_s=now_s, subject=after.subject, message=told)]


def _go_back(present: Present, host: Host, broken: Rollout, goes_back: GoesBack | None) -> float:
    """Has the service taken back, which ends the rollout; else it is halted. Returns when to look again (seconds)."""
    why_not = "nobody takes it back"
    service = present.find(Service, broken.service)
    if goes_back is not None and service is not None:
        try:
            goes_back(service.address, broken.from_revision, service.revision)  # No swap may come in between.
        except StaleRevision:
            return 0.0
        except (Conflict, NotFound, InvalidInput) as error:
            why_not = str(of_error(error))
    after = present.find(Rollout, broken.id)
    if after is None or after.progress is not Progress.RUNNING:
        return NEVER_S
    halted = replace(after, progress=Progress.FAILED, message=f"{broken.walk.broken}; it cannot go back: {why_not}")
    present.commit([records.put(halted)], _told(broken.operation, halted.operation, host.machine.clock.now_s()))
    return NEVER_S


def _is_of_another(rollout_: Rollout, present: Present) -> bool:
    """Whether its service is gone: one of the same name is none of its business."""
    service = present.find(Service, rollout_.service)
    return service is None or service.uid != rollout_.service_uid
