"""Whether an instance may be healed now, seen beside the others of its role. Pure: the fleet in, a verdict out.

Healing destroys: a restart takes connections, a reimage the system disk. Where most instances of a role are ill at
the same time, their common cause lies elsewhere (a database, a network, a bad release), and more of it mends nothing.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable

from orchestrator import lifecycle
from orchestrator.model import Cause, Instance, InstanceName
from orchestrator.model.cause import Kind

_NAMED_MOST = 3  # in a sentence
TOGETHER_MIN = 2  # So many ill instances at least, and more than half of the role, are ill together.
TOGETHER_S = 900.0  # What failed longer ago than this does not fall ill together with what falls ill now.


class Verdict(enum.StrEnum):
    """What the fleet says to the healing of one of its instances."""

    HEAL = "heal"  # the next rung of the ladder
    TURN = "turn"  # another one of the role is being healed: when that is over
    HOLD = "hold"  # most of the role are ill: nothing is done to this one until they are not
    LEAVE = "leave"  # the same, of one that has not served yet: it is failed, and tried again later


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict, and the other instances that it rests on, by name."""

    verdict: Verdict
    others: tuple[InstanceName, ...] = ()
    of: int = 1  # how many instances the role has


def judge(instance: Instance, everyone: Iterable[Instance], now_s: float) -> Judgement:
    """What is to be done about an instance that is ill, among all instances there are."""
    fellows = [one for one in everyone if _fellow(one, instance)]
    ill = tuple(one.name for one in fellows if is_ill(one, now_s))
    size = len(fellows) + 1
    if together(len(ill) + 1, size):
        served = instance.set_up and instance.served_at_s
        return Judgement(verdict=Verdict.HOLD if served else Verdict.LEAVE, others=ill, of=size)
    if healed := ahead(instance, fellows):
        return Judgement(verdict=Verdict.TURN, others=healed, of=size)
    return Judgement(verdict=Verdict.HEAL, of=size)


def ahead(instance: Instance, everyone: Iterable[Instance]) -> tuple[InstanceName, ...]:
    """Who of its role is being healed before it. Of two that are under way already the first by name goes on."""
    under_way = in_healing(instance)
    healed = [one.name for one in everyone if _fellow(one, instance) and in_healing(one)]
    return tuple(name for name in healed if not under_way or name < instance.name)


def together(ill: int, size: int) -> bool:
    """Whether so many of so many are ill together."""
    return ill >= TOGETHER_MIN and 2 * ill > size


def is_ill(instance: Instance, now_s: float) -> bool:
    """Whether it is out of rotation and nobody has asked for that, or is late on its way into it."""
    here = instance.phase.traits
    if here.serves:
        return instance.unwell_since_s > 0
    if here.has_failed:
        return now_s - instance.phase_since_s < TOGETHER_S
    if here.goes_off:
        return False
    if (here.boots or here.drains) and instance.served_at_s:
        return not instance.restart_asked and not instance.going
    return in_healing(instance) or now_s >= lifecycle.deadline_s(instance)


def in_healing(instance: Instance) -> bool:
    """Whether the ladder has taken it out and it has yet to come back."""
    under_way = not instance.phase.traits.is_settled
    return instance.strikes > 0 and under_way and not instance.going and not instance.sick_since_s


def together_ill(judgement: Judgement, instance: Instance) -> Cause:
    """Why an instance is not healed: HOLD and LEAVE."""
    kind = Kind.ILL_TOGETHER if judgement.verdict is Verdict.HOLD else Kind.FAILED_TOGETHER
    ill = f"{len(judgement.others) + 1} of {judgement.of}"
    subject = f"{instance.role_name}.{instance.service}"
    return Cause(kind, subject=subject, detail=ill, names=_named(judgement))


def in_turn(judgement: Judgement) -> Cause:
    """Why an instance is not healed yet: TURN."""
    return Cause(Kind.HEALED_IN_TURN, names=_named(judgement))


def _named(judgement: Judgement) -> tuple[str, ...]:
    return (*judgement.others[:_NAMED_MOST], *(["…"] if len(judgement.others) > _NAMED_MOST else []))


def _fellow(one: Instance, instance: Instance) -> bool:
    same = (one.service, one.role_name) == (instance.service, instance.role_name)
    return same and one.name != instance.name and one.goal.serve and one.goal.runs and not one.goal.protected
