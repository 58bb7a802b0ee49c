"""Files that go into a guest and come out of it, in parts, through its agent; it is believed nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import BinaryIO, Protocol, TypeVar

from orchestrator.client import clock
from orchestrator.client.client import Client
from orchestrator.client.commands import LOOK_LAST_S, SILENT_MAX_S, run_again
from orchestrator.errors import Conflict, RequestError, Transient, WaitedTooLong

T = TypeVar("T")
PART_BYTES = 512 * 1024
PART_LEAST_BYTES = 8 * 1024
GOOD_PARTS = 8
MODE_BITS = 0o777  # no more of a mode goes over the border
ASKED_S = 30.0  # how long the guest may take to say what a file is
Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Described:
    """What a guest says of a file of its own; `size_bytes` is None where it does not, or where that means nothing."""

    mode: int | None
    size_bytes: int | None


class Sink(Protocol):
    """Where bytes go: a file, or what is like one."""

    def write(self, part: bytes, /) -> object:
        """All of it. Raises OSError."""


UNKNOWN = Described(None, None)


def describe(client: Client, name: str, path: str) -> Described:
    """What the guest says of a file, as far as it may be asked. Raises Conflict for a directory."""
    try:
        told = run_again(client, name, ["stat", "-L", "-c", "%a %s %F", path], within_s=ASKED_S)
    except (RequestError, WaitedTooLong):  # It forbids commands, or is a Windows: the file itself will tell.
        return UNKNOWN
    words = told.output.decode(errors="replace").split(maxsplit=2)
    if told.status != 0 or len(words) != 3:
        return UNKNOWN
    mode, size, kind = words
    if kind.startswith("directory"):
        hint = f"pack it first: vmrole exec {name} tar -C {path} -cf /tmp/packed.tar ."
        raise Conflict(f"{name}:{path} is a directory", hint=hint)
    known = kind.startswith("regular") and size.isascii() and size.isdigit() and len(size) < 16
    # Files of /proc are 0 bytes long, and are not empty.
    bits = int(mode, 8) & MODE_BITS if mode and set(mode) <= set("01234567") and len(mode) <= 5 else None
    return Described(bits, (int(size) or None) if known else None)


def fetch(
    client: Client, name: str, path: str, target: Sink, *, size_bytes: int | None, most_bytes: int, told: Progress
) -> int:
    """Writes a guest's file to `target`: `size_bytes` of it, or all until its end; returns how many that were.

    Raises Conflict for one that is larger than `most_bytes`, or has become shorter.
    """
    if size_bytes is not None and size_bytes > most_bytes:
        raise _too_large(name, path, most_bytes)
    taken, pace = 0, _Pace()
    while size_bytes is None or taken < size_bytes:
        most = PART_BYTES if size_bytes is None else size_bytes - taken
        part, wanted = pace.moved(most, lambda wanted: client.file_part(name, path, taken, wanted))  # noqa: B023
        target.write(part)
        taken += len(part)
        told(taken)
        if taken > most_bytes:
            raise _too_large(name, path, most_bytes)
        if len(part) < wanted:
            break
    if size_bytes is not None and taken < size_bytes:
        shorter = f"{name}:{path} became shorter: it had {size_bytes} bytes, and ends after {taken}"
        raise Conflict(shorter, hint="wait until nothing writes to it any more, then try again")
    return taken


def bring(client: Client, name: str, source: BinaryIO, path: str, told: Progress) -> int:
    """Writes all of `source` to a guest's file, which is made anew; returns how many bytes that were."""
    taken, pace = 0, _Pace()
    while True:
        rest = _read(source)
        is_last = len(rest) < PART_BYTES
        while rest or not taken:  # An empty one is made, too.
            _, count = pace.moved(len(rest), lambda count: client.put_file_part(name, path, taken, rest[:count]))  # noqa: B023
            taken, rest = taken + count, rest[count:]
            told(taken)
            if not count:
                break
        if is_last:
            return taken


class _Pace:
    """How much goes at once: less after each silence, because a guest that is slow says nothing of a part at all.

    More again when many parts have gone, the more the oftener it was silent: that may have been a moment's.
    """

    def __init__(self) -> None:
        self._part_bytes = PART_BYTES
        self._good, self._enough = 0, GOOD_PARTS  # parts in a row, and how many let it try more

    def moved(self, most_bytes: int, move: Callable[[int], T]) -> tuple[T, int]:
        """What `move` gives of as many bytes as go at once, at most so many; and how many those were.

        Raises Transient when the agent has been silent for SILENT_MAX_S, whatever it was asked for.
        """
        until = clock.monotonic_s() + SILENT_MAX_S
        while True:
            count = min(most_bytes, self._part_bytes)
            try:
                moved = move(count)
            except Transient:
                if clock.monotonic_s() > until:
                    raise
            else:
                self._good += 1
                if self._good % self._enough == 0:
                    self._part_bytes = min(PART_BYTES, self._part_bytes * 2)
                return moved, count
            self._good, self._enough = 0, self._enough * 2
            self._part_bytes = max(PART_LEAST_BYTES, self._part_bytes // 2)
            clock.pause(LOOK_LAST_S)


def _read(source: BinaryIO) -> bytes:
    """A whole part, where a pipe gives it in pieces; less at the end."""
    parts, left = list[bytes](), PART_BYTES
    while left and (piece := source.read(left)):
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)


def _too_large(name: str, path: str, most_bytes: int) -> Conflict:
    return Conflict(f"{name}:{path} has more than {most_bytes >> 20} MiB", hint="let more in: --limit MIB")
