"""The steps that keep an instance as it is when it becomes ready, and that have it go on from there.

Taking a checkpoint ends the VM, its memory saved or its guest shut down, makes its overlay a layer that nothing
writes to any more, and restores or boots it, as every reimage from it will: what cannot go on is found out at once,
before any traffic. Memory is only ever restored over an empty overlay, for a guest trusts what it remembers of its
disk; local storage and drives, which go on, are taken from the guest before its memory is saved, and given back to
who is restored. A checkpoint without memory is booted, as one whose memory fits no more: its guest has written first.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from orchestrator.errors import Busy, Foreign, NoSpace, Unreachable, WorldError
from orchestrator.model import (
    Apart,
    Checkpoint,
    Domain,
    HostFit,
    Instance,
    Kept,
    Os,
    Phase,
    Power,
    Road,
    Seat,
    Silence,
)
from orchestrator.model.cause import Cause, Kind, of_error
from orchestrator.ports import Machine
from orchestrator.rules import admission, roads
from orchestrator.rules.patience import blameless_s, in_phase_s, memory_moves_s, stop_within_s
from orchestrator.steps.giving_back import given_back, made_whole, protected
from orchestrator.steps.hearing import identity_of
from orchestrator.steps.outcomes import Done, Outcome, Wait

SHORTLY_S = 0.5
SOON_S = 0.05
TRIES = 2  # of a saving or restoring, before a colder road is taken
SAVED_WITHIN_S = 60.0  # A guest that still holds its answer disc by then has no checkpoint.
HEARD_WITHIN_S = 60.0  # A guest that was restored and says nothing by then is booted.


def fit(instance: Instance, host: Machine) -> HostFit | None:
    """What saved memory depends on, as this host has it; None where no road depends on it."""
    return host.hypervisor.fit() if roads.wants_fit(instance) else None


def save(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """saving: its memory, or its guest's shutdown, then its disk. What is in the way keeps nobody from serving."""
    domain = host.hypervisor.look(instance.name)
    if instance.no_checkpoint:
        return made_whole(instance, host, domain)
    if not roads.wants_memory(instance):
        return _shut_down(instance, host, domain)
    if domain is None:
        return _without(instance, host, "its VM is not there")
    match domain.power:
        case Power.OFF:
            files = host.disks.keep_checkpoint(instance, memory=True)
            ended = "its VM ended before its memory was saved"
            return _kept(instance, host, files) if files else _without(instance, host, ended)
        case Power.RUNNING if instance.held:
            return _without(instance, host, "it is protected")
        case Power.RUNNING:
            return _saved(instance, host, disc=bool(domain.disc))
        case _ if _is_late(instance, host):
            return _without(instance, host, f"its VM is {domain.power}")
        case _:  # It is being saved, by a daemon that has died since.
            return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN), SHORTLY_S)


def _is_late(instance: Instance, host: Machine) -> bool:
    return in_phase_s(instance, host.clock.now_s()) > SAVED_WITHIN_S + memory_moves_s(instance)


def _saved(instance: Instance, host: Machine, *, disc: bool) -> Outcome:
    """Has the memory of a VM that runs saved, which ends the VM. The answer disc goes before."""
    unfit = host.guest.unfit(instance)
    if isinstance(unfit, Silence):
        if _is_late(instance, host):
            return _without(instance, host, unfit.reason)
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=unfit.reason), SHORTLY_S)
    if unfit:
        return _no_memory(instance, unfit, lasts=True)
    try:
        on_disk = _make_ready(instance, host, disc=disc)
        if on_disk != instance.memory_on_disk:
            note = f"its memory is saved to disk: {on_disk}" if on_disk else ""
            told = replace(instance, memory_on_disk=on_disk)
            return Wait(told, Cause(Kind.CHECKPOINT_BEING_TAKEN), 0.0, note=note)
        if isinstance(written := _written(instance, host), Wait | Done):
            return written
        if isinstance(apart := _apart(instance, host), Wait | Done):
            return apart
        host.hypervisor.save(instance)
    except (Unreachable, Foreign):  # What somebody else has begun is nothing to serve with.
        raise
    except WorldError as error:
        # A guest that has not let go of its disc may do so yet; what fails otherwise costs the host each time.
        if isinstance(error, Busy) and _is_late(instance, host):
            return _without(instance, host, str(error))
        tried = instance if isinstance(error, Busy) else replace(instance, asks=instance.asks + 1)
        if isinstance(error, NoSpace) or tried.asks >= TRIES or _is_late(instance, host):
            return _no_memory(tried, str(error), lasts=tried.asks >= TRIES)
        return Wait(tried, Cause(Kind.CHECKPOINT_BEING_TAKEN, reason=of_error(error)), SHORTLY_S)
    return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN), 0.0)


