"""Pure decisions about operations: which instances an operation lets go next, and when it halts or is over.

State in, decision out: `control` reads the records, writes what is decided, and comes again. A rollout walks by the
service's `Upgrade`; restarts, reimages and rebuilds of several instances do as well.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.errors import Conflict, Whose
from orchestrator.model import (
    Instance,
    InstanceName,
    OnFailure,
    Operation,
    Progress,
    Upgrade,
    Verb,
    Walking,
)
from orchestrator.model.cause import TURN
from orchestrator.rules.standing import (
    LATER,
    OVER,
    TROUBLE,
    At,
    Course,
    Target,
    due_s,
    in_order,
    is_out,
    serves_nobody,
    survey,
)

SOON_S = 1.0
LATER_S = 3600.0
_NAMED_MOST = 3  # in a sentence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What becomes of an operation in this moment."""

    operation: Operation  # as it stands now
    changed: tuple[Instance, ...] = ()  # with the goals that it gives them
    again_s: float = LATER_S  # when it has to be looked at again, though nothing happens until then


def advance(
    operation: Operation, instances: Mapping[InstanceName, Instance], course: Course | None = None, now_s: float = 0.0
) -> Advance:
    """How the operation goes on.

    An instance that serves goes only while its role misses fewer than it may, whoever took the others out, and when
    all of the domains before its own have served for as long as they must. The first that fails, or serves no longer
    while it is watched, halts the operation: the others keep what they have.
    """
    if operation.walk.broken:
        return Advance(operation=operation)
    course = course or Course(upgrade=Upgrade(max_unavailable=operation.together))
    seen = survey(operation, instances, course, now_s)
    walked = tuple(one.walked for one in seen if one.walked is not None)
    operation = replace(operation, walk=replace(operation.walk, walked=walked, unreleased=""))
    if course.rolls_to:
        operation = replace(operation, together=course.together(one.role for one in seen))
    moved, changed = _decided(operation, seen, instances, course)
    return Advance(operation=moved, changed=changed, again_s=_again_s(seen, course.upgrade, now_s))


def _decided(
    operation: Operation, seen: Sequence[Target], instances: Mapping[InstanceName, Instance], course: Course
) -> tuple[Operation, tuple[Instance, ...]]:
    if any(one.at in TROUBLE for one in seen):
        return _broken_off(operation, seen, instances, course), ()
    so_far = _so_far(operation, seen)
    if operation.halts or operation.verb is Verb.RESTART:
        at_start = []
    else:
        at_start = [(one.instance, one.goal) for one in seen if one.at in LATER and one.instance and one.goal]
    asleep = [replace(instance, goal=goal) for instance, goal in at_start if goal != instance.goal]
    waiting = [one for one in seen if one.at is At.WAITING]
    held = "paused" if operation.paused else course.standstill
    if held and (waiting or asleep):
        return replace(operation, message=f"{so_far}; {held}, {len(waiting) + len(asleep)} not begun"), ()
    if waiting and _tried_out(operation, seen, course):
        return _asking(operation, so_far, len(waiting), course), ()
    walk = parts(operation, seen, course.upgrade)
    front = _front(walk)
    if front is None:
        return replace(operation, progress=Progress.DONE, message=so_far), tuple(asleep)
    unreleased = course.upgrade.walking is Walking.MANUAL and front >= operation.walk.released
    if unreleased and _waits(walk[front][1]):
        return _unreleased(operation, so_far, *walk[front], course), tuple(asleep)
    going, held_up = _next(operation, walk, front, seen, instances, course)
    changed = [replace(one.instance, goal=one.goal) for one in going if one.instance and one.goal]
    return replace(operation, message=so_far + held_up), (*changed, *asleep)


def _again_s(seen: Sequence[Target], upgrade: Upgrade, now_s: float) -> float:
    times = [LATER_S]
    for one in seen:
        if one.at is At.SOAKING and one.instance:
            times.append(one.instance.phase_since_s + upgrade.soak_s - now_s)
        elif one.at is At.UNDER_WAY and one.instance and one.walked and upgrade.within_s is not None:
            times.append(due_s(one.walked, one.instance, upgrade.within_s) - now_s)
    return max(min(times), SOON_S)


