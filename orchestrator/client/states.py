"""What the name of a phase means to who asks the daemon; the model's table has the same, and costs a quick answer.

A test keeps the two equal. A phase that is in no function here is one on the way.
"""

from __future__ import annotations

GONE = "gone"  # also of an instance whose record is no longer there


def serves(phase: str) -> bool:
    """Whether the instance serves, well or not."""
    return phase == "serving"


def is_off(phase: str) -> bool:
    """Whether it is off, because somebody asked for that."""
    return phase == "stopped"


def has_failed(phase: str) -> bool:
    """Whether it keeps its evidence until somebody acts, or until it is tried again."""
    return phase == "failed"


def winds_down(phase: str) -> bool:
    """Whether connections or parts of it are coming to their end."""
    return phase in ("draining", "erasing")


def is_there(phase: str) -> bool:
    """Whether there may be a guest that answers."""
    return not is_off(phase) and phase != "requested"
