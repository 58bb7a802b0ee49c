"""One function per phase: look at the world, do the least that is missing, say what was seen.

A step has no loop, no sleep, no retry, no log line and no store write; it may be called again at any time, also
after a crash between its effect and the saving of its outcome. What it learned travels on the record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.errors import VmroleError
from orchestrator.model import (
    AnswerFormat,
    Domain,
    Identity,
    Instance,
    Os,
    PausedBy,
    Phase,
    Power,
    Road,
    Seat,
    Silence,
)
from orchestrator.model.blob import BlobOwner, Of
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules import roads, words
from orchestrator.rules.patience import blameless_s, check_seen_s, is_asked_to_stop, stop_within_s
from orchestrator.steps import anew, checkpoints, cut_off, freeze, hearing, restarts, seating, stuck
from orchestrator.steps.hearing import (
    count_boot,
    count_resets,
    identity_of,
    in_setup,
    silent,
    told,
    unstarted,
)
from orchestrator.steps.outcomes import Done, Failed, Outcome, Wait

SOON_S = 0.05  # Between looks at something that takes a fraction of a second: readiness, a draining connection.
SHORTLY_S = 0.5  # Between looks at a guest that is starting; its agent's connection wakes us earlier anyway.
HEALTH_S = 60.0  # Between looks at a healthy instance: events tell of every change, this is the safety net.
ASK_AGAIN_S = 20.0  # A guest that still answers from its old boot has not heard: early in a boot requests get lost.
PROTECTED = Cause(Kind.PROTECTED)
PAUSED_S = 5.0  # Between looks at a VM that is paused; libvirt's event wakes us earlier anyway.


def lay_overlay(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """requested: a fresh overlay on the image; local storage made if absent, and anew when a rebuild asks for it.

    What may begin with its checkpoint gets its overlay as it goes on from it; no other generation has a use for it.
    """
    chosen = roads.chosen(instance, checkpoints.fit(instance, host), host.clock.now_s())
    instance = anew.hindrance(instance)
    if chosen.road is not Road.COLD:
        on = checkpoints.without_memory(instance, host, chosen.why_not) if chosen.road is Road.PREPARED else instance
        on = replace(on, layered=instance.generation, road=str(chosen))
        return Done(on, str(chosen), then=Phase.RESTORING)
    host.disks.erase_checkpoint(instance.name)  # Also one that no record tells of.
    if instance.storage < instance.goal.storage:
        host.disks.erase_local_storage(instance.name)
        host.media.erase_identity(instance.name)
    host.disks.lay_local_storage(instance)
    host.disks.lay_overlay(instance)
    laid = replace(instance, storage=instance.goal.storage, checkpoint=None, road=str(chosen))
    return Done(laid, str(chosen))


def write_answers(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """layered: the answer disc of this generation."""
    host.media.write(instance)
    return Done(instance)


def start_vm(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """answered: define and start the VM."""
    host.hypervisor.start(instance)
    domain = host.hypervisor.look(instance.name)
    if (paused := _paused(instance, domain, host)) is not None:
        return paused
    if domain is None or domain.power is not Power.RUNNING:
        return Wait(instance, Cause(Kind.VM_NOT_RUNNING_YET), SHORTLY_S)
    return Done(instance)


def watch_setup(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """setup: complete when the guest reports another boot than the one in which the answer disc's script ran.

    A Windows whose VM has ended is not started again: Windows does not go on with half a setup.
    """
    domain = host.hypervisor.look(instance.name)
    ended = domain is None or domain.power in (Power.OFF, Power.CRASHED)
    if ended and instance.role.os is Os.WINDOWS:
        return Failed(Cause(Kind.SETUP_ENDED, detail=domain.reason if domain else ""))
    if (lost := cut_off.lost(instance, domain, host)) is not None:  # Half a setup is not started again.
        return Failed(cut_off.LOST) if cut_off.is_certain(instance) else lost
    heard = _listen(instance, domain, host, Kind.SETUP_RUNS)
    if isinstance(heard, Wait):
        return heard
    seen, identity = heard
    restarts = instance.role.setup.restart
    if instance.role.answers is AnswerFormat.NONE:
        return Done(replace(seen, boot=max(seen.boot, 1)), "it reads no answers: there is no setup")
    if identity.by_monitor:  # The agent shows no files: the monitor's word for the restart is all there is.
        if restarts and seen.resets == 0 and seen.boot < 2:
            return Wait(seen, in_setup(Kind.SETUP_RESTART_UNSEEN, identity), SHORTLY_S)
        if identity.unfinished:
            return Wait(seen, in_setup(Kind.SETUP_RESTARTED, identity), SHORTLY_S)
        if not instance.goal.role.ready.agent and (why_not := _probed(seen, host)):
            return Wait(seen, Cause(Kind.SETUP_PROBE_FAILS, detail=why_not), SHORTLY_S)
        return Done(replace(seen, boot=max(seen.boot, 2 if restarts else 1)), identity.confined)
    if not identity.setup_boot_id:
        return Wait(seen, in_setup(Kind.SETUP_NOT_APPLIED, identity), SHORTLY_S)
    if not restarts:
        return Done(seen)
    if identity.setup_boot_id == identity.boot_id:
        return Wait(seen, in_setup(Kind.SETUP_RESTART_DUE, identity), SHORTLY_S)
    if identity.unfinished:
        return Wait(seen, in_setup(Kind.SETUP_RESTARTED, identity), SHORTLY_S)
    # The agent may not have been up during the setup boot: that it was another boot counts.
    return Done(replace(seen, boot=max(seen.boot, 2)), "setup restart seen")


def await_services(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """starting: all auto-start services have started, and the role's own conditions hold."""
    if (pause := restarts.calm(instance, host.clock.now_s())) is not None:
        return pause
    domain = host.hypervisor.look(instance.name)
    heard = _listen(instance, domain, host, Kind.STARTING)
    if isinstance(heard, Wait):
        began = domain is None or domain.power is Power.OFF or heard.instance.resets > instance.resets
        return replace(heard, instance=replace(heard.instance, powered_on=True)) if began else heard
    seen, identity = heard
    if identity.by_monitor and (instance.powered_on or seen.resets > instance.resets):
        seen = replace(seen, boot=seen.boot + 1)
    noted = restarts.counted(instance, replace(seen, powered_on=False, only_probe=False), host.clock.now_s())
    if isinstance(noted, Wait):
        return noted
    seen = noted
    if not instance.goal.role.ready.agent:
        why_not = _probed(seen, host)
        if why_not:
            return Wait(seen, Cause(Kind.PROBE_FAILS, detail=why_not), SOON_S)
        return _unless_kept_out(Done(seen, "the probe passes"), host)
    services = host.guest.services(seen)
    if isinstance(services, Silence):
        awaited = silent(Kind.STARTING, services, seen, host.clock.now_s())
        return Wait(seen, awaited, SOON_S, blameless=services.frozen)
    seen = told(seen, services)
    if services.verdict:
        return Failed(Cause(Kind.SETUP_ERROR, detail=services.verdict), mendable=False)
    if not services.started:
        return Wait(seen, unstarted(services), SOON_S)
    if why_not := _probed(seen, host):
        return Wait(replace(seen, only_probe=True), Cause(Kind.PROBE_ALONE_FAILS, detail=why_not), SOON_S)
    return _unless_kept_out(Done(seen, services.note or "all auto-start services have started"), host)


