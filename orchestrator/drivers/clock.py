"""The clocks of the host."""

from __future__ import annotations

import threading
import time


class SystemClock:
    """The time of day, and how long anything lasts, as the kernel keeps them."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """See ports.Clock."""
        return time.monotonic()

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock."""
        changed.wait(within_s)
