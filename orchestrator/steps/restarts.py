"""A guest that restarts for ever: told as such, and waited out with ever longer pauses. Pure."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.model import Instance
from orchestrator.model.cause import Cause, Kind
from orchestrator.steps.outcomes import Wait

MANY = 6  # restarts by itself, within WINDOW_S: it restarts for ever
WINDOW_S = 600.0
BOOT_MIN_S = 2.0  # No boot is shorter: a guest that says otherwise is not believed.
CALM_S = 10.0  # the first pause; each is twice the one before
CALM_MAX_S = 300.0


def calm(instance: Instance, now_s: float) -> Wait | None:
    """The pause that the instance is in; None when it is in none."""
    left_s = instance.calm_until_s - now_s
    return Wait(instance, _FOR_EVER, left_s, blameless=True) if left_s > 0 else None


def counted(before: Instance, seen: Instance, now_s: float) -> Instance | Wait:
    """`seen`, whose boot has been counted, with a restart of its own noted; the pause when there are too many."""
    if seen.boot == before.boot:
        return seen
    last_s = before.restarts[-1] if before.restarts else 0.0
    if now_s - last_s < BOOT_MIN_S:
        return Wait(before, Cause(Kind.BOOTS_TOO_FAST), BOOT_MIN_S)
    times = (*before.restarts, now_s)[-MANY:]
    noted = replace(seen, restarts=times)
    if not before.calms and (len(times) < MANY or times[-1] - times[0] > WINDOW_S):
        return noted
    pause_s = min(CALM_S * 2.0 ** min(before.calms, 8), CALM_MAX_S)
    paused = replace(noted, calms=before.calms + 1, calm_until_s=now_s + pause_s)
    return Wait(paused, _FOR_EVER, pause_s, blameless=True, note=f"{_FOR_EVER} ({pause_s:g} s)")


_FOR_EVER = Cause(Kind.RESTARTS_FOR_EVER)
