"""What is made of what a guest says: which boot it is in, how far its setup is, what has not started. Pure but for
the one question; nothing is asked of a guest that has no agent.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Domain, Identity, Instance, Services, Silence
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules.no_agent import HINT
from orchestrator.rules.patience import in_phase_s

SILENT_TOLD_S = 120.0  # How long an agent may say nothing, while its endpoints are well, before that is told.
CLOCK_OFF_S = 30.0  # A guest's clock that is wrong by so much is told: certificates, logs and tickets go by it.
FAULT_TOLD_AGAIN_S = 600.0  # Between two beginnings of an agent's fault that the ledger tells: it may flicker.
UNWELL_TOLD_AGAIN_S = 600.0  # The same of an illness: a check may flap.
NO_AGENT_S = 120.0  # After so long without an agent, a guest in its first boot probably has none.


def identity_of(instance: Instance, host: Machine) -> Identity | Silence:
    """Which boot the guest is in; of one without an agent nothing but that nobody tells."""
    if not instance.goal.role.ready.agent:
        return Identity(boot_id="", source="none")
    return host.guest.identity(instance)


def count_resets(instance: Instance, domain: Domain | None) -> Instance:
    """The record with the resets that the monitor has seen."""
    resets = 0 if domain is None else domain.resets
    return replace(instance, resets=resets) if resets > instance.resets else instance


def count_boot(instance: Instance, identity: Identity) -> Instance:
    """Counts a boot when the guest's boot id is not the one counted last; the count never goes by events."""
    if identity.boot_id in ("", instance.boot_id):
        return instance
    return replace(instance, boot=instance.boot + 1, boot_id=identity.boot_id)


def silent(meanwhile: Kind, silence: Silence, instance: Instance, now_s: float) -> Cause:
    """What is waited for while the agent says nothing, with what may be wrong when it never has."""
    if silence.frozen:
        return Cause(meanwhile, reason=frozen(silence))
    never = silence.absent and not instance.boot_id and not instance.set_up
    if never and in_phase_s(instance, now_s) > NO_AGENT_S:
        return Cause(meanwhile, reason=Cause(Kind.NO_AGENT, detail=silence.reason, hint=HINT[instance.role.os]))
    return Cause(meanwhile, detail=silence.reason)


def frozen(silence: Silence) -> Cause:
    """An agent that may not speak: a backup has frozen the guest's file systems, and a thaw ends that."""
    return Cause(Kind.FROZEN, detail=silence.reason)


def late_says(instance: Instance, within_s: float, did: str) -> str:
    """The sentence for a guest that had to be forced, with what may have kept it from shutting down."""
    frozen = "; a backup had frozen its file systems" if instance.frozen_since_s else ""
    late = f"the guest did not shut down within {within_s:g} s (stop.within)"
    return f"{late}: {did}; what it was writing is lost{frozen}"


def agent_heard(instance: Instance, heard: Identity | Silence, now_s: float) -> tuple[Instance, str]:
    """The record with what is wrong with its agent, and a line for the ledger when that begins or ends.

    It begins with words that make no sense, or with a long silence, and ends with words that do.
    """
    if isinstance(heard, Identity):
        if instance.agent_silent_since_s:
            instance = replace(instance, agent_silent_since_s=0.0)
        if not instance.agent_fault:
            return instance, ""
        told_so = instance.agent_fault_since_s == instance.agent_fault_told_s
        mended = replace(instance, agent_fault="", agent_fault_since_s=0.0)
        return mended, "its agent makes sense again" if told_so else ""
    if not heard.broken and not instance.agent_fault:
        return _quiet(instance, heard, now_s)
    return _at_fault(instance, heard.reason, now_s)


def _quiet(instance: Instance, silence: Silence, now_s: float) -> tuple[Instance, str]:
    """One that says nothing for long while its endpoints are well: told, and healed for by nobody."""
    if silence.frozen or silence.rebooting or not instance.goal.role.endpoints:
        return instance, ""
    if not instance.agent_silent_since_s:
        return replace(instance, agent_silent_since_s=now_s), ""
    if now_s - instance.agent_silent_since_s < SILENT_TOLD_S:
        return instance, ""
    return _at_fault(instance, f"it says nothing: {silence.reason}", now_s)


