"""How long a driver waits for something outside: by the host's clock, and never without an end."""

from __future__ import annotations

import threading

from orchestrator.ports import Clock


class Patience:
    """A wait of `within_s` seconds at most that began when this was made."""

    def __init__(self, clock: Clock, within_s: float) -> None:
        self._clock = clock
        self._end_s = clock.monotonic_s() + within_s
        self._nobody = threading.Condition()

    @property
    def over(self) -> bool:
        """Whether its time is over."""
        return self._clock.monotonic_s() > self._end_s

    def pause(self, seconds: float) -> None:
        """Lets so much time pass between two looks; perhaps less."""
        with self._nobody:
            self._clock.wait(self._nobody, seconds)
