"""A VM that runs without its port on the host: somebody deleted it, and neither guest nor image can help that.

QEMU goes on with a descriptor that leads nowhere, and a port of that name made by hand is not QEMU's. Only a VM that
is started has a port, so the guest is asked to shut down, and started again with everything that it has.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Domain, Instance, Power
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules.patience import stop_within_s
from orchestrator.steps import freeze
from orchestrator.steps.hearing import identity_of, late_says
from orchestrator.steps.outcomes import Wait

LOST = Cause(Kind.PORT_LOST)
_ASKED = Cause(Kind.PORT_LOST_ASKED)
_ENDING = Cause(Kind.PORT_LOST_ENDING)
_KINDS = (LOST.kind, _ASKED.kind, _ENDING.kind)
ENDS_S = 2.0  # The port of a VM that ends goes a moment before libvirt says that it has ended.
ASK_AGAIN_S = 20.0
SHORTLY_S = 0.5


def lost(instance: Instance, domain: Domain | None, host: Machine) -> Wait | None:
    """What to say of a VM that runs without a port; None when it has one, or does not run."""
    if domain is None or domain.power is not Power.RUNNING or host.network.has_port(instance):
        return None
    return Wait(instance, LOST, ENDS_S, blameless=True)


def is_certain(instance: Instance) -> bool:
    """Whether `lost` has said so before in this phase: the VM is not just ending."""
    return instance.waits_for is not None and instance.waits_for.root.kind in _KINDS


def start_again(instance: Instance, host: Machine) -> Wait:
    """The way to a VM that is off: the guest is asked, and ended when it does not hear within its time."""
    now_s = host.clock.now_s()
    since_asked_s, within_s = now_s - instance.asked_at_s, stop_within_s(instance)
    note = "" if instance.waits_for == _ASKED else str(_ASKED)
    if (frozen := freeze.thaw(instance, identity_of(instance, host), now_s)) is not None:
        return replace(frozen, cause=replace(LOST, reason=frozen.cause), blameless=True)
    if not instance.asked_at_s or (ASK_AGAIN_S * instance.asks < since_asked_s <= within_s):
        host.hypervisor.ask_shutdown(instance.name)
        asked = replace(instance, asked_at_s=instance.asked_at_s or now_s, asks=instance.asks + 1)
        return Wait(asked, _ASKED, SHORTLY_S, blameless=True, note=note)
    if since_asked_s <= within_s:
        return Wait(instance, _ASKED, SHORTLY_S, blameless=True, note=note)
    host.hypervisor.power_off(instance.name)
    if instance.forced:
        return Wait(instance, _ENDING, SHORTLY_S, blameless=True)
    note = late_says(instance, within_s, "ended it")
    return Wait(replace(instance, forced=True, warning=note), _ENDING, SHORTLY_S, blameless=True, note=note)
