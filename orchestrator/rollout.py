"""Pure decisions about operations: which instances an operation lets go next, and when it is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from orchestrator import lifecycle
from orchestrator.model import Incarnation, Instance, InstanceName, Operation, Phase, Progress, Verb


def advance(
    operation: Operation, instances: Mapping[InstanceName, Instance]
) -> tuple[Operation, tuple[Instance, ...]]:
    """The operation as it stands now, and the instances whose goal it changes in this moment.

    At most `together` instances are under way at once; the next one goes only when those before it serve again.
    The first that fails halts the operation: the others keep what they have.
    """
    under_way: list[Instance] = []
    waiting: list[tuple[Instance, Incarnation]] = []
    done = 0
    for name, wanted in operation.targets:
        instance = instances.get(name)
        if instance is None or not instance.goal.serve:
            done += 1  # Removed meanwhile: there is nothing left to do for it.
        elif instance.goal.wanted < wanted:
            waiting.append((instance, wanted))
        elif instance.at >= wanted and instance.phase is Phase.SERVING:
            done += 1
        else:
            under_way.append(instance)
    # One whose goal calls it out of FAILED failed before it was asked; its next turn has yet to begin.
    failed = [one for one in under_way if one.phase is Phase.FAILED and lifecycle.detour(one) is None]
    if failed:
        because = "; ".join(f"{instance.name}: {instance.failure}" for instance in failed)
        return replace(operation, progress=Progress.FAILED, message=because), ()
    if done == len(operation.targets):
        return replace(operation, progress=Progress.DONE, message=f"{done} of {done} serving"), ()
    going = waiting[: max(0, operation.together - len(under_way))]
    changed = tuple(_with_goal(instance, operation.verb, wanted) for instance, wanted in going)
    return replace(operation, message=f"{done} of {len(operation.targets)} serving"), changed


def _with_goal(instance: Instance, verb: Verb, wanted: Incarnation) -> Instance:
    storage = instance.goal.storage + (1 if verb is Verb.REBUILD else 0)
    return replace(instance, goal=replace(instance.goal, wanted=wanted, storage=storage))


def target(verb: Verb, instance: Instance) -> Incarnation:
    """What the verb makes of an instance: the next boot, or the next generation; a repeated request is harmless."""
    if verb is Verb.RESTART:
        return Incarnation(instance.generation, max(instance.boot, 1) + 1)
    return Incarnation(instance.generation + 1, 1)