def _no_memory(instance: Instance, why: str, *, lasts: bool = False) -> Wait:
    """Its disk is kept all the same, from the next look on. What `lasts` keeps those that are made of the same from
    it as well: the guest's own word, or what was tried more than once.
    """
    without = replace(instance, no_memory=why, no_memory_lasts=lasts, asks=0, asked_at_s=0.0)
    return Wait(without, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=why), 0.0, note=f"no memory is saved: {why}")


def _make_ready(instance: Instance, host: Machine, *, disc: bool) -> str:
    """The answer disc goes, and what an earlier try has left. Raises Foreign where it has been kept already. Returns
    why its memory will lie on disk, where its role would have it in RAM.
    """
    if disc:
        host.hypervisor.eject(instance.name)
    host.media.erase(instance.name)
    return host.disks.prepare_checkpoint(instance, memory=roads.wants_memory(instance))


def _written(instance: Instance, host: Machine) -> Outcome | None:
    """None: its guest has written to its disk what it held back. Else what to wait for, or why that never is so: a
    Windows is shut down for its disk then.
    """
    written = host.guest.write_out(instance)
    if isinstance(written, Silence):
        if _is_late(instance, host):
            return _without(instance, host, written.reason)
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=written.reason), SOON_S)
    if not written:
        return None
    if instance.role.os is Os.WINDOWS:
        return _no_memory(instance, written, lasts=True)
    return _without(instance, host, written, lasts=True)


def _apart(instance: Instance, host: Machine) -> Outcome | None:
    """None: neither its VM nor its guest has a disk beside that of the system, and its guest knows. Else what to wait
    for, or why its disk alone is kept.
    """
    if not instance.disk_serials:
        return None
    being_taken = Cause(Kind.CHECKPOINT_BEING_TAKEN)  # Recorded first: what is not known to be asked may yet happen.
    if instance.apart is Apart.NOT:
        return Wait(replace(instance, apart=Apart.ASKED), being_taken, 0.0)
    aside = host.guest.put_aside(instance)
    if isinstance(aside, str) and aside:
        return _no_memory(instance, aside, lasts=True)
    if aside == "" and instance.apart is Apart.ASKED:
        return Wait(replace(instance, apart=Apart.TAKEN), being_taken, 0.0)
    if aside == "" and host.hypervisor.unplug_disks(instance):
        return None
    why = aside.reason if isinstance(aside, Silence) else "its guest lets go of its disks"
    if _is_late(instance, host):
        return _no_memory(instance, why)
    return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=why), SOON_S)


def _shut_down(instance: Instance, host: Machine, domain: Domain | None) -> Outcome:
    """Its disk alone is kept: of a guest that was asked to shut down, and did."""
    asked_s = instance.asked_at_s
    now_s, within_s = host.clock.now_s(), stop_within_s(instance)
    is_late = bool(asked_s) and now_s - asked_s - blameless_s(instance, now_s) > within_s
    if domain is None or domain.power is Power.OFF:
        return _off(instance, host, domain, is_late=is_late)
    if is_late:
        return _without(instance, host, f"it did not shut down within {within_s:g} s (stop.within)", lasts=True)
    if domain.power is not Power.RUNNING:
        how = domain.reason or f"its VM is {domain.power}"
        if not asked_s and _is_late(instance, host):
            return _without(instance, host, how)
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=how), SHORTLY_S)
    if instance.asks and asked_s:  # Somebody has started it again: it has more to write.
        return Wait(replace(instance, asks=0, asked_at_s=0.0), Cause(Kind.CHECKPOINT_BEING_TAKEN), 0.0)
    if instance.held and not asked_s:
        return _without(instance, host, "it is protected")
    try:
        _make_ready(instance, host, disc=bool(domain.disc))
    except (Busy, NoSpace) as error:
        if isinstance(error, NoSpace) or _is_late(instance, host):
            return _without(instance, host, str(error))
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, reason=of_error(error)), SHORTLY_S)
    if not asked_s:
        by_itself = instance.role.os is Os.WINDOWS  # which writes as it shuts down, or does not go on at all
        if not by_itself and isinstance(written := _written(instance, host), Wait | Done):
            return written
        host.hypervisor.ask_shutdown(instance.name)
    asked = replace(instance, asked_at_s=asked_s or now_s)
    return Wait(asked, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail="its guest shuts down"), SHORTLY_S)


