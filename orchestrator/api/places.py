"""Room for so many at once, and for one party at most half of it, so that nobody can keep all others out."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

import anyio
import anyio.to_thread

from orchestrator.errors import Busy

T = TypeVar("T")


class Places:
    """Places for `what` ("uploads"), `most` of them. For the event loop alone."""

    def __init__(self, what: str, most: int, *, each: int | None = None) -> None:
        self.what = what
        self.most = most
        self._each = each  # for one party; None: half
        self._taken: collections.Counter[str] = collections.Counter()  # by party: who comes as one is one

    @property
    def taken(self) -> int:
        """How many are taken."""
        return self._taken.total()

    def check(self, party: str) -> None:
        """Raises Busy when there is no place for the party now."""
        if self.taken >= self.most:
            raise Busy(f"{self.most} {self.what} are under way", hint="try again when one of them has ended")
        if self._taken[party] >= (self._each or max(1, self.most // 2)):
            told = f"{self._taken[party]} {self.what} of {party} are under way"
            raise Busy(told, hint="one party cannot have all places; end one of them, or try again later")

    @contextlib.contextmanager
    def place(self, party: str) -> Iterator[None]:
        """A place for one; raises Busy as `check` does."""
        self.check(party)
        self._taken[party] += 1
        try:
            yield
        finally:
            self._taken[party] -= 1
            if not self._taken[party]:
                del self._taken[party]


class Threads:
    """Threads for calls that may take long, so that they take none from requests that do not."""

    def __init__(self, what: str, most: int) -> None:
        self.places = Places(what, most)
        self._limiter = anyio.CapacityLimiter(most)

    async def run(self, party: str, call: Callable[[], T]) -> T:
        """The call's result; raises Busy when there is no place for the party."""
        with self.places.place(party):
            return await anyio.to_thread.run_sync(call, limiter=self._limiter)
