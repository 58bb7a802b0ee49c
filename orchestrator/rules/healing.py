"""What is done to an instance that is ill: nothing yet, a restart, a reimage, or it is left to a human. Pure.

Healing destroys: a restart takes connections, a reimage the system disk. Where most instances of a role are ill at
the same time, or whatever they share is to blame, more of it mends nothing; and what we have taken out ourselves, by
healing, a rollout or a verb, is never more than a role can bear.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable
from typing import Final, TypeAlias

from orchestrator.errors import Whose
from orchestrator.model import Cause, InstanceName, Ladder
from orchestrator.model.cause import Kind, mentions
from orchestrator.rules.blame import Blame

HELD_S: Final = 5.0  # Between looks at what is ill and may not be healed now.
HOUR_S: Final = 3600.0
TOGETHER_MIN: Final = 2  # So many ill instances at least, and more than half of the role, are ill together.
BACK_OFF_S: Final = 10.0  # the first pause between two rungs; each is twice the one before
BACK_OFF_MAX_S: Final = 600.0
_NAMED_MOST: Final = 3  # in a sentence


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An instance as those who decide about others of its role see it. Times in seconds since the epoch."""

    name: InstanceName
    service: str
    role: str
    template: str = ""  # the digest of what its VM is built from
    image: str = ""  # of that
    fell_ill_s: float = float("inf")
    counts: bool = True  # it is wanted, runs, and is not protected
    ill_from_s: float = float("inf")
    ill_until_s: float = float("inf")
    ours: bool = False  # out, or on its way there, by our own doing
    kept_out: bool = False  # out by its guest's own word
    proven: bool = False  # it has served since it was built
    has_failed: bool = False

    def is_ill(self, now_s: float) -> bool:
        """Whether it is out of rotation and nobody has asked for that, or is late on its way into it."""
        return self.ill_from_s <= now_s < self.ill_until_s

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to say of it."""
        return not self.ours and not self.kept_out and self.ill_from_s == float("inf")


class Next(enum.Enum):
    """What the ladder has for an instance, were there no brakes."""

    RESTART = enum.auto()
    REIMAGE = enum.auto()
    HUMAN = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The instance that is decided about."""

    view: View
    next: Next
    cause: Cause | None  # None: it is ill, and may get well by itself
    waits_for: Cause | None = None  # what is the matter with one that may
    strikes: int = 0
    healed_at_s: float = 0.0  # 0: never
    asked: bool = False  # what fails is what somebody asked for: the next thing is his to say
    serves: bool = False
    set_up: bool = False
    served: bool = False  # this generation
    only_probe: bool = False
    ends: bool = False  # it is on its way to its end, or off


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """The others of its role, as far as there is anything to say of them, and how many it has, itself included."""

    others: tuple[View, ...] = ()
    size: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """How many reimages of whose the last hour has seen, of how many; and when the first of them is forgotten."""

    whose: str = ""  # "service shop", "this host"
    times_s: tuple[float, ...] = ()
    most: int = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Brakes:
    """What healing is held to."""

    ladder: Ladder = Ladder.REIMAGE
    may_miss: int = 1  # of the role, out by our own doing at a time
    reimages: tuple[Spent, ...] = ()
    blame: Blame | None = None  # what it shares with others is at fault
    standstill: Cause | None = None  # somebody has paused what we do by ourselves


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is done until then (seconds since the epoch). `holds`: no time runs against it."""

    until_s: float
    why: Cause | None = None
    holds: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Restart:
    """The guest restarts, and everything persists."""


@dataclasses.dataclass(frozen=True, slots=True)
class Reimage:
    """Another VM is made, of the same template."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leave:
    """It is failed, and a human's turn. `again`: it is looked at again by itself, later."""

    why: Cause | None = None
    again: bool = False


Rung: TypeAlias = Wait | Restart | Reimage | Leave


def decide(patient: Patient, ward: Ward, brakes: Brakes, now_s: float) -> Rung:
    """What is done about an instance that is ill."""
    if patient.asked and patient.cause:
        return Leave()
    if brakes.standstill:
        paused = dataclasses.replace(brakes.standstill, also=patient.cause or patient.waits_for)
        return Wait(now_s + HELD_S, paused, holds=True)
    ill = tuple(one.name for one in ward.others if one.counts and one.is_ill(now_s))
    if brakes.blame and brakes.blame.whose is not Whose.SERVICE:
        return _blamed(patient, brakes.blame, now_s)
    if together(len(ill) + 1, ward.size):
        return _together(patient, ill, ward.size, brakes.blame, now_s)
    if patient.cause is None:
        return Wait(now_s + HELD_S)
    rung = _rung(patient, brakes.ladder, ward.size, now_s)
    if not isinstance(rung, Restart | Reimage):
        return rung
    return _braked(patient, rung, ward, brakes, now_s)


def _blamed(patient: Patient, blame: Blame, now_s: float) -> Rung:
    """No rung is taken. What fails by what it is built from is failed, so that a rollout halts; what is set up waits
    for others; and what is not is tried again when they are well.
    """
    of_template = blame.whose in (Whose.IMAGE, Whose.ANSWERS)
    if patient.cause is None or (patient.set_up and not of_template):
        return Wait(now_s + HELD_S, blame.cause, holds=True)
    return Leave(blame.cause, again=True)


def _together(patient: Patient, ill: Collection[InstanceName], size: int, blame: Blame | None, now_s: float) -> Rung:
    """The same of one whose role is ill together: nobody knows whose fault that is."""
    holds = patient.set_up and patient.served
    why = Cause(
        Kind.ILL_TOGETHER if holds else Kind.FAILED_TOGETHER,
        subject=f"{patient.view.role}.{patient.view.service}",
        detail=f"{len(ill) + 1} of {size}",
        names=named(ill),
        also=blame.cause if blame else None,
    )
    if holds:
        return Wait(now_s + HELD_S, why, holds=True)
    return Wait(now_s + HELD_S) if patient.cause is None else Leave(why, again=True)