def _unless_kept_out(ready: Done, host: Machine) -> Outcome:
    """Ready for all else, and by its guest's own word, where that counts; busy it may be for as long as it says."""
    seen, now_s = ready.instance, host.clock.now_s()
    if (why := words.keeps_out(seen, now_s)) is None:
        return ready
    return Wait(seen, why, words.again_s(seen, now_s), blameless=words.busy(seen, now_s) is not None)


def _probed(instance: Instance, host: Machine) -> str:
    """ "" when the role's ready probe passes or there is none, else why not."""
    probe = instance.goal.role.ready.probe
    return host.guest.probe(instance, probe, probe.port) if probe is not None and probe.port is not None else ""


def join_pool(instance: Instance, host: Machine, seat: Seat | None) -> Outcome:
    """ready: into the pool first, for the first request is waiting; then the answer disc goes.

    It goes back to starting without a seat alone: nobody looks for one there.
    """
    domain = host.hypervisor.look(instance.name)
    if (paused := _paused(instance, domain, host)) is not None:
        return paused
    if domain is None or domain.power is not Power.RUNNING:
        if seat is None:
            return Done(instance, "the VM does not run any more", then=Phase.STARTING)
        return Wait(instance, Cause(Kind.VM_DOWN, detail=domain.power if domain else "not there"), SOON_S)
    if (lost := cut_off.lost(instance, domain, host)) is not None:
        certain = seat is None and cut_off.is_certain(instance)
        return Done(instance, str(cut_off.LOST), then=Phase.STARTING) if certain else lost
    if (why := words.keeps_out(instance, now_s := host.clock.now_s())) is not None:
        return Wait(instance, why, words.again_s(instance, now_s), blameless=words.busy(instance, now_s) is not None)
    if instance.goal.role.endpoints and not seating.is_well(instance, seat, host):
        waits = replace(instance, only_probe=instance.goal.role.ready.agent)
        return Wait(waits, Cause(Kind.CHECK_PENDING), check_seen_s(instance, now_s))
    if domain.disc:
        host.hypervisor.eject(instance.name)
    host.media.erase(instance.name)
    return Done(replace(instance, failed_by=None, served_at_s=host.clock.now_s()))