def _at_fault(instance: Instance, reason: str, now_s: float) -> tuple[Instance, str]:
    since_s = instance.agent_fault_since_s or now_s
    broken = replace(instance, agent_fault=instance.agent_fault or reason, agent_fault_since_s=since_s)
    told_s = instance.agent_fault_told_s
    if told_s == since_s or 0 < now_s - told_s < FAULT_TOLD_AGAIN_S:
        return broken, ""
    return replace(broken, agent_fault_told_s=since_s), f"its agent is broken: {broken.agent_fault}"


def clock_heard(instance: Instance, off_s: float | None) -> tuple[Instance, str]:
    """The record with how wrong its guest's clock is (seconds; None: nobody knows), and a line for the ledger when
    that begins or ends. Nothing is healed for it: no restart sets a clock that the host's own does not.
    """
    if off_s is None:
        return instance, ""
    if abs(off_s) < CLOCK_OFF_S:
        if not instance.clock_off_s:
            return instance, ""
        return replace(instance, clock_off_s=0.0), "its clock is right again"
    if instance.clock_off_s and abs(off_s - instance.clock_off_s) < CLOCK_OFF_S:
        return instance, ""
    way = "ahead of" if off_s > 0 else "behind"
    return replace(instance, clock_off_s=round(off_s)), f"its clock is {abs(off_s):.0f} s {way} the host's"


def disks_heard(instance: Instance, domain: Domain) -> tuple[Instance, str]:
    """The record with the disks of its role that its VM does not have, and a line for the ledger when that begins or
    ends. Nothing is healed for it: its guest has mounted what it lost, and may have yet to write to it.
    """
    if (lacks := instance.lacking(domain.disks)) == instance.lacks:
        return instance, ""
    told = f"its VM does not have {', '.join(lacks)} any more" if lacks else "its VM has all of its disks again"
    return replace(instance, lacks=lacks), told


def health_heard(before: Instance, seen: Instance, cause: Cause | None, now_s: float) -> tuple[Instance, str]:
    """The record after a look at its health, with a line for the ledger when an illness of which it was told begins
    or ends. The balancer has asked often enough before it says so; what else fails is told when it fails twice.
    """
    since_s, told_s = seen.unwell_since_s, seen.unwell_told_s
    if not since_s:
        ended = before.unwell_since_s and before.unwell_since_s == told_s and cause is None
        return seen, "it is well again" if ended else ""
    if cause is None or cause.kind is Kind.AGENT_BROKEN:  # That has a line of its own.
        return seen, ""
    if told_s == since_s or 0 < now_s - told_s < UNWELL_TOLD_AGAIN_S:
        return seen, ""
    if cause.kind is not Kind.CHECK_FAILS and not before.unwell_since_s:
        return seen, ""
    return replace(seen, unwell_told_s=since_s), f"it is unwell: {cause}"


def in_setup(seen_so_far: Kind, identity: Identity) -> Cause:
    """How far its setup is, with what the guest says of it where it says anything."""
    return Cause(seen_so_far, detail=identity.unfinished or identity.confined)


def told(instance: Instance, services: Services) -> Instance:
    """The record with the names of what has not started."""
    return instance if instance.units == services.units else replace(instance, units=services.units)


def unstarted(services: Services) -> Cause:
    """What is waited for while not all has started."""
    pending = Cause(Kind.SERVICES_PENDING, names=services.pending) if services.pending else None
    if services.failed:
        return Cause(Kind.SERVICES_FAILED, names=services.failed, also=pending)
    return pending or Cause(Kind.SERVICES_NOTED, detail=services.note or _NOT_REPORTED)


_NOT_REPORTED = "auto-start services are starting: not all have reported"
