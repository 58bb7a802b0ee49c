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


class Event:
    """As threading.Event, where who waits for it does so by the host's clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._came = False

    def set(self) -> None:
        """It has come, and whoever waits is told."""
        with self._changed:
            self._came = True
            self._changed.notify_all()

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._came

    def within(self, seconds: float) -> bool:
        """Whether it has come; waits so long for it, perhaps less."""
        with self._changed:
            if not self._came:
                self._clock.wait(self._changed, seconds)
            return self._came
