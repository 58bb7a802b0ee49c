"""When the client of which lease was heard of last. In memory alone: a daemon that starts has heard of nobody yet,
and gives each the whole time anew.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from orchestrator.ports import Clock
from orchestrator.rules.patience import LEASE_SILENCE_S


class Attendance:
    """Thread-safe. Times are those of a clock that nobody sets (seconds)."""

    def __init__(self, clock: Clock, within_s: float = LEASE_SILENCE_S) -> None:
        self._clock = clock
        self._within_s = within_s
        self._lock = threading.Lock()
        self._heard_s: dict[str, float] = {}  # by id of the lease

    def hear(self, lease: str) -> None:
        """Its client has said that he is there."""
        with self._lock:
            self._heard_s[lease] = self._clock.monotonic_s()

    def forget(self, lease: str) -> None:
        """There is no such lease any more."""
        with self._lock:
            self._heard_s.pop(lease, None)

    def left_s(self, leases: Iterable[str]) -> dict[str, float]:
        """How long each of their clients may say nothing yet; 0 or less: for too long he has. Who was never asked
        about before has the whole time.
        """
        now_s = self._clock.monotonic_s()
        with self._lock:
            return {one: self._heard_s.setdefault(one, now_s) + self._within_s - now_s for one in leases}
