"""Who of a role that walks may learn by now that peers have come or gone. Pure.

As Azure's topologyChangeDiscovery: each guest learns of a change when those before it by index, who ask at all, have
asked for what came after it. Who does not is waited for STEP_S, and nobody for longer than WALK_MAX_S in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

STEP_S: Final = 10.0
WALK_MAX_S: Final = 600.0
ASKS_WITHIN_S: Final = 60.0  # Who has not asked for so long does not ask.


def horizon(changes: Iterable[tuple[int, float]], after: int, before: Sequence[int], now_s: float) -> int | None:
    """The last number that it may hear of, which knows all up to `after`; None: all there is.

    `changes`: each with its number and when it came about (seconds since the epoch), the oldest first. `before`: what
    those before it know.
    """
    step_s = min(STEP_S * len(before), WALK_MAX_S)
    for number, at_s in changes:
        waits = 0 <= now_s - at_s < step_s  # A clock that was set back holds up nobody.
        if number > after and waits and any(known < number for known in before):
            return number - 1
    return None
