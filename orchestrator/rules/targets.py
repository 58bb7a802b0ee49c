"""What a verb makes of an instance: the incarnation, the storage, the count of stops that are wished. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.model import Goal, Incarnation, Instance, Operation, Verb


def goal(operation: Operation, number: int, instance: Instance) -> Goal:
    """What the operation makes of the goal of its target of that number; the goal itself when that is so already."""
    goal, (_, wanted) = instance.goal, operation.targets[number]
    if operation.halts:
        return replace(goal, halts=max(goal.halts, operation.halts[number]))
    if not operation.storage:
        if operation.verb is not Verb.RESTART and instance.stale and goal.wanted.generation <= instance.generation:
            wanted = max(wanted, Incarnation(instance.generation + 1, 1))  # Healing has renewed it as it was.
        cold = max(goal.cold, wanted.generation) if operation.cold else goal.cold
        return replace(goal, wanted=max(goal.wanted, wanted), cold=cold)
    if goal.storage >= (storage := operation.storage[number]):
        return goal
    # A reimage that is under way may have laid the old storage already: the generation after it is sure to be new.
    return replace(goal, wanted=Incarnation(max(instance.generation, goal.wanted.generation) + 1, 1), storage=storage)


def left_off(operation: Operation, number: int, instance: Instance) -> bool:
    """Whether the operation has nothing to do with the instance now: it is stopped, or somebody has asked for its
    stop or start since. What a VM is built from it takes when it is started.
    """
    if operation.halts:
        return instance.goal.halts > operation.halts[number]
    return not instance.goal.runs


def reached(operation: Operation, number: int, instance: Instance) -> bool:
    """Whether the instance is where the operation wants it."""
    if operation.verb is Verb.STOP:
        return instance.is_off
    if not instance.serving:
        return False
    if operation.verb is Verb.START:
        return True
    if operation.storage:
        return instance.at >= instance.goal.wanted and instance.storage >= instance.goal.storage
    return instance.at >= operation.targets[number][1]


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
        runs = instance.goal.runs and not instance.phase.traits.goes_off
        return instance.at if runs else Incarnation(instance.generation, instance.boot + 1)
    if verb is Verb.RESTART:
        return Incarnation(instance.generation, max(instance.boot, 1) + 1)
    return Incarnation(instance.generation + 1, 1)
