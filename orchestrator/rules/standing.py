"""How far an operation is with each of its targets, as the records show it. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.model import (
    Goal,
    Healing,
    Instance,
    InstanceName,
    Operation,
    Order,
    ServiceSpec,
    Upgrade,
    Walked,
    place_of,
)
from orchestrator.rules import targets


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """By what an operation walks: the service's wishes, how many instances each role has and what may be missing of
    it by all our doings, whence and whither.
    """

    upgrade: Upgrade = dataclasses.field(default_factory=Upgrade)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    healing: Mapping[str, Healing] = dataclasses.field(default_factory=dict)
    rolls_to: int = 0  # the revision that a rollout goes to; 0: it is a verb that somebody asked for
    back_to: int = 0  # the revision that an undo would go back to; 0: there is none
    service: str = ""  # what its user calls it
    standstill: str = ""  # why nobody is begun, in words: automation is paused

    def may_miss(self, role: str) -> int:
        """How many instances of the role may serve nobody at a time: what its `healing` says is never exceeded."""
        own, bound = self.upgrade.may_miss(self.counts.get(role, 1)), self._bound(role)
        return own if bound is None else min(own, bound)

    def kept_by(self, role: str) -> str:
        """Which key of the service's file says how many of the role that are."""
        bound = self._bound(role)
        own = bound is None or self.upgrade.may_miss(self.counts.get(role, 1)) < bound
        return "upgrade.maxUnavailable" if own else f"healing.maxUnavailable of {role}"

    def together(self, roles: Iterable[str]) -> int:
        """How many instances of these roles may be under way at a time."""
        return max(map(self.may_miss, roles), default=1)

    def _bound(self, role: str) -> int | None:
        return self.healing[role].bound(self.counts.get(role, 1)) if role in self.healing else None


def course_by(spec: ServiceSpec | None, upgrade: Upgrade | None = None) -> Course:
    """As the service's file says, or with another `upgrade` than the file's; without a service as ever."""
    roles = spec.roles if spec is not None else ()
    return Course(
        upgrade=upgrade or (spec.upgrade if spec is not None else Upgrade()),
        counts={role.name: role.instances for role in roles},
        healing={role.name: role.healing for role in roles},
    )


class At(enum.Enum):
    """How far a target is."""

    REMOVED = enum.auto()
    PROTECTED = enum.auto()
    OFF = enum.auto()  # stopped by somebody: it takes at its start what it shall be built from
    LEASED = enum.auto()  # a client has it: it takes at the lease's end what it shall be built from
    DONE = enum.auto()
    WAITING = enum.auto()  # not begun
    UNDER_WAY = enum.auto()
    SOAKING = enum.auto()  # serves as it shall, and not for long enough
    FAILED = enum.auto()
    LAPSED = enum.auto()  # served as it shall, and does not any more before that was for long enough
    LATE = enum.auto()


NEXT = {
    At.WAITING: (At.UNDER_WAY, At.OFF, At.LEASED, At.PROTECTED, At.REMOVED),
    At.UNDER_WAY: (At.SOAKING, At.FAILED, At.LATE, At.OFF, At.REMOVED),
    At.SOAKING: (At.DONE, At.LAPSED, At.OFF, At.LEASED, At.REMOVED),
    At.OFF: (At.WAITING,),
    At.LEASED: (At.WAITING,),
    At.PROTECTED: (At.WAITING,),
}
"""Where a target may come to next, as far as people need to know; for the picture in docs/rollouts.md."""

OVER = (At.REMOVED, At.PROTECTED, At.OFF, At.LEASED, At.DONE)
LATER = (At.OFF, At.LEASED)  # what a VM is built from they take later
TROUBLE = (At.FAILED, At.LAPSED, At.LATE)


def picture() -> str:
    """The states of a target as a mermaid state diagram; docs/rollouts.md holds it and a test compares the two."""
    lines = ["stateDiagram-v2", "    [*] --> waiting"]
    lines += [f"    {_word(at)} --> {_word(then)}" for at, after in NEXT.items() for then in after]
    lines += [f"    {_word(at)} --> halted" for at in TROUBLE]
    return "\n".join([*lines, "    done --> [*]"])


def _word(at: At) -> str:
    return at.name.lower()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One of an operation's targets as it stands now."""

    name: InstanceName
    at: At
    instance: Instance | None = None
    goal: Goal | None = None  # what the operation would make of its goal
    walked: Walked | None = None

    @property
    def role(self) -> str:
        """Of which role it is."""
        return place_of(self.name)[0]

    @property
    def index(self) -> int:
        """Its number in the role."""
        return place_of(self.name)[1]


