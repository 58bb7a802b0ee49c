"""Pure decisions about operations: which instances an operation lets go next, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator import lifecycle
from orchestrator.model import Goal, Incarnation, Instance, InstanceName, Operation, Phase, Progress, Verb


def advance(
    operation: Operation, instances: Mapping[InstanceName, Instance]
) -> tuple[Operation, tuple[Instance, ...]]:
    """The operation as it stands now, and the instances whose goal it changes in this moment.

    At most `together` instances of a role are out at once, whoever took them out; the next one goes only when those
    before it serve again. The first that fails halts the operation: the others keep what they have.
    """
    under_way: list[Instance] = []
    waiting: list[tuple[Instance, Goal]] = []
    at_start: list[Instance] = []
    done = removed = stopped = protected = 0
    for number, (name, wanted) in enumerate(operation.targets):
        instance = instances.get(name)
        goal = _goal(operation, number, instance, wanted) if instance is not None else None
        if instance is None or goal is None or not instance.goal.serve:
            removed += 1  # There is nothing left to do for it.
        elif instance.goal.protected:
            protected += 1
        elif _left_off(operation, number, instance):
            stopped += 1
            if goal != instance.goal and operation.verb is not Verb.RESTART:
                at_start.append(replace(instance, goal=goal))
        elif goal != instance.goal:
            waiting.append((instance, goal))
        elif _reached(operation, instance, wanted):
            done += 1
        else:
            under_way.append(instance)
    # One whose goal calls it out of FAILED failed before it was asked; its next turn has yet to begin.
    failed = [one for one in under_way if one.phase is Phase.FAILED and _in_vain(operation, one)]
    if failed:
        because = "; ".join(f"{instance.name}: {instance.failure}" for instance in failed)
        return replace(operation, progress=Progress.FAILED, message=because), ()
    so_far = _so_far(operation, done, removed, stopped)
    so_far += f", {protected} protected and left as they are" if protected else ""
    if operation.paused and (waiting or at_start):
        return replace(operation, message=f"{so_far}; paused, {len(waiting) + len(at_start)} not begun"), ()
    if done + removed + stopped + protected == len(operation.targets):
        return replace(operation, progress=Progress.DONE, message=so_far), tuple(at_start)
    # Those that serve nobody go first: nobody misses them.
    waiting.sort(key=lambda one: not _out(one[0]))
    others = [] if operation.halts else _out_by_others(instances, under_way, [one for one, _ in waiting])
    going = waiting[: max(0, operation.together - len(under_way) - len(others))]
    changed = tuple(replace(instance, goal=goal) for instance, goal in going)
    held_up = f"; waits until {', '.join(others[:3])} serves again" if others and waiting and not going else ""
    return replace(operation, message=f"{so_far}{held_up}"), (*changed, *at_start)


def _in_vain(operation: Operation, failed: Instance) -> bool:
    """Whether it failed at what the operation asked. What failed before that while it was leaving is tried again."""
    if failed.retry_at_s:
        return failed.phase_since_s >= operation.created_at_s
    return not lifecycle.detour(failed)


def _left_off(operation: Operation, number: int, instance: Instance) -> bool:
    """Whether the operation has nothing to do with the instance now: it is stopped, or somebody has asked for its
    stop or start since. What a VM is built from it takes when it is started.
    """
    if operation.halts:
        return instance.goal.halts > operation.halts[number]
    return not instance.goal.runs


def _so_far(operation: Operation, done: int, removed: int, stopped: int) -> str:
    """How many targets are where they shall be."""
    parts = [f"{done} of {len(operation.targets)} {'stopped' if operation.verb is Verb.STOP else 'serving'}"]
    if removed:
        parts.append(f"{removed} removed meanwhile")
    if stopped and operation.halts:
        parts.append(f"{stopped} asked otherwise meanwhile")
    elif stopped:
        how = "left so" if operation.verb is Verb.RESTART else "made anew when they are started"
        parts.append(f"{stopped} stopped and {how}")
    return ", ".join(parts)


def _goal(operation: Operation, number: int, instance: Instance, wanted: Incarnation) -> Goal:
    """What the operation makes of an instance's goal; the goal itself when that has been asked for already."""
    goal = instance.goal
    if operation.halts:
        return replace(goal, halts=max(goal.halts, operation.halts[number]))
    if not operation.storage:
        if operation.verb is not Verb.RESTART and instance.stale and goal.wanted.generation <= instance.generation:
            wanted = max(wanted, Incarnation(instance.generation + 1, 1))  # Healing has renewed it as it was.
        return replace(goal, wanted=max(goal.wanted, wanted))
    if goal.storage >= (storage := operation.storage[number]):
        return goal
    # A reimage that is under way may have laid the old storage already: the generation after it is sure to be new.
    return replace(goal, wanted=Incarnation(max(instance.generation, goal.wanted.generation) + 1, 1), storage=storage)


def _reached(operation: Operation, instance: Instance, wanted: Incarnation) -> bool:
    if operation.verb is Verb.STOP:
        return instance.phase is Phase.STOPPED
    if instance.phase is not Phase.SERVING:
        return False
    if operation.verb is Verb.START:
        return True
    if operation.storage:
        return instance.at >= instance.goal.wanted and instance.storage >= instance.goal.storage
    return instance.at >= wanted


def _out_by_others(
    instances: Mapping[InstanceName, Instance], under_way: list[Instance], waiting: list[Instance]
) -> list[InstanceName]:
    """Instances of the same roles that are on their way back into rotation. What has failed is on no way."""
    roles = {one.role_name for one in (*under_way, *waiting)}
    known = {one.name for one in (*under_way, *waiting)}
    return [
        one.name
        for one in instances.values()
        if one.role_name in roles
        and one.name not in known
        and one.goal.serve
        and one.goal.runs
        and not one.goal.protected
        and _out(one)
        and not (one.phase is Phase.FAILED and one.goal.wanted <= one.at)
    ]


def _out(instance: Instance) -> bool:
    """Whether it serves nobody, or will not in a moment: its next turn takes it out."""
    return instance.phase is not Phase.SERVING or instance.goal.wanted > instance.at


def storage(instance: Instance) -> int:
    """How often local storage has been made new when a rebuild is done; one that is asked for already is the same."""
    return instance.goal.storage + (1 if instance.storage >= instance.goal.storage else 0)


def halts(verb: Verb, instance: Instance, running: Sequence[Operation]) -> int:
    """What a stop or start makes of an instance's count of them, after those that are asked for already."""
    pending = [
        one.halts[number]
        for one in running
        for number, (name, _) in enumerate(one.targets)
        if one.halts and name == instance.name
    ]
    now = max([instance.goal.halts, *pending])
    return now + (now % 2 != (verb is Verb.STOP))


def target(verb: Verb, instance: Instance) -> Incarnation:
    """What the verb makes of an instance: the next boot, or the next generation; a repeated request is harmless."""
    if verb is Verb.STOP:
        return instance.at
    if verb is Verb.START:
        runs = instance.goal.runs and instance.phase not in (Phase.HALTING, Phase.STOPPED)
        return instance.at if runs else Incarnation(instance.generation, instance.boot + 1)
    if verb is Verb.RESTART:
        return Incarnation(instance.generation, max(instance.boot, 1) + 1)
    return Incarnation(instance.generation + 1, 1)
