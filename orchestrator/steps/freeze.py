"""A guest that shall go down while a backup has frozen its file systems.

Asked then, it could not: whatever shuts it down waits for its disks, and ends, on the way, the agent by which they
thaw. So it is asked after the thaw, and has all its time from there.
"""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Identity, Instance, Silence
from orchestrator.model.cause import Cause, Kind
from orchestrator.rules.patience import THAW_WITHIN_S
from orchestrator.steps import hearing
from orchestrator.steps.outcomes import Wait

AGAIN_S = 0.5


def thaw(instance: Instance, identity: Identity | Silence, now_s: float) -> Wait | None:
    """What to wait for before it is asked, or asked anew; None when it is not frozen, or has been for too long.

    The time runs from the first freeze in this phase: no guest puts its end off by one after another.
    """
    if not isinstance(identity, Silence) or not identity.frozen:
        return None
    since_s = instance.frozen_since_s or now_s
    if now_s - since_s > THAW_WITHIN_S:
        return None
    unasked = replace(instance, frozen_since_s=since_s, asked_at_s=0.0, asks=0)
    awaited = Cause(
        Kind.THAW_AWAITED, subject=instance.name, detail=f"{THAW_WITHIN_S:g}", reason=hearing.frozen(identity)
    )
    return Wait(unasked, awaited, AGAIN_S)
