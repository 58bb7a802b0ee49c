"""draining: out of rotation at once. What is open may finish within the role's drain time, and so may the guest, if
it has asked to be told of its end.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Instance, Power, Seat
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules import parting
from orchestrator.steps.outcomes import Done, Outcome, Wait

SOON_S = 0.05  # Between looks at connections that are finishing.
LATEST_S = 60.0  # Between looks at a guest that has not let go; it wakes us when it does.


def drain(instance: Instance, host: Machine, seat: Seat | None) -> Outcome:
    """Done when nothing is open, and the guest has let go or its time is over."""
    now_s = host.clock.now_s()
    left_s = parting.left_s(instance, now_s)
    if left_s > 0 and not _runs(instance, host):
        left_s = 0.0
    if left_s <= 0:
        return Done(instance, parting.over(instance)) if seat is None else _finishing(instance)
    note = "" if instance.asked_at_s else parting.learns(instance)
    told = replace(instance, asked_at_s=instance.asked_at_s or now_s)
    again_s = min(left_s, LATEST_S) if seat is None else SOON_S
    return Wait(told, Cause(Kind.PARTING_AWAITED), again_s, note=note)


def _finishing(instance: Instance) -> Wait:
    return Wait(instance, Cause(Kind.DRAINING), SOON_S)


def _runs(instance: Instance, host: Machine) -> bool:
    domain = host.hypervisor.look(instance.name)
    return domain is not None and domain.power is Power.RUNNING
