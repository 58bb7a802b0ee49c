"""The clock of the host."""

from __future__ import annotations

import time


class SystemClock:
    """Seconds since the epoch, as the kernel keeps them."""

    def now_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()
