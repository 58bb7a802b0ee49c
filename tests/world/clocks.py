"""A clock by which every wait is over at once, and what was waited for is counted."""

from __future__ import annotations

import threading


class HurriedClock:
    """See ports.Clock: its time moves by what somebody waits, and nobody does in truth."""

    def __init__(self) -> None:
        self.time_s = 1_000.0

    def now_s(self) -> float:
        """See ports.Clock."""
        return self.time_s

    def monotonic_s(self) -> float:
        """See ports.Clock."""
        return self.time_s

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock."""
        assert changed
        self.time_s += within_s
