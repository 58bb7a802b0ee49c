"""How often something is looked at, or made: what grows with a square is seen by counting."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
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


@contextlib.contextmanager
def calls_in_new_threads() -> Iterator[Counter[str]]:
    """How often each function of ours is called by threads that begin meanwhile, by thread and name."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "orchestrator" in frame.f_code.co_filename:
            counted[f"{threading.current_thread().name} {frame.f_code.co_qualname}"] += 1

    threading.setprofile(count)
    try:
        yield counted
    finally:
        threading.setprofile(None)
