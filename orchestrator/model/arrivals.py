"""Images on their way into the repository: what is done with each just now, for whoever waits. Nothing is decided."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import threading
from collections.abc import Iterator


class Step(enum.StrEnum):
    """What is being done, in this order."""

    COPYING = "copying"
    UNPACKING = "unpacking"
    CONVERTING = "converting"
    CHECKING = "checking"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One image that is being added. `percent` of the step, where that is known."""

    name: str
    step: Step = Step.COPYING
    copied_bytes: int = 0
    percent: float | None = None


class Arrivals:
    """All of one repository. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tellers: set[Teller] = set()

    @contextlib.contextmanager
    def of(self, name: str) -> Iterator[Teller]:
        """An entry as long as the context lasts."""
        teller = Teller(name)
        with self._lock:
            self._tellers.add(teller)
        try:
            yield teller
        finally:
            with self._lock:
                self._tellers.discard(teller)

    def all(self) -> list[Arrival]:
        """Those that are under way now, by name."""
        with self._lock:
            return sorted((teller.now for teller in self._tellers), key=lambda one: one.name)


class Teller:
    """Says how far one image is; `now` is replaced whole, so that a reader never sees half of a change."""

    def __init__(self, name: str) -> None:
        self.now = Arrival(name=name)

    def copied(self, count: int) -> None:
        """So many bytes are here."""
        self.now = dataclasses.replace(self.now, step=Step.COPYING, copied_bytes=count)

    def unpacking(self) -> None:
        """It was compressed."""
        self.now = dataclasses.replace(self.now, step=Step.UNPACKING, percent=None)

    def converted(self, percent: float) -> None:
        """So much is converted."""
        self.now = dataclasses.replace(self.now, step=Step.CONVERTING, percent=percent)

    def checking(self) -> None:
        """Only checks are left."""
        self.now = dataclasses.replace(self.now, step=Step.CHECKING, percent=None)