def _off(instance: Instance, host: Machine, domain: Domain | None, *, is_late: bool) -> Outcome:
    """Its disk is kept of a guest that has shut down, which is recorded first: a libvirt that starts again does not
    know it any more. What was cut off may lack what it had yet to write.
    """
    if domain is None or not instance.asked_at_s:
        return _without(instance, host, "its VM ended before it was asked to shut down")
    if instance.asks:
        files = host.disks.keep_checkpoint(instance, memory=False)
        return _kept(instance, host, files) if files else _without(instance, host, "its disk is not there")
    being_taken = Cause(Kind.CHECKPOINT_BEING_TAKEN, detail="its guest shuts down")
    if domain.shut_down:
        return Wait(replace(instance, asks=1), being_taken, 0.0)
    if domain.shut_down is None and not is_late:
        return Wait(instance, being_taken, SOON_S)
    return _without(
        instance, host, f"its VM was cut off as its guest shut down: {domain.reason or 'nobody knows why'}"
    )


def _kept(instance: Instance, host: Machine, files: Kept) -> Done:
    """Of a VM that is off because it was saved or has shut down; it goes on from what is kept now."""
    checkpoint = Checkpoint(
        generation=instance.generation,
        boot=instance.boot,
        boot_id=instance.boot_id,
        template=roads.built_from(instance.role),
        place=roads.place_of(instance),
        attached=roads.attached_to(instance),
        fit=host.hypervisor.fit(),
        layer=files.layer,
        memory=files.memory,
        no_memory="" if files.memory else instance.no_memory,
        board=files.board,
        taken_at_s=host.clock.now_s(),
    )
    kept = replace(instance, checkpoint=checkpoint, layered=instance.generation)
    return Done(kept, "its checkpoint is taken")


def _without(instance: Instance, host: Machine, why: str, *, lasts: bool = False) -> Outcome:
    """It goes on as it is, made whole first where something was taken from it. What was saved by half is full of its
    secrets, and nobody has a use for it. `lasts`: as of `_no_memory`.
    """
    with contextlib.suppress(WorldError):  # It goes with the instance at the latest.
        host.disks.erase_memory(instance.name)
    without = replace(instance, no_checkpoint=why, no_checkpoint_lasts=lasts, asked_at_s=host.clock.now_s())
    if instance.apart is not Apart.NOT:
        return Wait(without, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=why), 0.0)
    return Done(without, f"no checkpoint: {why}", then=Phase.STARTING)


