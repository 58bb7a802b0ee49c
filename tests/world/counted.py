"""How often something is looked at, or made: what grows with a square is seen by counting."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
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


def made(of: type, meanwhile: Callable[[], object]) -> int:
    """How many values of a dataclass are made meanwhile."""
    code, number = vars(of)["__init__"].__code__, 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal number
        number += event == "call" and frame.f_code is code

    sys.setprofile(count)
    try:
        meanwhile()
    finally:
        sys.setprofile(None)
    return number
