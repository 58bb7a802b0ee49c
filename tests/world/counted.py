"""A list that says how often its members were looked at: what grows with a square is seen by counting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Looks:
    """How many members were handed out so far, by all lists of it."""

    def __init__(self) -> None:
        self.count = 0

    def at(self, members: Iterable[T]) -> list[T]:
        """A list of them that counts here."""
        return _Counted(members, self)


class _Counted(list[T]):
    def __init__(self, members: Iterable[T], looks: Looks) -> None:
        super().__init__(members)
        self._looks = looks

    def __iter__(self) -> Iterator[T]:
        for one in super().__iter__():
            self._looks.count += 1
            yield one