def restore(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """restoring: an empty overlay on the checkpoint's layer, the memory, the time of day, randomness of its own, and
    its disks; or a boot, where there is no memory.
    """
    checkpoint, domain = instance.checkpoint, host.hypervisor.look(instance.name)
    if checkpoint is None:
        return _colder(instance, host, "its record has no checkpoint")
    if checkpoint.memory is None:
        return _booted(instance, checkpoint, domain, host)
    if domain is None or domain.power in (Power.OFF, Power.CRASHED):
        return _restored(instance, checkpoint, host)
    now_s = host.clock.now_s()
    if not instance.asked_at_s:  # Restored by a daemon that has died since.
        return Wait(replace(instance, asked_at_s=now_s), Cause(Kind.RESTORED), SOON_S)
    if now_s - instance.asked_at_s - blameless_s(instance, now_s) > HEARD_WITHIN_S:
        return _boots(instance, host, f"restored, it is not heard of: {instance.waiting}")
    if domain.power is Power.PAUSED:
        return Wait(instance, Cause(Kind.RESTORED, detail=domain.reason or "its VM is paused"), SHORTLY_S)
    heard = identity_of(instance, host)
    if isinstance(heard, Silence):
        return Wait(instance, Cause(Kind.RESTORED, detail=heard.reason), SOON_S)
    if heard.boot_id != checkpoint.boot_id:  # Somebody else has started its VM, or it has started by itself again.
        return _boots(instance, host, "what runs is not what was saved")
    awake = host.guest.awaken(instance)
    if isinstance(awake, Silence):
        return Wait(instance, Cause(Kind.RESTORED, detail=awake.reason), SOON_S)
    whole = awake or given_back(instance, host)
    if isinstance(whole, Silence):
        return Wait(instance, Cause(Kind.RESTORED, detail=whole.reason), SOON_S)
    if whole:  # Its services run, and may have written to disks that it has.
        written = host.guest.write_out(instance) if instance.disk_serials else ""
        if isinstance(written, Silence):
            return Wait(instance, Cause(Kind.RESTORED, detail=written.reason), SOON_S)
        return _boots(instance, host, whole, lasts=True)
    # That boot is counted already.
    woken = admission.woken(host.guest.randomness(instance))
    return Done(replace(instance, boot=checkpoint.boot, boot_id=checkpoint.boot_id), woken)


def _restored(instance: Instance, checkpoint: Checkpoint, host: Machine) -> Outcome:
    if instance.asks >= TRIES:
        return _boots(instance, host, f"it could not be restored: {instance.waiting}", lasts=True)
    fit, now_s = host.hypervisor.fit(), host.clock.now_s()
    if why_not := roads.against(instance, checkpoint, fit, now_s) or host.disks.layer_damage(instance):
        return _colder(instance, host, why_not)
    if why_not := roads.against_memory(instance, checkpoint, fit, now_s) or host.disks.memory_damage(instance):
        return _boots(instance, host, why_not)
    tried = replace(instance, asks=instance.asks + 1)
    try:
        host.disks.renew_overlay(instance)
        host.hypervisor.restore(instance)
    except (Unreachable, NoSpace):
        raise
    except WorldError as error:
        return Wait(tried, Cause(Kind.RESTORE_FAILED, reason=of_error(error)), SHORTLY_S)
    return Wait(replace(tried, asked_at_s=host.clock.now_s()), Cause(Kind.RESTORED), 0.0)


def _boots(instance: Instance, host: Machine, why: str, *, lasts: bool = False) -> Wait:
    """The same generation, from the next look on without the memory. `lasts`: as of `_no_memory`, where it could not
    be restored as soon as it was saved.
    """
    if instance.held:
        return protected(instance, why)
    host.hypervisor.power_off(instance.name)
    booted = replace(without_memory(instance, host, why), asks=0, asked_at_s=0.0)
    note = str(roads.Chosen(Road.PREPARED, why))
    at_once = replace(booted, no_memory=why, no_memory_lasts=lasts)
    booted = at_once if _at_once(instance) else replace(booted, road=note)
    return Wait(booted, Cause(Kind.RESTORED, detail=why), 0.0, note=note)


def without_memory(instance: Instance, host: Machine, why: str) -> Instance:
    """The instance without the memory of its checkpoint, which is erased: full of its secrets, and of no use."""
    checkpoint = instance.checkpoint
    if checkpoint is None or checkpoint.memory is None:
        return instance
    host.disks.erase_memory(instance.name)
    return replace(instance, checkpoint=replace(checkpoint, memory=None, no_memory=why))


def _booted(instance: Instance, checkpoint: Checkpoint, domain: Domain | None, host: Machine) -> Outcome:
    """Boots it from the checkpoint's disk, once. What runs here has been started by somebody else, from whatever disk
    it was described with, or by a daemon that has died since.
    """
    if domain is not None and domain.power is not Power.OFF:
        if instance.held:
            return protected(instance, "it is to boot from its checkpoint")
        host.hypervisor.power_off(instance.name)
    if instance.asks >= TRIES:
        return _colder(instance, host, f"it could not be booted: {instance.waiting}", lasts=True)
    against = roads.against(instance, checkpoint, host.hypervisor.fit(), host.clock.now_s())
    if why_not := against or host.disks.layer_damage(instance):
        return _colder(instance, host, why_not)
    try:
        host.disks.renew_overlay(instance)
        host.hypervisor.start(instance)
    except (Unreachable, NoSpace):
        raise
    except WorldError as error:
        tried = replace(instance, asks=instance.asks + 1)
        return Wait(tried, Cause(Kind.RESTORE_FAILED, reason=of_error(error)), SHORTLY_S)
    # The boot that begins is the one after.
    return Done(replace(instance, boot=checkpoint.boot, boot_id=checkpoint.boot_id), "it boots")


def _at_once(instance: Instance) -> bool:
    """Whether it was to go on from what has just been kept of it."""
    return instance.checkpoint is not None and instance.checkpoint.generation == instance.generation


def _colder(instance: Instance, host: Machine, why: str, *, lasts: bool = False) -> Outcome:
    """The same generation, made of the image, of which nothing is kept where it could not go on as soon as it was
    kept. `lasts`: as of `_no_memory`.
    """
    if instance.held:
        return protected(instance, why)
    host.hypervisor.power_off(instance.name)
    host.hypervisor.undefine(instance.name)
    host.media.erase(instance.name)
    host.disks.erase_overlay(instance.name)
    host.disks.erase_checkpoint(instance.name)
    cold = replace(instance, checkpoint=None, layered=0, boot=0, boot_id="", resets=0)
    if _at_once(instance):
        cold = replace(cold, no_checkpoint=why, no_checkpoint_lasts=lasts)
    host.disks.lay_local_storage(cold)
    host.disks.lay_overlay(cold)
    road = roads.Chosen(Road.COLD, why)
    return Done(replace(cold, road=str(road)), str(road), then=Phase.LAYERED)
