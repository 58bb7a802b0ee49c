"""What a guest is told before its VM is restarted or stopped, if it has asked, and how long it is waited for.

Only one that leaves rotation is asked: what is healed, and what has never served, has nothing to finish. It is waited
for within the role's drain time, beside the connections that may finish in it, and never for longer. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.model import Instance
from orchestrator.rules.patience import in_phase_s

AGAIN_S: Final = 60.0  # So often one whose boots have no names has to ask again,
LAPSES_S: Final = 120.0  # or nobody waits for it.


def why(instance: Instance) -> str:
    """What its draining leads to, in a word; "": its VM goes on."""
    goal = instance.goal
    if not instance.phase.traits.drains or instance.held or (instance.leased and goal.serve):
        return ""
    if not goal.serve:
        return "removal"
    if instance.spent:
        return "reimage"
    if not goal.runs:
        return "stop"
    if instance.going:
        return "reimage"
    return "restart" if instance.restart_asked else ""


def asked(instance: Instance, now_s: float) -> bool:
    """Whether its guest has asked, in this boot, to be told."""
    parting = instance.parting
    if parting is None:
        return False
    if parting.boot_id and instance.boot_id:
        return parting.boot_id == instance.boot_id
    return now_s - parting.asked_at_s < LAPSES_S


def left_s(instance: Instance, now_s: float) -> float:
    """How long it is waited for yet (seconds); 0: not any more, or not at all."""
    if not why(instance) or not asked(instance, now_s) or _has_let_go(instance):
        return 0.0
    return max(0.0, instance.goal.role.drain_s - in_phase_s(instance, now_s))


def over(instance: Instance) -> str:
    """How the wait for a guest has ended, for the ledger; "": nobody has waited for it."""
    if not instance.asked_at_s:
        return ""
    return "its guest has let go" if _has_let_go(instance) else "its guest has not let go in time"


def told(instance: Instance, now_s: float) -> Mapping[str, object] | None:
    """What the guest learns: why, and within how many seconds it has to let go; None: it is not being stopped."""
    if not (reason := why(instance)):
        return None
    within_s = max(0.0, instance.goal.role.drain_s - in_phase_s(instance, now_s))
    return {"why": reason, "within_s": round(within_s, 3)}


def _has_let_go(instance: Instance) -> bool:
    parting = instance.parting
    return parting is not None and parting.let_go_at_s >= instance.phase_since_s
