"""serving: whether an instance is well. The balancer says so; of what it does not ask, the guest and its role."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import (
    CommandProbe,
    Identity,
    Instance,
    Mode,
    Power,
    Ready,
    Seat,
    Services,
    Silence,
    Standing,
    TcpProbe,
    Unit,
    UnitState,
)
from orchestrator.model.cause import Cause, Kind
from orchestrator.model.instance import learned
from orchestrator.ports import Machine
from orchestrator.rules import pool, words
from orchestrator.rules.patience import blameless_s
from orchestrator.steps import cut_off, restarts, stuck
from orchestrator.steps.hearing import (
    agent_heard,
    clock_heard,
    count_resets,
    disks_heard,
    frozen,
    health_heard,
    identity_of,
)
from orchestrator.steps.outcomes import Done, Failed, Outcome, Wait
from orchestrator.steps.phases import HEALTH_S, SOON_S

SETTLED_S = 600.0  # An instance that has served this long is healed: the ladder begins at its first rung again.
UNWELL_S = 300.0  # A serving instance whose health check fails this long is taken to the healing ladder.
UNHEARD_AGAIN_S = 0.5
UNWELL_AGAIN_S = 5.0  # Between looks at an instance that is not well.


def watch_health(instance: Instance, host: Machine, seat: Seat | None) -> Outcome:
    """serving: done when health is lost; the goal is not looked at here, the lifecycle does that.

    An agent of which nothing can be made is told, and nothing is healed for that alone where something else asks.
    """
    domain = host.hypervisor.look(instance.name)
    if domain is None:
        return Done(instance, "the VM is gone")
    if domain.power is not Power.RUNNING:
        return Done(instance, f"the VM is {domain.power}" + (f": {domain.reason}" if domain.reason else ""))
    if domain.stuck:
        stands = _unwell(replace(instance, only_probe=False), host.clock.now_s(), stuck.stuck(domain), UNWELL_S)
        return _told(instance, stands, host.clock.now_s())
    if (lost := cut_off.lost(instance, domain, host)) is not None:
        return Done(instance, str(cut_off.LOST)) if cut_off.is_certain(instance) else lost
    identity = identity_of(instance, host)
    if isinstance(identity, Silence) and identity.rebooting:
        return Done(instance, "the guest restarts by itself")
    if isinstance(identity, Identity) and identity.boot_id not in ("", instance.boot_id):
        return Done(instance, "the guest has restarted by itself")
    if isinstance(identity, Identity) and not identity.boot_id and domain.resets > instance.resets:
        restarted = replace(count_resets(instance, domain), boot=instance.boot + 1)
        noted = restarts.counted(instance, restarted, host.clock.now_s())  # It leaves the pool for its pause first.
        return Done(noted.instance if isinstance(noted, Wait) else noted, "the guest has restarted by itself")
    heard, note = agent_heard(instance, identity, host.clock.now_s())
    heard, clock = clock_heard(heard, host.guest.clock_off_s(heard) if isinstance(identity, Identity) else None)
    heard, disks = disks_heard(heard, domain)
    return _told(instance, _health(heard, identity, host, seat), host.clock.now_s(), note, clock, disks)


def _told(before: Instance, outcome: Outcome, now_s: float, *notes: str) -> Outcome:
    """The outcome with a line for the ledger of all that has begun or ended."""
    if not isinstance(outcome, Wait):
        return outcome
    seen, health = health_heard(before, outcome.instance, outcome.cause, now_s)
    return replace(outcome, instance=seen, note="; ".join(filter(None, (*notes, health))))


def _health(instance: Instance, identity: Identity | Silence, host: Machine, seat: Seat | None) -> Outcome:
    """Whether it is well, by whoever asks it: the balancer, else its own probe, else its agent."""
    if (why := words.keeps_out(instance, now_s := host.clock.now_s())) is not None:
        return Wait(learned(instance, unwell_since_s=0.0), why, words.again_s(instance, now_s))
    if not instance.goal.role.endpoints:
        return _unasked(instance, identity, host)
    if seat is None or not pool.fits(seat, pool.member_of(instance)):
        return Wait(instance, Cause(Kind.JOINING_AGAIN), SOON_S)
    if seat.standing is Standing.UP:
        return _by_services(instance, host) or _well(instance, host)
    if isinstance(identity, Silence) and identity.frozen:  # Its check may well write to a disk; a thaw ends it.
        thaw = replace(frozen(identity), hint=f"virsh domfsthaw {instance.name}")
        awaited = Cause(Kind.CHECK_AWAITED, reason=thaw)
        return Wait(replace(instance, unwell_since_s=0.0), awaited, UNWELL_AGAIN_S)
    now_s = host.clock.now_s()
    probed = replace(instance, only_probe=_answers(identity))
    if instance.unwell_since_s and now_s - instance.unwell_since_s > UNWELL_S and _passes(instance, host):
        return Wait(probed, Cause(Kind.BALANCER_ALONE), UNWELL_AGAIN_S, blameless=True)
    return _unwell(probed, now_s, Cause(Kind.CHECK_FAILS), UNWELL_S)


def _passes(instance: Instance, host: Machine) -> bool:
    """Whether our own probe of all its endpoints passes, asked as the balancer asks; not where we cannot."""
    ends = instance.goal.role.endpoints
    if any(end.mode is Mode.UDP or (end.proxy_protocol and not (end.probe and end.probe.port)) for end in ends):
        return False
    if any(isinstance(end.probe, CommandProbe) for end in ends):  # Its agent is asked, by whoever looks after pools.
        return False
    probes = [(probe or TcpProbe(), end.target) for end in ends if not isinstance(probe := end.probe, CommandProbe)]
    return all(not host.guest.probe(instance, probe, probe.port or target) for probe, target in probes)


def _answers(identity: Identity | Silence) -> bool:
    """Whether something inside the guest speaks for it."""
    if isinstance(identity, Silence):
        return identity.frozen
    return identity.source != "none"


def _unasked(instance: Instance, identity: Identity | Silence, host: Machine) -> Outcome:
    """The health of what no balancer asks: its agent answers, and what its role waited for at first still holds."""
    now_s = host.clock.now_s()
    ready = instance.goal.role.ready
    if isinstance(identity, Silence):
        if identity.frozen:
            return Wait(instance, Cause(Kind.NOT_ASKED, reason=frozen(identity)), HEALTH_S)
        if not identity.broken or ready.probe is None or ready.probe.port is None:
            silent = replace(instance, only_probe=False)
            kind = Kind.AGENT_BROKEN if identity.broken else Kind.AGENT_SILENT
            return _unwell(silent, now_s, Cause(kind, detail=identity.reason), ready.silence_s)
    if ready.probe is not None and ready.probe.port is not None:
        why_not = host.guest.probe(instance, ready.probe, ready.probe.port)
        if why_not:
            probed = replace(instance, only_probe=_answers(identity))
            return _unwell(probed, now_s, Cause(Kind.PROBE_FAILS, detail=why_not), UNWELL_S)
    return _by_services(instance, host) or _well(instance, host)


def _by_services(instance: Instance, host: Machine) -> Outcome | None:
    """What is wrong with its services, where somebody shall look; None where nothing is, or nobody can tell."""
    ready = instance.goal.role.ready
    if not (ready.watch or (not instance.goal.role.endpoints and (ready.units or ready.command))):
        return None
    services = host.guest.services(instance)
    if not isinstance(services, Services):
        return None
    if services.unheard:  # It is asked on soon: an answer that nobody takes in time is forgotten.
        return Wait(instance, instance.waits_for, UNHEARD_AGAIN_S)
    if lost := _lost(services, ready):
        return _unwell(replace(instance, only_probe=False), host.clock.now_s(), lost, UNWELL_S)
    return None


def _lost(services: Services, ready: Ready) -> Cause | None:
    """What the role itself asked for and is not so any more, and of one that is watched whatever has failed; what
    else fails in a guest is its own affair.
    """
    named = {name.casefold() for name in ready.units}  # Windows takes services in any case.

    def counts(unit: Unit) -> bool:
        return unit.name.casefold() in named or (ready.watch and unit.state is UnitState.FAILED)

    lost = tuple(str(unit) for unit in services.units if counts(unit))
    if lost:
        return Cause(Kind.SERVICES_LOST, names=lost)
    exits = services.note.startswith("ready.command exits")
    return Cause(Kind.SERVICES_NOTED, detail=services.note) if exits else None


def _well(instance: Instance, host: Machine) -> Wait:
    """What is well gets the limits that its service's file says by now."""
    host.hypervisor.limit(instance)
    settled = host.clock.now_s() - instance.served_at_s > SETTLED_S
    well = learned(instance, unwell_since_s=0.0, only_probe=False)
    again_s = min(HEALTH_S, words.lapses_in_s(instance, host.clock.now_s()))
    return Wait(learned(well, strikes=0, healed_at_s=0.0, restarts=(), calms=0) if settled else well, None, again_s)


def _unwell(instance: Instance, now_s: float, why: Cause, limit_s: float) -> Outcome:
    since_s = instance.unwell_since_s or now_s
    if now_s - since_s - blameless_s(instance, now_s) > limit_s:
        return Failed(Cause(Kind.FOR_TOO_LONG, reason=why))
    return Wait(replace(instance, unwell_since_s=since_s), why, UNWELL_AGAIN_S)