def _rung(patient: Patient, ladder: Ladder, size: int, now_s: float) -> Rung:
    """What the ladder has for it, as far up as its role lets it go."""
    match patient.next, ladder:
        case ((Next.RESTART | Next.REIMAGE), Ladder.OFF):
            off = Cause(Kind.HEALING_OFF, detail="off")
            if patient.serves:
                return Wait(now_s + HELD_S, off, holds=True)
            return Leave(off, again=patient.set_up)
        case Next.RESTART, _:
            return Restart()
        case Next.REIMAGE, Ladder.REIMAGE:
            return Reimage()
        case Next.REIMAGE, _:
            return Restart() if patient.set_up else Leave(Cause(Kind.HEALING_OFF, detail="restart"))
        case Next.HUMAN, Ladder.RESTART if patient.set_up and not (patient.only_probe or patient.ends):
            return Restart()
        case Next.HUMAN, _:  # Of a role of one nobody can tell whether it is alone in its illness.
            return Leave(again=patient.set_up and not patient.only_probe and size == 1)


def _braked(patient: Patient, rung: Restart | Reimage, ward: Ward, brakes: Brakes, now_s: float) -> Rung:
    """The rung, unless it has to wait: for its pause, for others that are out, for another hour."""
    pause_s = back_off_s(patient.strikes)
    waited_s = now_s - patient.healed_at_s
    if patient.healed_at_s and 0 <= waited_s < pause_s:  # Time that was set back is no reason to wait.
        often = Cause(Kind.HEALED_OFTEN, detail=f"{pause_s:g} s", subject=str(patient.strikes))
        return Wait(patient.healed_at_s + pause_s, often)
    if len(before := ahead(patient.view, ward.others)) >= brakes.may_miss:
        return Wait(now_s + HELD_S, _in_turn(before, brakes.may_miss))
    match rung:
        case Restart():
            return rung
        case Reimage():
            return spent(brakes.reimages, now_s) or rung


def retry(failed: Patient, ward: Ward, brakes: Brakes, now_s: float) -> Wait | None:
    """What keeps one that has failed from another try, unasked: a look, or without a complete setup a reimage. None
    when nothing does.
    """
    if failed.ends:
        return None
    if brakes.standstill:
        return Wait(now_s + HELD_S, brakes.standstill)
    if failed.set_up:
        return None
    if brakes.ladder is not Ladder.REIMAGE:
        return Wait(now_s + HELD_S, Cause(Kind.HEALING_OFF, detail=brakes.ladder))
    if brakes.blame and brakes.blame.whose is not Whose.SERVICE:
        return Wait(now_s + HELD_S, brakes.blame.cause)
    if len(before := ahead(failed.view, ward.others)) >= brakes.may_miss:
        return Wait(now_s + HELD_S, _in_turn(before, brakes.may_miss))
    return spent(brakes.reimages, now_s)


def _in_turn(before: Collection[InstanceName], may_miss: int) -> Cause:
    most = "one instance" if may_miss == 1 else f"{may_miss} instances"
    return Cause(Kind.HEALED_IN_TURN, names=named(before), detail=most)


def spent(budgets: Iterable[Spent], now_s: float) -> Wait | None:
    """The wait for a budget of reimages that is used up; None where none is."""
    for one in budgets:
        recent = sorted(at_s for at_s in one.times_s if abs(now_s - at_s) < HOUR_S)
        if len(recent) >= one.most:
            free_s = recent[len(recent) - one.most] + HOUR_S if one.most else now_s + HOUR_S
            why = Cause(Kind.REIMAGES_SPENT, subject=one.whose, detail=str(one.most))
            return Wait(min(max(free_s, now_s + HELD_S), now_s + HOUR_S), why)
    return None


def back_off_s(strikes: int) -> float:
    """How long at least between two rungs of one that keeps failing."""
    return min(BACK_OFF_S * 2.0 ** min(strikes - 1, 16), BACK_OFF_MAX_S) if strikes > 0 else 0.0


def ahead(own: View, others: Iterable[View]) -> tuple[InstanceName, ...]:
    """Who of its role is out by our own doing, before it. Of two that are out already the first by name goes on.

    So is who is out by its guest's word: that is obeyed by us, and the role misses it as it misses any other.
    """
    out = [one.name for one in others if one.counts and one.ours]
    before = [name for name in out if not own.ours or name < own.name]
    return tuple(sorted({*before, *(one.name for one in others if one.counts and one.kept_out)}))


def together(ill: int, size: int) -> bool:
    """Whether so many of so many are ill together."""
    return ill >= TOGETHER_MIN and 2 * ill > size


def named(names: Collection[InstanceName]) -> tuple[str, ...]:
    """Some of them, for a sentence."""
    first = list(names)[:_NAMED_MOST]
    return (*first, *(["…"] if len(names) > _NAMED_MOST else []))


BRAKES: Final = frozenset(
    {
        Kind.ILL_TOGETHER,
        Kind.HEALED_IN_TURN,
        Kind.HEALED_OFTEN,
        Kind.REIMAGES_SPENT,
        Kind.HEALING_OFF,
        Kind.BLAMED,
        Kind.STANDSTILL,
    }
)


def brake_of(cause: Cause | None) -> Kind | None:
    """What has held healing back, as a cause that was recorded tells."""
    return next((kind for kind in mentions(cause) if kind in BRAKES), None)
