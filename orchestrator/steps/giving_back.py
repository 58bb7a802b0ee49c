"""What was taken from an instance while it was kept is given back to it: its local storage and its drives."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.errors import Permanent
from orchestrator.model import Apart, Domain, Instance, PausedBy, Phase, Power, Silence
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules.patience import blameless_s
from orchestrator.steps.outcomes import Done, Outcome, Wait

HELD_S = 5.0
SOON_S = 0.05
GIVEN_BACK_WITHIN_S = 60.0  # Who does not have its disks again by then is booted.


def made_whole(instance: Instance, host: Machine, domain: Domain | None) -> Outcome:
    """Nothing is kept of it: it goes on, with the disks that may have been taken from it. Where that cannot
    be given back it boots, which does it as well.
    """
    goes_on = Done(instance, f"no checkpoint: {instance.no_checkpoint}", then=Phase.STARTING)
    if domain is None or domain.power in (Power.OFF, Power.CRASHED):
        return goes_on
    if domain.power is Power.PAUSED:
        if domain.paused_by is not PausedBy.USER:
            host.hypervisor.start(instance)  # It goes on where it was.
        how = domain.reason or "its VM is paused"
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=how), HELD_S, blameless=True)
    back = _under_way(instance, host) if instance.apart is not Apart.BACK else given_back(instance, host)
    if not back and instance.apart is not Apart.BACK:
        return Wait(replace(instance, apart=Apart.BACK), Cause(Kind.CHECKPOINT_BEING_TAKEN), 0.0)
    if not back:
        return goes_on
    now_s = host.clock.now_s()
    is_late = now_s - instance.asked_at_s - blameless_s(instance, now_s) > GIVEN_BACK_WITHIN_S
    if isinstance(back, Silence) and not is_late:
        return Wait(instance, Cause(Kind.CHECKPOINT_BEING_TAKEN, detail=back.reason), SOON_S)
    if instance.held:
        return protected(instance, "its disks were taken from it")
    host.hypervisor.power_off(instance.name)
    return goes_on


def _under_way(instance: Instance, host: Machine) -> Silence | None:
    """What may yet take its disks from it; None: nothing. A disk that its VM was asked to let go of is there
    until its guest answers, or starts again; who uses it by now is not asked once more.
    """
    if isinstance(aside := host.guest.put_aside(instance), Silence):
        return aside
    if instance.apart is Apart.TAKEN and (aside or not host.hypervisor.unplug_disks(instance)):
        return Silence(reason=aside or "its guest has yet to let go of its disks")
    return None


def given_back(instance: Instance, host: Machine) -> str | Silence:
    """ "": its VM has its disks and its guest has mounted them, or there are none; else why not."""
    if not instance.disk_serials:
        return ""
    try:
        host.hypervisor.plug_disks(instance)
    except Permanent as error:
        return str(error)
    return host.guest.take_back(instance)


def protected(instance: Instance, why: str) -> Wait:
    """Nothing becomes of it until it is protected no more."""
    waits = Cause(Kind.RESTORED, detail=why, also=Cause(Kind.PROTECTED))
    return Wait(instance, waits, HELD_S, blameless=True)
