"""Time as the core sees it."""

from __future__ import annotations

import threading
from typing import Protocol


class Clock(Protocol):
    """Time as the core sees it."""

    def now_s(self) -> float:
        """Seconds since the epoch; somebody may set it, also back."""

    def monotonic_s(self) -> float:
        """Seconds since some moment, which only go forwards: for what is due."""

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """Returns when the condition, which the caller holds, is notified, or the time is over; perhaps earlier."""
