"""The one place where instances come into their pools and leave them: before each step, as `rules.pool` wants it.

So are their own doors opened and shut.
"""

from __future__ import annotations

from orchestrator.errors import Transient, Unreachable
from orchestrator.model import Instance, Power, Seat, Standing
from orchestrator.ports import Front, Machine
from orchestrator.rules import pool
from orchestrator.rules.pool import Wanted

CUT = "drain time is over: open connections were cut"


def seat(instance: Instance, host: Machine, front: Front) -> tuple[Seat | None, str]:
    """Does what is missing; returns the seat as it is then, and what became of its open connections, in words.

    None: it has no seat, or its phase has to do with none. Raises what the balancer does: no step is taken then, so
    that no VM is stopped that may still be in a pool.
    """
    runs = instance.phase.traits.may_be_in_pool and _runs(instance, host)
    _reach(instance, host, front)
    taken = _look(instance, runs, front)
    match pool.wanted(instance, runs, taken, host.clock.now_s()):
        case Wanted.IN:
            return _taken(instance, front, taken), ""
        case Wanted.OUT if taken is not None:
            drained = _drained(instance, front, taken)
            if drained is not None and pool.wanted(instance, runs, drained, host.clock.now_s()) is Wanted.OUT:
                return drained, ""
            taken = drained or taken
        case None:
            return taken, ""
        case Wanted.OUT | Wanted.AWAY:
            pass
    front.balancer.leave(instance.name)
    return None, CUT if taken is not None and taken.connections else ""


def is_well(instance: Instance, seat: Seat | None, host: Machine) -> bool:
    """Whether a member may count as in rotation: its balancer has asked it. One that goes on with the memory that it
    has served with before is asked by us as well, and at once: a balancer asks a new member only after a while.
    """
    if seat is None or seat.standing is not Standing.UP:
        return False
    if seat.checked:
        return True
    asked = pool.asked_at_once(instance)
    return bool(asked) and all(not host.guest.probe(instance, probe, port) for probe, port in asked)


def _reach(instance: Instance, host: Machine, front: Front) -> None:
    """Its own doors."""
    may = bool(pool.reached(instance, runs=True).pools)
    domain = host.hypervisor.look(instance.name) if may else None
    member = pool.reached(instance, runs=domain is not None and domain.power is Power.RUNNING)
    if member.pools or instance.name in front.doors.reached():
        front.doors.reach(member)


def _runs(instance: Instance, host: Machine) -> bool:
    """Whether its VM does; of one that is to get connections also whether it can be reached."""
    domain = host.hypervisor.look(instance.name)
    if domain is None or domain.power is not Power.RUNNING:
        return False
    return instance.phase.traits.drains or (not domain.stuck and host.network.has_port(instance))


def _look(instance: Instance, runs: bool, front: Front) -> Seat | None:
    """The seat where something depends on it. That of one who serves is asked for all the time, and so cheaply."""
    if instance.phase.traits.drains:
        return front.balancer.seat(instance.name)
    if instance.serving and runs and instance.goal.role.endpoints:
        return front.balancer.glance(instance.name)
    return None


def _taken(instance: Instance, front: Front, taken: Seat | None) -> Seat | None:
    """In all its pools. HAProxy may have been killed, the role's endpoints may have changed, and a daemon that died
    while an instance joined has noted that nowhere.
    """
    member = pool.member_of(instance)
    if pool.fits(taken, member):
        return taken
    front.balancer.join(member)
    return front.balancer.seat(instance.name)


def _drained(instance: Instance, front: Front, taken: Seat) -> Seat | None:
    """Without new connections; None for one that is sick and cannot be told so: it has none."""
    try:
        front.balancer.drain(instance.name)  # Each time: of several pools it may have left the first when we died.
        return front.balancer.seat(instance.name) or taken
    except Unreachable:
        raise
    except Transient:
        if taken.standing is not Standing.DOWN:
            raise
        return None
