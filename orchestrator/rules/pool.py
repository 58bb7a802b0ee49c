"""Whether an instance belongs into its pools, by its phase, its VM and what the balancer shows. Pure."""

from __future__ import annotations

import enum

from orchestrator.model import (
    CommandProbe,
    Endpoint,
    Instance,
    Member,
    Mode,
    Probe,
    Seat,
    Standing,
    TcpProbe,
    pool_name,
)
from orchestrator.model.phase import Seating
from orchestrator.rules import roads, words
from orchestrator.rules.patience import in_phase_s


class Wanted(enum.Enum):
    """A seat as it shall be: taken, without new connections, or none; what is open is cut then."""

    IN = enum.auto()
    OUT = enum.auto()
    AWAY = enum.auto()


def wanted(instance: Instance, runs: bool, seat: Seat | None, now_s: float) -> Wanted | None:
    """What its seat shall be; None: whatever it is, and the balancer is not asked.

    `runs`: its VM does, so that it can be reached. What begins to drain drains first, also while nothing of it is
    open: the next connection may be on its way. A serving one that does not run any more drains next. One that its
    guest's word keeps out stays where it is, without new connections.
    """
    match instance.phase.traits.seat:
        case Seating.TAKEN if not runs:
            return Wanted.AWAY
        case Seating.TAKEN | Seating.KEPT if words.keeps_out(instance, now_s) is not None:
            return _kept_out(instance, seat) if runs and instance.goal.role.endpoints else None
        case Seating.TAKEN | Seating.KEPT:
            return Wanted.IN if runs and instance.goal.role.endpoints else None
        case Seating.GIVEN_UP:
            late = in_phase_s(instance, now_s) >= instance.goal.role.drain_s
            idle = seat is None or (seat.standing is Standing.DRAINING and not seat.connections)
            return Wanted.AWAY if late or idle or not runs else Wanted.OUT
        case Seating.NONE:
            return Wanted.AWAY
        case None:
            return None


def _kept_out(instance: Instance, seat: Seat | None) -> Wanted:
    """What its guest's word makes of a seat: what is open goes on; who has served nobody yet has no use for it."""
    return Wanted.OUT if instance.serving and seat is not None else Wanted.AWAY


def reached(instance: Instance, runs: bool) -> Member:
    """The instance as clients reach it by itself: by its own doors at the VIP, or by none.

    By all of them from when its setup is complete, and its checkpoint taken where it is to have one, until its VM is
    to be stopped, whatever its pools, its probes and its services say of it: who wants to know why it does not serve
    gets in.
    """
    role, here = instance.goal.role, instance.phase.traits
    open_ = runs and instance.set_up and not here.ends and not roads.awaits_checkpoint(instance)
    ends = role.instance_endpoints if open_ else ()
    pools = tuple((pool_name(instance.service, role.name, end.name), end.target) for end in ends)
    return Member(name=instance.name, address=instance.nic.address, pools=pools, address6=instance.nic.address6)


def member_of(instance: Instance) -> Member:
    """The instance as the balancer shall know it. Endpoints follow the goal: they need no new generation."""
    role = instance.goal.role
    pools = tuple((pool_name(instance.service, role.name, end.name), end.target) for end in role.endpoints)
    return Member(name=instance.name, address=instance.nic.address, pools=pools, address6=instance.nic.address6)


def fits(seat: Seat | None, member: Member) -> bool:
    """Whether the seat is in all pools of the member, and takes connections as far as its health goes."""
    if seat is None or seat.standing is Standing.DRAINING:
        return False
    return set(seat.pools) == {pool for pool, _ in member.pools}


def asked_at_once(instance: Instance) -> tuple[tuple[Probe, int], ...]:
    """What the host asks of each of its endpoints, and at which port, before its balancers do; none where that is
    not the same: of who has not served yet with the memory that it goes on with, and of endpoints that are asked
    otherwise than once, at once, and from the host.
    """
    endpoints = instance.goal.role.endpoints
    asked = [probe for end in endpoints if (probe := _from_the_host(end)) is not None]
    return tuple(asked) if _has_served_so(instance) and len(asked) == len(endpoints) else ()


def _has_served_so(instance: Instance) -> bool:
    kept = instance.checkpoint
    if kept is None or kept.memory is None:
        return False
    return instance.is_restored and kept.generation < instance.generation


def _from_the_host(end: Endpoint) -> tuple[Probe, int] | None:
    probe = end.probe or TcpProbe()
    if isinstance(probe, CommandProbe) or probe.initial_delay_s or end.mode is Mode.UDP:
        return None
    if end.range is not None or end.proxy_protocol:
        return None
    return probe, probe.port or end.target
