"""An instance that one client has. A step as the others are; see `phases`."""

from __future__ import annotations

from orchestrator.model import Instance, Power, Seat
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.steps.outcomes import Outcome, Wait
from orchestrator.steps.phases import HEALTH_S


def stay(instance: Instance, host: Machine, _seat: Seat | None) -> Outcome:
    """leased: nothing, and no traffic reaches it; its client may do with it what he likes, also have it off."""
    domain = host.hypervisor.look(instance.name)
    power = domain.power if domain is not None else "not there"
    down = None if power is Power.RUNNING else Cause(Kind.VM_DOWN, detail=power)
    return Wait(instance, Cause(Kind.LEASED, subject=instance.goal.lease, also=down), HEALTH_S)