def restart_guest(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """restarting: done when the guest is in another boot than the one we counted last."""
    domain = host.hypervisor.look(instance.name)
    off = not instance.held and (domain is None or domain.power is Power.OFF)
    if (unwell := _revive(instance, domain, host)) is not None:
        if off and not instance.goal.role.ready.agent:  # Nobody will tell of another boot.
            return Done(replace(instance, boot=instance.boot + 1), str(unwell.cause))
        return replace(unwell, instance=replace(instance, powered_on=True)) if off else unwell
    if not instance.held and (ending := stuck.end(instance, domain, host)) is not None:
        return ending
    seen = count_resets(instance, domain)
    identity = identity_of(instance, host)
    if isinstance(identity, Identity):
        counted = count_boot(seen, identity)
        if counted.boot > instance.boot:
            return Done(counted)
        if identity.by_monitor and (instance.powered_on or (instance.asked_at_s and seen.resets > instance.resets)):
            return Done(replace(seen, boot=instance.boot + 1))
    now_s = host.clock.now_s()
    if not instance.held and (frozen := freeze.thaw(instance, identity, now_s)) is not None:
        return frozen
    if instance.powered_on:
        return Wait(instance, Cause(Kind.BOOTING), SHORTLY_S)
    if instance.held:
        return Wait(instance, PROTECTED, HEALTH_S, blameless=True)
    within_s = stop_within_s(instance)
    since_asked_s = now_s - (instance.asked_at_s or instance.phase_since_s) - blameless_s(instance, now_s)
    booting = isinstance(identity, Silence) and identity.rebooting
    if booting and (instance.restart_asked or since_asked_s <= within_s):
        return Wait(instance, Cause(Kind.BOOTING), SHORTLY_S)  # To interrupt it would only begin it again.
    if not instance.asked_at_s:
        host.hypervisor.ask_restart(instance.name)
        asked = replace(instance, asked_at_s=now_s, asks=1)
        return Wait(asked, Cause(Kind.RESTART_ASKED), SHORTLY_S)
    if since_asked_s > within_s and not instance.forced:
        host.hypervisor.reset(instance.name)
        note = hearing.late_says(instance, within_s, "reset it")
        return Wait(replace(instance, forced=True, warning=note), Cause(Kind.RESET), SHORTLY_S, note=note)
    unheard = isinstance(identity, Identity) and since_asked_s > ASK_AGAIN_S * instance.asks
    if unheard and not instance.forced:
        host.hypervisor.ask_restart(instance.name)
        return Wait(replace(instance, asks=instance.asks + 1), Cause(Kind.RESTART_ASKED_AGAIN), SHORTLY_S)
    awaited = Kind.RESET_WAITED_FOR if instance.forced else Kind.RESTART_ASKED
    return Wait(instance, Cause(awaited), SHORTLY_S)


def stop_vm(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """stopping, halting: ask the guest, then end the VM. A member is taken out of the pool before it is stopped.

    A VM that somebody has paused is ended at once when that was asked for, and left alone when it was not.
    """
    halts = instance.phase.traits.goes_off
    domain = host.hypervisor.look(instance.name)
    if domain is None or domain.power is Power.OFF:
        return Done(instance)
    if instance.held and not instance.asked_at_s:
        return Wait(instance, PROTECTED, HEALTH_S, blameless=True)
    if not instance.going and not halts and (paused := _paused(instance, domain, host)) is not None:
        return paused
    now_s = host.clock.now_s()
    if domain.power is not Power.RUNNING:
        host.hypervisor.power_off(instance.name)
        if domain.power is Power.PAUSED and instance.goal.serve:  # Its local storage, or all of it, stays.
            lost = "the VM was paused and could not shut down: ended it; what it held in memory is lost"
            awaited = Cause(Kind.VM_ENDING, detail=", which is paused")
            return Wait(replace(instance, warning=lost), awaited, SOON_S, note=lost)
        return Wait(instance, Cause(Kind.VM_ENDING, detail=", which does not run"), SOON_S)
    if not is_asked_to_stop(instance):
        host.disks.read_ahead(instance)
        host.hypervisor.power_off(instance.name, erased=True)
        ended = host.hypervisor.look(instance.name)
        if ended is None or ended.power is Power.OFF:
            return Done(instance)
        return Wait(instance, Cause(Kind.VM_ENDING, detail=": all that it would write is erased"), 0.0)
    ending = stuck.end(instance, domain, host) or freeze.thaw(instance, identity_of(instance, host), now_s)
    if ending is not None:
        return ending
    within_s = stop_within_s(instance)
    since_asked_s = now_s - instance.asked_at_s
    if not instance.asked_at_s or (ASK_AGAIN_S * instance.asks < since_asked_s <= within_s):
        host.hypervisor.ask_shutdown(instance.name)
        asked = replace(instance, asked_at_s=instance.asked_at_s or now_s, asks=instance.asks + 1)
        return Wait(asked, Cause(Kind.SHUTDOWN_ASKED), SHORTLY_S)
    if since_asked_s - blameless_s(instance, now_s) <= within_s:
        return Wait(instance, Cause(Kind.SHUTDOWN_ASKED), SHORTLY_S)
    host.hypervisor.power_off(instance.name)
    if instance.forced:
        return Wait(instance, Cause(Kind.VM_ENDING), SOON_S)
    note = hearing.late_says(instance, within_s, "ended it")
    return Wait(replace(instance, forced=True, warning=note), Cause(Kind.VM_ENDING), SOON_S, note=note)


def stay_off(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """stopped: nothing, and no traffic reaches it; done when somebody else has started the VM: it goes off again."""
    domain = host.hypervisor.look(instance.name)
    if domain is not None and domain.power is not Power.OFF and not instance.held:
        return Done(instance, f"somebody else has started its VM; instead: vmrole start {instance.name}")
    return Wait(instance, Cause(Kind.STOPPED, subject=instance.name), HEALTH_S)


def erase(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """erasing: nothing of the generation stays; local storage, checkpoint and blobs do, unless the instance goes."""
    host.hypervisor.undefine(instance.name)
    host.media.erase(instance.name)
    note = ""
    # A disk on a layer is worth nothing without it.
    keeps = instance.goal.role.keep_failed_disk and not instance.from_checkpoint
    if keeps and instance.failed_by is not None and instance.goal.serve:
        note = _unless_refused(lambda: host.hypervisor.keep_disk(instance))
    host.disks.erase_overlay(instance.name)
    if instance.checkpoint is None or not instance.goal.serve:
        host.disks.erase_checkpoint(instance.name)
    if not instance.goal.serve:
        instance = replace(instance, checkpoint=None, layered=0)
        host.disks.erase_local_storage(instance.name)
        host.media.erase_identity(instance.name)
        host.blobs.erase_blobs(BlobOwner(Of.INSTANCE, instance.name))
        return Done(instance, _unless_refused(lambda: host.hypervisor.erase_evidence(instance.name)))
    return Done(instance, note)


def keep_evidence(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """failed: nothing, but the evidence is kept, and no traffic reaches it."""
    kept(instance, host)  # That it could not be kept has been told when it failed.
    return Wait(instance, instance.failed_by, HEALTH_S)


def nothing(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:  # noqa: ARG001 - every step has the same shape
    """gone: the record goes with the last save."""
    return Done(instance)


def _revive(instance: Instance, domain: Domain | None, host: Machine) -> Wait | None:
    """What to do first when the VM does not run, or has no port: powers it on again. None when all is well."""
    off = domain is None or domain.power in (Power.OFF, Power.CRASHED)
    if instance.held and off and not instance.phase.traits.sets_up:
        how = domain.power if domain is not None else "not there"
        return Wait(instance, Cause(Kind.VM_DOWN, detail=how, also=PROTECTED), HEALTH_S, blameless=True)
    if not instance.held and (lost := cut_off.lost(instance, domain, host)) is not None:
        return cut_off.start_again(instance, host) if cut_off.is_certain(instance) else lost
    match domain:
        case None | Domain(power=Power.OFF):
            if domain is None or domain.disc:
                host.media.write(instance)  # Discs lie in memory: a restart of the host has taken this one away.
            host.hypervisor.start(instance)
            if not instance.phase.traits.restarts:  # Nothing is asked of this VM yet.
                instance = replace(instance, asked_at_s=0.0, asks=0, forced=False)
            return Wait(instance, Cause(Kind.VM_STARTED_AGAIN), SHORTLY_S)
        case Domain(power=Power.CRASHED):
            note = kept(instance, host)
            host.hypervisor.power_off(instance.name)
            return Wait(instance, Cause(Kind.CRASHED), SHORTLY_S, note=note)
        case Domain():
            return _paused(instance, domain, host)


def _paused(instance: Instance, domain: Domain | None, host: Machine) -> Wait | None:
    """What to say of a VM that is paused, for which nobody inside can be blamed; None when it is not."""
    if domain is None or domain.power is not Power.PAUSED:
        return None
    match domain.paused_by:
        case PausedBy.USER:
            return Wait(instance, Cause(Kind.PAUSED_BY_USER, subject=instance.name), PAUSED_S, blameless=True)
        case PausedBy.DISK:
            host.hypervisor.start(instance)  # Goes on if there is room again; the guest has lost nothing.
            return Wait(instance, Cause(Kind.PAUSED_FOR_DISK, detail=domain.reason), PAUSED_S, blameless=True)
        case _:
            host.hypervisor.start(instance)
            return Wait(instance, Cause(Kind.PAUSED, detail=domain.reason or "for a moment"), PAUSED_S)


def kept(instance: Instance, host: Machine) -> str:
    """Keeps the evidence; "" or why it could not be kept. Nothing else is held up by that."""
    return _unless_refused(lambda: host.hypervisor.keep_evidence(instance))


def _unless_refused(evidence: Callable[[], None]) -> str:
    try:
        evidence()
    except VmroleError as error:
        return f"evidence: {error}"
    return ""


def _listen(
    instance: Instance, domain: Domain | None, host: Machine, meanwhile: Kind
) -> tuple[Instance, Identity] | Wait:
    """Which boot the guest is in, with the record that counts it; or what to wait for before that can be known."""
    if (unwell := _revive(instance, domain, host)) is not None:
        return unwell
    seen = count_resets(instance, domain)
    if domain is not None and domain.stuck:
        return Wait(seen, Cause(meanwhile, reason=stuck.stuck(domain)), SHORTLY_S)
    identity = identity_of(instance, host)
    if isinstance(identity, Silence):
        awaited = silent(meanwhile, identity, seen, host.clock.now_s())
        return Wait(seen, awaited, SHORTLY_S, blameless=identity.frozen)
    return count_boot(seen, identity), identity