# Who goes next -----------------------------------------------------------------------------------------------


def parts(operation: Operation, seen: Sequence[Target], upgrade: Upgrade) -> list[tuple[str, list[Target]]]:
    """The targets in the order in which they go: a part begins when the one before it is over. Each with its name."""
    canaries = set(operation.walk.canaries)
    ordered = in_order(seen, upgrade)
    named: dict[str, list[Target]] = {"the canary": [one for one in ordered if one.name in canaries]}
    for one in ordered:
        if one.name not in canaries:
            domain = upgrade.domain(one.index)
            named.setdefault("all" if domain is None else f"domain {domain}", []).append(one)
    return [(name, part) for name, part in named.items() if part]


def _front(walk: Sequence[tuple[str, list[Target]]]) -> int | None:
    """The first part that is not over; None when all are."""
    return next((number for number, (_, part) in enumerate(walk) if any(one.at not in OVER for one in part)), None)


def _waits(part: Sequence[Target]) -> bool:
    """Whether there is somebody to let go: a verb that somebody asked for may have begun all of it."""
    return any(one.at is At.WAITING for one in part)


def _next(
    operation: Operation,
    walk: Sequence[tuple[str, list[Target]]],
    front: int,
    seen: Sequence[Target],
    instances: Mapping[InstanceName, Instance],
    course: Course,
) -> tuple[list[Target], str]:
    """Who of the part in front is begun now, and in words what keeps others from that."""
    upgrade = course.upgrade
    name, part = walk[front]
    where = f"; {name}" if len(walk) > 1 else ""
    waiting = [one for one in part if one.at is At.WAITING]
    if upgrade.walking is Walking.AUTO and name != "the canary":
        later = [one for _, after in walk[front + 1 :] for one in after if one.at is At.WAITING]
        waiting += [one for one in later if one.instance and one.instance.has_failed]
    waiting.sort(key=lambda one: not serves_nobody(one))  # Those that serve nobody go first: nobody misses them.
    going, out = _within_budget(operation, waiting, seen, instances, course)
    watched = [one for one in seen if one.at is At.SOAKING]
    if watched and not going:
        where += f"; {_names(watched)} must serve for {upgrade.soak_s:g} s"
    if out and waiting and not going:
        where += f"; waits until {', '.join(out[:_NAMED_MOST])} serves again{_hint(out, instances, course)}"
    return going, where


def _within_budget(
    operation: Operation,
    waiting: Sequence[Target],
    seen: Sequence[Target],
    instances: Mapping[InstanceName, Instance],
    course: Course,
) -> tuple[list[Target], list[InstanceName]]:
    """Of those that wait, as many as may go; and who else is out meanwhile."""
    most = course.together(one.role for one in seen)
    soaks = (At.UNDER_WAY, At.SOAKING) if course.upgrade.domains is None else (At.UNDER_WAY,)
    under_way = {one.name: one.role for one in seen if one.at in soaks}
    others = {} if operation.halts else _out_by_others(operation, seen, instances, course)
    out = {**others, **under_way}
    going: list[Target] = []
    for one in waiting:
        if len(under_way) + len(going) >= most:
            break
        if not operation.halts and not serves_nobody(one):
            missed = sum(role == one.role for role in out.values())
            if missed >= course.may_miss(one.role) or len(out) >= most:
                continue
        going.append(one)
        out[one.name] = one.role
    begun = {one.name for one in going}
    return going, [name for name in others if name not in under_way and name not in begun]


def _out_by_others(
    operation: Operation, seen: Sequence[Target], instances: Mapping[InstanceName, Instance], course: Course
) -> dict[InstanceName, str]:
    """Instances of the same roles that serve nobody, or will not in a moment, each with its role. What is protected
    or leased holds up nobody. Who asks for one instance by its name has seen which others have failed.
    """
    roles = {one.role for one in seen}
    counts_failed = len(operation.targets) > 1 or course.rolls_to > 0
    return {
        one.name: one.role_name
        for one in instances.values()
        if one.role_name in roles
        and one.goal.serve
        and one.goal.runs
        and not one.goal.protected
        and not one.leased
        and is_out(one)
        and (counts_failed or not one.has_failed or one.goal.wanted > one.at)
    }


