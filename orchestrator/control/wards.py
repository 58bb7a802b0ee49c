"""Instances as the rules of healing see them, counted as records change: no decision goes through all there are."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter

from orchestrator import lifecycle
from orchestrator.control import records
from orchestrator.model import Instance, InstanceName
from orchestrator.model.cause import Kind
from orchestrator.rules.blame import TOGETHER_S
from orchestrator.rules.healing import HOUR_S, View, Ward, brake_of

_REIMAGES_KEPT = 4096  # times of a service, or of the host
_AT_ONCE_MOST = 256
_NEVER_S = float("inf")
_Role = tuple[str, str]


class Wards:
    """Of each role how many it has, and those of whom there is anything to say. The present feeds it, under its lock;
    what it gives out is a copy.
    """

    def __init__(self) -> None:
        self._plain: Counter[_Role] = Counter()  # those that count and of whom there is nothing to say
        self._others: dict[_Role, dict[InstanceName, View]] = {}
        self._known: dict[InstanceName, View] = {}
        self._fell_ill: list[tuple[float, InstanceName, str]] = []  # when, who, of which service: in order
        self._proven: Counter[tuple[str, str, str]] = Counter()  # by service, role and template: who has served
        self._reimages: dict[str, list[float]] = {"": []}  # when, by service; "" are all
        self._reimaged: dict[InstanceName, tuple[float, ...]] = {}

    def put(self, name: InstanceName, after: Instance | None) -> None:
        """The record of that name has changed, or is gone."""
        view = view_of(after) if after is not None else None
        before = self._known.get(name)
        if after is not None and after.reimages != self._reimaged.get(name, ()):
            self._count_reimages(after)
        if view == before:
            return
        if before is not None:
            self._take_out(before)
        if view is None:
            self._known.pop(name, None)
            self._reimaged.pop(name, None)
            return
        self._known[name] = view
        self._proven[view.service, view.role, view.template] += view.proven
        if view.fell_ill_s < _NEVER_S:
            bisect.insort(self._fell_ill, (view.fell_ill_s, name, view.service))
        role = (view.service, view.role)
        if not view.is_plain:
            self._others.setdefault(role, {})[name] = view
        elif view.counts:
            self._plain[role] += 1

    def _take_out(self, view: View) -> None:
        role = (view.service, view.role)
        self._proven[*role, view.template] -= view.proven
        if view.fell_ill_s < _NEVER_S:
            place = bisect.bisect_left(self._fell_ill, (view.fell_ill_s, view.name, view.service))
            del self._fell_ill[place]
        if view.is_plain:
            self._plain[role] -= view.counts
            return
        others = self._others[role]
        del others[view.name]
        if not others:
            del self._others[role]

    def _count_reimages(self, instance: Instance) -> None:
        fresh = set(instance.reimages) - set(self._reimaged.get(instance.name, ()))
        self._reimaged[instance.name] = instance.reimages
        for key in (instance.service, ""):
            times = self._reimages.setdefault(key, [])
            for at_s in fresh:
                bisect.insort(times, at_s)
            del times[:-_REIMAGES_KEPT]

    def ward(self, own: View) -> Ward:
        """The others of its role. O(those of whom there is anything to say)."""
        role = (own.service, own.role)
        others = tuple(one for one in tuple(self._others.get(role, {}).values()) if one.name != own.name)
        size = self._plain[role] + sum(one.counts for one in others) + 1
        known = self._known.get(own.name)
        if known is not None and known.is_plain and known.counts:
            size -= 1  # It is one of those that were counted.
        return Ward(others=others, size=size)

    def is_proven(self, own: View) -> bool:
        """Whether somebody of its role has served from its template, and is there still."""
        return self._proven[own.service, own.role, own.template] > 0

    def size(self) -> int:
        """How many instances there are."""
        return len(self._known)

    def fell_ill(self, from_s: float, until_s: float, now_s: float) -> tuple[tuple[InstanceName, str], ...]:
        """Who is ill since then and still so, and of which service; of many some. O(those)."""
        here = self._fell_ill
        first = bisect.bisect_left(here, (from_s,))
        last = bisect.bisect_right(here, (until_s, "\uffff"))
        still = ((name, service) for _, name, service in here[first:last] if self._is_ill(name, now_s))
        return tuple(itertools.islice(still, _AT_ONCE_MOST))

    def _is_ill(self, name: InstanceName, now_s: float) -> bool:
        known = self._known.get(name)
        return known is not None and known.is_ill(now_s)

    def reimages_s(self, service: str, now_s: float) -> tuple[float, ...]:
        """When healing has reimaged instances of a service, or of all for "", within about an hour."""
        times = self._reimages.get(service, [])
        return tuple(times[bisect.bisect_left(times, now_s - HOUR_S) :])


def view_of(instance: Instance) -> View:
    """The instance as those who decide about others of its role see it."""
    from_s, until_s = _ill_s(instance)
    goal = instance.goal
    return View(
        name=instance.name,
        service=instance.service,
        role=instance.role_name,
        template=records.digest(instance.role),
        image=instance.role.image_sha256,
        fell_ill_s=_fell_ill_s(instance, from_s),
        counts=goal.serve and goal.runs and not goal.protected and not instance.leased,
        ill_from_s=from_s,
        ill_until_s=until_s,
        ours=is_ours(instance),
        kept_out=instance.kept_out,
        proven=instance.proven or instance.served_at_s > 0,
        has_failed=instance.phase.traits.has_failed,
    )


def _ill_s(instance: Instance) -> tuple[float, float]:
    """From when until when it is ill, unless its record changes (seconds since the epoch)."""
    never, for_ever = float("inf"), float("inf")
    here = instance.phase.traits
    if here.serves:
        return (0.0 if instance.unwell_since_s else never), for_ever
    if here.has_failed:  # Not before it failed either: a clock that was set back makes nobody wait.
        return instance.phase_since_s, instance.phase_since_s + TOGETHER_S
    if here.goes_off or here.is_leased:
        return never, for_ever
    if (here.boots or here.drains) and instance.served_at_s:
        return (never if instance.restart_asked or instance.going else 0.0), for_ever
    return (0.0 if in_healing(instance) else lifecycle.deadline_s(instance)), for_ever


def _fell_ill_s(instance: Instance, from_s: float) -> float:
    """Since when it is ill, as far as its record tells; a day that has yet to come for one that is not."""
    here = instance.phase.traits
    if here.has_failed:
        return instance.phase_since_s
    if from_s > 0:  # Its deadline, of one that has never served: what is late is told when it is struck.
        return _NEVER_S
    return instance.unwell_since_s if here.serves else instance.phase_since_s


def in_healing(instance: Instance) -> bool:
    """Whether the ladder has taken it out and it has yet to come back."""
    under_way = not instance.phase.traits.is_settled
    return instance.strikes > 0 and under_way and not instance.going and not instance.sick_since_s


def is_ours(instance: Instance) -> bool:
    """Whether it is out, or will be in a moment, by our own doing: by healing, a rollout, or a verb.

    One that waits for its next rung is out by its own fault, and one that cannot help waiting by somebody else's.
    """
    if not instance.goal.serve or not instance.goal.runs or instance.sick_since_s:
        return False
    here = instance.phase.traits
    asked = instance.going or instance.restart_asked
    if here.serves:
        return asked and not instance.held
    if here.is_settled:
        return False
    if in_healing(instance):
        return brake_of(instance.waits_for) not in (Kind.HEALED_OFTEN, Kind.REIMAGES_SPENT)
    again = instance.generation > 1 and not instance.served_at_s
    return asked or instance.by_request or again
