"""What a guest is told before its VM is restarted or stopped, if it has asked, and how long it is waited for.

It is waited for within the role's drain time and never for longer: one that leaves rotation while its connections
finish, any other (healed, on its way into rotation, a client's whose lease has ended) before it is shut down, and
only as long as something in it answers: nobody waits for the dead. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.model import Farewell, Identity, Instance, Phase, Silence
from orchestrator.rules.patience import in_phase_s

AGAIN_S: Final = 60.0  # So often one whose boots have no names has to ask again,
LAPSES_S: Final = 120.0  # or nobody waits for it.


def why(instance: Instance) -> str:
    """What its draining leads to, or what it is shut down for, in a word; "": its VM goes on, or it is too late."""
    goal, here = instance.goal, instance.phase.traits
    if instance.held:
        return ""
    if not here.drains:
        return _shut_down_for(instance)
    if instance.leased and goal.serve:
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


def _shut_down_for(instance: Instance) -> str:
    """The same, of one that has not drained before."""
    here = instance.phase.traits
    if instance.farewell is Farewell.NONE or instance.asked_at_s:
        return ""
    if here.restarts:
        return "restart"
    if not instance.goal.serve:
        return "removal"
    return "stop" if here.goes_off else "reimage"


def due(seen: Instance, entered: Phase) -> Farewell:
    """Whether a guest may be waited for as its instance enters a phase that shuts it down. Who was drained has had
    its time; who is to go down for something else meanwhile has the time of that.
    """
    there, here = entered.traits, seen.phase.traits
    if not (there.restarts or there.shuts_down or (there.goes_off and not there.is_off)):
        return Farewell.NONE
    under_way = here.drains or here.restarts or here.ends
    has_its_time = seen.farewell is not Farewell.NONE and not seen.asked_at_s
    return Farewell.NONE if under_way and not has_its_time else Farewell.DUE


def answers(instance: Instance, heard: Identity | Silence) -> bool:
    """Whether the guest that has asked lives: its agent tells of the same boot. Where there is no agent, healing,
    which has a reason to think that it is dead, waits for nobody.
    """
    if isinstance(heard, Silence):
        return False
    if heard.source == "none":
        return instance.healed_at_s < instance.phase_since_s
    boot_id = instance.parting.boot_id if instance.parting else ""
    return not (boot_id and heard.boot_id) or boot_id == heard.boot_id


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


def learns(instance: Instance) -> str:
    """That it is told, for the ledger."""
    return f"its guest learns of its {why(instance)} and has {instance.goal.role.drain_s:g} s for it (drain)"


def over(instance: Instance) -> str:
    """How the wait for a guest has ended, for the ledger; "": nobody has waited for it."""
    if not instance.asked_at_s and instance.farewell is not Farewell.TOLD:
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
