"""The steps that keep an instance as it is when it becomes ready, and that have it go on from there.

Taking a checkpoint saves the VM's memory, which ends the VM, makes its overlay a layer that nothing writes to any
more, and restores it, as every warm reimage will: what cannot be restored is found out at once, before any traffic.
Memory is only ever restored over an empty overlay, for a guest trusts what it remembers of its disk.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace

from orchestrator.errors import Busy, Foreign, NoSpace, Unreachable, WorldError
from orchestrator.model import Checkpoint, HostFit, Instance, Phase, Power, Seat, Silence
from orchestrator.model.cause import Cause, Kind, of_error
from orchestrator.ports import Machine
from orchestrator.rules import roads
from orchestrator.rules.patience import blameless_s, in_phase_s, memory_moves_s
from orchestrator.steps.hearing import identity_of
from orchestrator.steps.outcomes import Done, Outcome, Wait

HELD_S = 5.0
SHORTLY_S = 0.5
SOON_S = 0.05
TRIES = 2  # of a saving or restoring, before a colder road is taken
SAVED_WITHIN_S = 60.0  # A guest that still holds its answer disc by then has no checkpoint.
HEARD_WITHIN_S = 60.0  # A guest that was restored and says nothing by then is made of the image.


def fit(instance: Instance, host: Machine) -> HostFit | None:
    """What saved memory depends on, as this host has it; None where no road depends on it."""
    return host.hypervisor.fit() if roads.wants_fit(instance) else None


def save(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """saving: its memory, then its disk. What is in the way of that keeps nobody from serving."""
    domain = host.hypervisor.look(instance.name)
    if domain is None:
        return _without(instance, host, "its VM is not there")
    match domain.power:
        case Power.OFF:
            return _kept(instance, host)
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
        return _without(instance, host, unfit)
    try:
        if disc:
            host.hypervisor.eject(instance.name)
        host.media.erase(instance.name)
        host.disks.prepare_checkpoint(instance)
        host.hypervisor.save(instance)
    except (Unreachable, Foreign):  # What somebody else has begun is nothing to serve with.
        raise
    except WorldError as error:
        # A guest that has not let go of its disc may do so yet; what fails otherwise costs the host each time.
        tried = instance if isinstance(error, Busy) else replace(instance, asks=instance.asks + 1)
        if isinstance(error, NoSpace) or tried.asks >= TRIES or _is_late(instance, host):
            return _without(tried, host, str(error))
        return Wait(tried, Cause(Kind.CHECKPOINT_BEING_TAKEN, reason=of_error(error)), SHORTLY_S)
    return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN), 0.0)


def _kept(instance: Instance, host: Machine) -> Outcome:
    """Of a VM that is off because it was saved; one that has ended otherwise is started again, without."""
    files = host.disks.keep_checkpoint(instance)
    if files is None:
        return _without(instance, host, "its VM ended before its memory was saved")
    layer, memory = files
    checkpoint = Checkpoint(
        generation=instance.generation,
        boot=instance.boot,
        boot_id=instance.boot_id,
        template=roads.built_from(instance.role),
        place=roads.place_of(instance),
        fit=host.hypervisor.fit(),
        layer=layer,
        memory=memory,
        taken_at_s=host.clock.now_s(),
    )
    kept = replace(instance, checkpoint=checkpoint, layered=instance.generation)
    return Done(kept, "its checkpoint is taken")


def _without(instance: Instance, host: Machine, why: str) -> Done:
    """It goes on as it is. What was saved by half is full of its secrets, and nobody has a use for it."""
    with contextlib.suppress(WorldError):  # It goes with the instance at the latest.
        host.disks.erase_memory(instance.name)
    return Done(replace(instance, no_checkpoint=why), f"no checkpoint: {why}", then=Phase.STARTING)


def restore(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """restoring: an empty overlay on the checkpoint's layer, the memory, the time of day, randomness of its own."""
    checkpoint, domain = instance.checkpoint, host.hypervisor.look(instance.name)
    if checkpoint is None:
        return _colder(instance, host, "its record has no checkpoint")
    if domain is None or domain.power in (Power.OFF, Power.CRASHED):
        return _restored(instance, checkpoint, host)
    now_s = host.clock.now_s()
    if not instance.asked_at_s:  # Restored by a daemon that has died since.
        return Wait(replace(instance, asked_at_s=now_s), Cause(Kind.RESTORED), SOON_S)
    if now_s - instance.asked_at_s - blameless_s(instance, now_s) > HEARD_WITHIN_S:
        return _colder(instance, host, f"restored, it is not heard of: {instance.waiting}")
    if domain.power is Power.PAUSED:
        return Wait(instance, Cause(Kind.RESTORED, detail=domain.reason or "its VM is paused"), SHORTLY_S)
    heard = identity_of(instance, host)
    if isinstance(heard, Silence):
        return Wait(instance, Cause(Kind.RESTORED, detail=heard.reason), SOON_S)
    if heard.boot_id != checkpoint.boot_id:  # Somebody else has started its VM, or it has started by itself again.
        return _colder(instance, host, "what runs is not what was saved")
    awake = host.guest.awaken(instance)
    if isinstance(awake, Silence):
        return Wait(instance, Cause(Kind.RESTORED, detail=awake.reason), SOON_S)
    if awake:
        return _colder(instance, host, awake)
    # That boot is counted already.
    return Done(replace(instance, boot=checkpoint.boot, boot_id=checkpoint.boot_id), "its clock is right")


def _restored(instance: Instance, checkpoint: Checkpoint, host: Machine) -> Outcome:
    if instance.asks >= TRIES:
        return _colder(instance, host, f"it could not be restored: {instance.waiting}")
    against = roads.against(instance, checkpoint, host.hypervisor.fit(), host.clock.now_s())
    if why_not := against or host.disks.checkpoint_damage(instance):
        return _colder(instance, host, why_not)
    tried = replace(instance, asks=instance.asks + 1)
    try:
        host.disks.renew_overlay(instance)
        host.hypervisor.restore(instance)
    except (Unreachable, NoSpace):
        raise
    except WorldError as error:
        return Wait(tried, Cause(Kind.RESTORE_FAILED, reason=of_error(error)), SHORTLY_S)
    return Wait(replace(tried, asked_at_s=host.clock.now_s()), Cause(Kind.RESTORED), SOON_S)


def _colder(instance: Instance, host: Machine, why: str) -> Outcome:
    """The same generation, made of the image. What could not be restored as soon as it was saved never will be."""
    if instance.held:
        waits = Cause(Kind.RESTORED, detail=why, also=Cause(Kind.PROTECTED))
        return Wait(instance, waits, HELD_S, blameless=True)
    host.hypervisor.power_off(instance.name)
    host.hypervisor.undefine(instance.name)
    host.media.erase(instance.name)
    host.disks.erase_overlay(instance.name)
    host.disks.erase_checkpoint(instance.name)
    at_once = instance.checkpoint is not None and instance.checkpoint.generation == instance.generation
    cold = replace(instance, checkpoint=None, layered=0, boot=0, boot_id="", resets=0)
    cold = replace(cold, no_checkpoint=why if at_once else instance.no_checkpoint)
    host.disks.lay_local_storage(cold)
    host.disks.lay_overlay(cold)
    return Done(cold, f"cold: {why}", then=Phase.LAYERED)