def _hint(out: Sequence[InstanceName], instances: Mapping[InstanceName, Instance], course: Course) -> str:
    failed = next((name for name in out if instances[name].has_failed), None)
    if failed is None:
        return ""
    return f" ({failed} has failed: vmrole reimage {failed}, or raise {course.kept_by(instances[failed].role_name)})"


# What it comes to --------------------------------------------------------------------------------------------


def _tried_out(operation: Operation, seen: Sequence[Target], course: Course) -> bool:
    """Whether the canaries have served for as long as they must, and nobody has said yet what comes of that."""
    walk = operation.walk
    if not walk.canaries or walk.judged or course.upgrade.walking is Walking.MANUAL:
        return False
    return all(one.at in OVER for one in seen if one.name in walk.canaries)


def _called(operation: Operation, course: Course) -> str:
    return course.service or operation.service


def _asking(operation: Operation, so_far: str, left: int, course: Course) -> Operation:
    resume = f"vmrole rollout resume {_called(operation, course)}"
    words = f"{so_far}; the canary serves; paused, {left} not begun until: {resume}"
    return replace(operation, paused=True, walk=replace(operation.walk, asks=True), message=words)


def _unreleased(operation: Operation, so_far: str, name: str, part: Sequence[Target], course: Course) -> Operation:
    waiting = [one for one in part if one.at is At.WAITING]
    words = f"{so_far}; {name} ({_names(waiting)}) waits for: vmrole rollout next {_called(operation, course)}"
    return replace(operation, walk=replace(operation.walk, unreleased=name), message=words)


def _so_far(operation: Operation, seen: Sequence[Target]) -> str:
    """How many targets are where they shall be."""
    counts = {at: sum(one.at is at for one in seen) for at in At}
    serving = counts[At.DONE] + counts[At.SOAKING]
    parts = [f"{serving} of {len(seen)} {'stopped' if operation.verb is Verb.STOP else 'serving'}"]
    if counts[At.REMOVED]:
        parts.append(f"{counts[At.REMOVED]} removed meanwhile")
    if counts[At.OFF] and operation.halts:
        parts.append(f"{counts[At.OFF]} asked otherwise meanwhile")
    elif counts[At.OFF]:
        they = "it is" if counts[At.OFF] == 1 else "they are"
        how = "left so" if operation.verb is Verb.RESTART else f"made anew when {they} started"
        parts.append(f"{counts[At.OFF]} stopped and {how}")
    if counts[At.LEASED]:
        later = operation.halts or operation.verb is Verb.RESTART
        how = "left as they are" if later else "made anew when their leases end"
        parts.append(f"{counts[At.LEASED]} leased and {how}")
    if counts[At.PROTECTED]:
        as_it_is = "as it is" if counts[At.PROTECTED] == 1 else "as they are"
        parts.append(f"{counts[At.PROTECTED]} protected and left {as_it_is}")
    return ", ".join(parts)


def _broken_off(
    operation: Operation, seen: Sequence[Target], instances: Mapping[InstanceName, Instance], course: Course
) -> Operation:
    """It goes back where that was asked for and can be; else it is halted, with what there is to say and to do."""
    bad = [one for one in seen if one.at in TROUBLE]
    because = "; ".join(f"{one.name}: {_fault(one, course.upgrade)}" for one in bad)
    if not course.rolls_to:
        return replace(operation, progress=Progress.FAILED, message=because)
    because += f". {_whose(bad, seen, instances)}"
    if course.upgrade.on_failure is OnFailure.UNDO and course.back_to:
        return replace(operation, walk=replace(operation.walk, broken=because), message=f"{because}; it goes back")
    left = sum(one.at is At.WAITING for one in seen)
    changed = sum(one.at not in (At.WAITING, At.REMOVED, At.PROTECTED, *LATER) for one in seen)
    service = _called(operation, course)
    resume = f"vmrole rollout resume {service} takes up the failed, then the {left} that are left"
    undo = f"vmrole rollout undo {service} takes the {changed} that were changed back"
    undo += f" to revision {course.back_to}" if course.back_to else ""
    return replace(operation, progress=Progress.FAILED, message=f"{because}; {resume}; {undo}")