def survey(
    operation: Operation, instances: Mapping[InstanceName, Instance], course: Course, now_s: float
) -> list[Target]:
    """How far each target is, in the operation's order."""
    walked = {one.name: one for one in operation.walk.walked}
    return [
        _target(operation, number, instances.get(name), walked.get(name), course.upgrade, now_s)
        for number, (name, _) in enumerate(operation.targets)
    ]


def _target(
    operation: Operation,
    number: int,
    instance: Instance | None,
    before: Walked | None,
    upgrade: Upgrade,
    now_s: float,
) -> Target:
    name = operation.targets[number][0]
    if instance is None or not instance.goal.serve:
        return Target(name=name, at=At.REMOVED)
    goal = targets.goal(operation, number, instance)
    target = Target(name=name, at=At.WAITING, instance=instance, goal=goal, walked=before)
    if instance.goal.protected:
        return replace(target, at=At.PROTECTED)
    if targets.left_off(operation, number, instance):
        return replace(target, at=At.OFF)
    if instance.leased and not (before is not None and before.done):
        return replace(target, at=At.LEASED)
    done = before is not None and before.done
    if goal != instance.goal and not done:
        return target
    if instance.has_failed and _in_vain(operation, instance):
        return replace(target, at=At.FAILED)
    if done:
        return replace(target, at=At.DONE)
    here = before or Walked(name=name, begun_at_s=now_s)
    if targets.reached(operation, number, instance):
        at = _soaked(instance, upgrade, now_s)
        return replace(target, at=at, walked=replace(here, served=True, done=at is At.DONE))
    if here.served and _asked_away(instance):
        here = replace(here, served=False)
    if here.served and upgrade.soak_s:
        return replace(target, at=At.LAPSED, walked=here)
    late = upgrade.within_s is not None and now_s > due_s(here, instance, upgrade.within_s)
    return replace(target, at=At.LATE if late and not instance.sick_since_s else At.UNDER_WAY, walked=here)


def is_waiting(operation: Operation, number: int, instance: Instance) -> bool:
    """Whether the operation has yet to begin with its target of that number."""
    seen = _target(operation, number, instance, _walked(operation, instance.name), Upgrade(), 0.0)
    return seen.at is At.WAITING


def _walked(operation: Operation, name: InstanceName) -> Walked | None:
    return next((one for one in operation.walk.walked if one.name == name), None)


def _soaked(instance: Instance, upgrade: Upgrade, now_s: float) -> At:
    if not upgrade.soak_s:
        return At.DONE
    if instance.unwell_since_s:
        return At.LAPSED
    return At.DONE if now_s - instance.phase_since_s >= upgrade.soak_s else At.SOAKING


def due_s(walked: Walked, instance: Instance, within_s: float) -> float:
    """When it is late: the time in which it could not help waiting does not count."""
    return walked.begun_at_s + within_s + instance.sick_s


def _asked_away(instance: Instance) -> bool:
    return instance.goal.wanted > instance.at or not instance.goal.runs


def _in_vain(operation: Operation, failed: Instance) -> bool:
    """Whether it failed at what the operation asked.

    One whose goal calls it out of FAILED failed before it was asked: its next turn has yet to begin. What failed
    before that while it was leaving is tried again.
    """
    if failed.retry_at_s:
        return failed.phase_since_s >= operation.created_at_s
    return not (failed.going or not failed.goal.runs or (failed.restart_asked and failed.set_up))


def in_order(seen: Sequence[Target], upgrade: Upgrade) -> list[Target]:
    """By domain, by role as they came, by index."""
    roles = list(dict.fromkeys(one.role for one in seen))
    sign = -1 if upgrade.order is Order.DESCENDING else 1

    def place(one: Target) -> tuple[int, int, int]:
        return sign * (upgrade.domain(one.index) or 0), roles.index(one.role), sign * one.index

    return sorted(seen, key=place)


def is_out(instance: Instance) -> bool:
    """Whether it serves nobody, or will not in a moment: its next turn takes it out."""
    called_away = instance.goal.wanted > instance.at and not instance.goal.protected
    return not instance.available or called_away


def serves_nobody(target: Target) -> bool:
    """Whether the target is out."""
    return target.instance is not None and is_out(target.instance)
