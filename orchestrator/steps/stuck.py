"""A VM whose QEMU answers nobody though its process lives: it was stopped from outside, or waits for the host.

Nothing inside hears of a wish, and a reset is a question to that QEMU, too. What helps is an end, and a start.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Domain, Instance, Power
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules.patience import blameless_s, stop_within_s
from orchestrator.steps.outcomes import Wait

AGAIN_S = 0.5


def stuck(domain: Domain) -> Cause:
    """What is the matter with a VM that is."""
    return Cause(Kind.VM_STUCK, detail=domain.stuck)


def end(instance: Instance, domain: Domain | None, host: Machine) -> Wait | None:
    """Waits for it as long as for a guest that shuts down, then ends the VM. None when it is not stuck."""
    if domain is None or domain.power is not Power.RUNNING or not domain.stuck:
        return None
    now_s, within_s = host.clock.now_s(), stop_within_s(instance)
    waits = replace(instance, asked_at_s=instance.asked_at_s or now_s)
    if now_s - waits.asked_at_s - blameless_s(instance, now_s) <= within_s:
        return Wait(waits, stuck(domain).besides(Cause(Kind.VM_ENDED_LATER, detail=f"{within_s:g} s")), AGAIN_S)
    host.hypervisor.power_off(instance.name)
    note = f"{domain.stuck}, for {within_s:g} s (stop.within): ended its VM; what it was writing is lost"
    ending = Cause(Kind.VM_ENDING, detail=", whose QEMU is stuck")
    return Wait(replace(waits, forced=True, warning=note), ending, AGAIN_S, note=note)
