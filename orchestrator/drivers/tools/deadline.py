"""When a socket or a program has had its time, or what it said is believed no more.

By the machine's own clock, for that is what the kernel measures its waits by.

What is waited for by our own judgement goes by the clock that its driver was given; see `patience`.
"""

from __future__ import annotations

import time


class Deadline:
    """So many seconds from now, however the time of day is set."""

    def __init__(self, within_s: float) -> None:
        self._began_s = time.monotonic()
        self._within_s = within_s

    @property
    def passed_s(self) -> float:
        """How long ago it was set."""
        return time.monotonic() - self._began_s

    @property
    def left_s(self) -> float:
        """What is left of it; 0 when it is over."""
        return max(0.0, self._within_s - self.passed_s)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s == 0
