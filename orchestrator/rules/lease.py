"""Pure decisions about leases: who gets which instance, when a lease ends, and what waits for whom.

An instance is leased from the moment in which its wish names the lease. The end of a lease that was given, in the
same commit, marks that generation as spent: no road leads from there but a reimage, whatever comes in between.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.model import Instance, InstanceName, Lease, Service
from orchestrator.model.lease import NOBODY

LATER_S = 3600.0
SOON_S = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of a lease and of its instance, together or not at all; None: of that nothing."""

    lease: Lease
    instance: Instance | None = None
    ends: bool = False
    told: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What becomes of a service's leases in this moment."""

    changes: tuple[Change, ...] = ()
    freed: tuple[Instance, ...] = ()  # whose wish names a lease that there is not
    again_s: float = LATER_S


def turn(
    service: Service | None,
    leases: Sequence[Lease],
    instances: Mapping[InstanceName, Instance],
    now_s: float,
    silent: Collection[str] = (),
) -> Turn:
    """`silent`: the ids of leases of whose clients nothing is heard. First come, first served, in each role."""
    ordered = in_order(leases)
    changes = [one for lease in ordered if (one := _moved(lease, service, instances, now_s, silent)) is not None]
    ended = {one.lease.id for one in changes if one.ends}
    free = _by_role(one for one in instances.values() if may_be_given(one))
    for lease in ordered:
        if lease.waits and lease.id not in ended and free.get(lease.role):
            instance = free[lease.role].pop(0)
            changes.append(_kept(lease, instance))
    there = {lease.id: lease.instance for lease in ordered}
    freed = [one for one in instances.values() if one.leased and there.get(one.goal.lease) != one.name]
    due_s = [lease.until_s - now_s for lease in ordered if lease.given]
    return Turn(
        changes=tuple(changes),
        freed=tuple(released(one) for one in freed),
        again_s=max(SOON_S, min([LATER_S, *due_s])),
    )


def in_order(leases: Iterable[Lease]) -> list[Lease]:
    """As they were asked for."""
    return sorted(leases, key=lambda lease: (lease.number, lease.id))


def may_be_given(instance: Instance) -> bool:
    """Whether a client may have it: it serves, is well and not busy, and nobody has asked for anything else of it."""
    goal = instance.goal
    wanted = goal.serve and goal.runs and not goal.protected and not instance.leased
    well = instance.available and not instance.sick_since_s
    return wanted and well and not instance.going and not instance.restart_asked


def _by_role(free: Iterable[Instance]) -> dict[str, list[Instance]]:
    """Those that are as the file says go first, then who has rested for longest."""
    found: dict[str, list[Instance]] = {}
    for one in sorted(free, key=lambda one: (one.stale, one.phase_since_s, one.index)):
        found.setdefault(one.role_name, []).append(one)
    return found


def _moved(
    lease: Lease,
    service: Service | None,
    instances: Mapping[InstanceName, Instance],
    now_s: float,
    silent: Collection[str],
) -> Change | None:
    """What becomes of one by itself."""
    instance = instances.get(lease.instance) if lease.instance else None
    own = instance if instance is not None and instance.goal.lease == lease.id else None
    if why := _why_over(lease, service, own, now_s, silent):
        return ended(lease, own, why)
    if lease.waits or lease.given:
        return None
    if (
        own is None
        or own.held
        or not (own.phase.traits.serves or own.phase.traits.drains or own.phase.traits.is_leased)
    ):
        back = replace(lease, instance=NOBODY)
        told = f"{lease.id}: {lease.instance} was to be given and cannot be: its client waits on"
        return Change(lease=back, instance=released(own) if own else None, told=told)
    if not own.phase.traits.is_leased:
        return None
    given = replace(lease, given_at_s=now_s, until_s=now_s + lease.for_s)
    spent = replace(own, goal=replace(own.goal, lent=own.generation))
    return Change(lease=given, instance=spent, told=f"leased for {length(lease.for_s)}: {lease.id}")


def _why_over(
    lease: Lease, service: Service | None, own: Instance | None, now_s: float, silent: Collection[str]
) -> str:
    """Why it ends now; "": it does not. A clock that was set back by a day makes no lease longer."""
    if service is None or service.uid != lease.service_uid or service.removing:
        return "its service is being deleted"
    if lease.given and own is None:
        return "its instance is gone"
    if lease.given and not lease.given_at_s <= now_s < lease.until_s:
        return "its time is over"
    if lease.id in silent and lease.attended:
        return "nothing is heard of its client"
    role = service.spec.role(lease.role)
    if lease.waits and (role is None or not role.instances):
        return "its role has no instances any more"
    return ""


def ended(lease: Lease, own: Instance | None, why: str) -> Change:
    """The end of a lease; `own`: the instance whose wish names it."""
    return Change(lease=lease, instance=released(own) if own else None, ends=True, told=f"{lease.id} ends: {why}")


def released(instance: Instance) -> Instance:
    """The instance without a lease. What a client may have had is spent: nothing leads from there but a reimage."""
    had = instance.goal.lent >= instance.generation or instance.phase.traits.is_leased
    lent = max(instance.goal.lent, instance.generation) if had else instance.goal.lent
    return replace(instance, goal=replace(instance.goal, lease="", lent=lent))


def _kept(lease: Lease, instance: Instance) -> Change:
    taken = replace(instance, goal=replace(instance.goal, lease=lease.id))
    return Change(lease=replace(lease, instance=instance.name), instance=taken)


# What a client is told ---------------------------------------------------------------------------------------


def place(lease: Lease, leases: Iterable[Lease]) -> int:
    """His place among those who wait for that role, 1 for the first; 0: he waits no more."""
    if not lease.waits:
        return 0
    before = [one for one in leases if one.waits and one.role == lease.role and one.service == lease.service]
    return 1 + sum((one.number, one.id) < (lease.number, lease.id) for one in before)


def waits_for(lease: Lease, instances: Iterable[Instance]) -> str:
    """Why no instance is his yet, in words; "" once he has one."""
    if lease.given:
        return ""
    if not lease.waits:
        return f"{lease.instance} leaves rotation"
    counts = Counter(_why_not(one) for one in instances if one.role_name == lease.role)
    return ", ".join(f"{number} {why}" for why, number in sorted(counts.items())) or "there are no instances"


def _why_not(instance: Instance) -> str:
    here, goal = instance.phase.traits, instance.goal
    if not goal.serve:
        return "being removed"
    if goal.protected:
        return "protected"
    if instance.leased:
        return "leased"
    if here.is_off or not goal.runs:
        return "stopped"
    if here.has_failed:
        return "failed"
    if instance.kept_out:
        return "busy"
    return "ready" if may_be_given(instance) else "on the way"


def length(seconds: float) -> str:
    """A length of time as people write it."""
    for unit, unit_s in (("h", 3600.0), ("min", 60.0)):
        if seconds >= unit_s and seconds % unit_s == 0:
            return f"{seconds / unit_s:g} {unit}"
    return f"{seconds:g} s"