def _fault(target: Target, upgrade: Upgrade) -> str:
    assert target.instance is not None
    match target.at:
        case At.LAPSED:
            why = target.instance.failure or target.instance.waiting or target.instance.phase
            return f"it served, and is unwell before it has done so for {upgrade.soak_s:g} s: {why}"
        case At.LATE:
            return f"it does not serve {upgrade.within_s:g} s after it was begun: {target.instance.waiting or '?'}"
        case _:
            return target.instance.failure


def _whose(bad: Sequence[Target], seen: Sequence[Target], instances: Mapping[InstanceName, Instance]) -> str:
    """Whose cause it is, as far as the records tell."""
    changed = {one.name for one in seen if one.at is not At.WAITING}
    roles = {one.role for one in bad}
    alike = [
        one.name
        for one in instances.values()
        if one.role_name in roles and one.name not in changed and one.goal.serve and one.goal.runs
        if one.has_failed or one.unwell_since_s
    ]
    if alike:
        return f"It is hardly the change: {_named(alike)} is ill as well, and was not changed"
    match _turns(bad):
        case [Whose.HOST | Whose.BALANCER as whose]:
            return f"{TURN[whose]}: the instance cannot help it"
        case [Whose.IMAGE | Whose.ANSWERS as whose]:
            return f"{TURN[whose]}: as they are, another try would fail as well"
        case [None] if any(one.instance and one.instance.sick_since_s for one in bad):
            return f"{TURN[Whose.HOST]}: the instance cannot help it"
        case _:
            pass
    if not all(one.instance and one.instance.set_up for one in bad):
        return "It is the image's or the answers' turn: setup was not completed"
    if all(one.instance and one.instance.only_probe for one in bad):
        return f"{TURN[Whose.SERVICE]}: the guest and what starts by itself in it are well, and the probe fails"
    return f"{TURN[Whose.GUEST]}: setup was completed, what starts in it does not serve"


def _turns(bad: Sequence[Target]) -> list[Whose | None]:
    """Whose turn it is with each of them, by the cause of its failure, else of its waiting; each but once."""
    causes = [one.instance.cause or one.instance.failed_by for one in bad if one.instance]
    return list({cause.whose if cause else None: None for cause in causes})


def _names(those: Sequence[Target]) -> str:
    return _named([one.name for one in those])


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED_MOST]) + (", …" if len(names) > _NAMED_MOST else "")


# Somebody lets it go -----------------------------------------------------------------------------------------


def release(
    operation: Operation, instances: Mapping[InstanceName, Instance], course: Course, now_s: float
) -> tuple[str, Operation]:
    """The operation with its next part let go, and what that part is called; raises Conflict where none waits."""
    service = _called(operation, course)
    if course.upgrade.walking is not Walking.MANUAL:
        hint = f"to have it wait before each domain: upgrade: {{mode: manual}}; or: vmrole rollout pause {service}"
        raise Conflict(f"the rollout of service {service} goes on by itself", hint=hint)
    if operation.paused:
        raise Conflict(f"the rollout of service {service} is paused", hint=f"run: vmrole rollout resume {service}")
    walk = parts(operation, survey(operation, instances, course, now_s), course.upgrade)
    front = _front(walk)
    if front is None:
        raise Conflict(f"nothing of the rollout of service {service} waits", hint=f"run: vmrole wait {service}")
    name, part = walk[front]
    left = [one for one in part if one.at not in OVER]
    if front < operation.walk.released or not _waits(part):
        why_not = f"{name} is under way: {_names(left)}"
        raise Conflict(why_not, hint=f"when it is done; ask: vmrole rollout status {service}")
    return name, replace(operation, walk=replace(operation.walk, released=front + 1, unreleased=""))
