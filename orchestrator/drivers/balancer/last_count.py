"""The last count of what is dear to count, for whoever asks again before it is too old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from orchestrator.drivers.tools import effort
from orchestrator.ports import Clock

_Counted = TypeVar("_Counted")


class LastCount(Generic[_Counted]):
    """Counting takes one part in `share` of a core at most, however often it is asked for. Thread-safe."""

    def __init__(self, clock: Clock, share: int) -> None:
        self._clock = clock
        self._share = share
        self._since = object()  # of now; another with each `forget`
        self._last: tuple[object, float, _Counted] | None = None  # since when it holds, and until when

    def forget(self) -> None:
        """What was counted before may miss what has begun since; so may what somebody is counting at this moment,
        who keeps it for himself.
        """
        self._since = object()

    def ask(self, count: Callable[[], _Counted], *, fresh: bool = False) -> _Counted:
        """The last count, or that of now."""
        since, last = self._since, self._last
        if not fresh and last is not None and last[0] is since and self._clock.monotonic_s() < last[1]:
            return last[2]
        began_s = effort.thread_s()  # A host that has no time for us makes it late, not dear.
        counted = count()
        kept_s = (effort.thread_s() - began_s) * (self._share - 1)
        self._last = since, self._clock.monotonic_s() + kept_s, counted
        return counted
