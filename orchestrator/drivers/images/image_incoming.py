"""Where images arrive: the bytes of a stream become files of our own, hashed, bounded, and gone at the end."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator.drivers.tools.room import Room
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles.reading import MIB

CHUNK = MIB
_HOLE = 64 * 1024  # the least that is looked for
_ZEROS = bytes(_HOLE)


@dataclasses.dataclass(frozen=True, slots=True)
class Incoming:
    """A copied file that nobody has looked into yet."""

    path: Path
    sha256: str
    size_bytes: int


def most_bytes(virtual_size_max: int) -> int:
    """No sound file is larger: tables and padding are a small part of what a disk of that size needs."""
    return virtual_size_max + virtual_size_max // 16 + 64 * MIB


def copy(
    source: BinaryIO,
    directory: Path,
    undo: contextlib.ExitStack,
    *,
    parts: Sequence[int],
    most: int,
    room: Room,
    progress: Callable[[int], None],
) -> list[Incoming]:
    """Reads `source` to its end into files of `parts` bytes each, or into one; `undo` removes them.

    `progress` gets all bytes so far. Raises ImageRejected when a file has more than `most` bytes, or when the stream
    is shorter or longer than its parts, and NoSpace when they do not fit into the room.
    """
    found: list[Incoming] = []
    before = 0
    if max(parts, default=0) <= most:
        room.require(sum(parts))

    def heard(count: int) -> None:
        room.require(0)
        progress(before + count)

    for length in parts or (None,):
        bound = most if length is None else min(length, most)
        one = _copy(source, directory, undo, bound, heard)
        if length is not None and one.size_bytes < min(length, most):
            raise _wrong_parts(f"part {len(found) + 1} has {one.size_bytes} bytes of {length}")
        if length is None or length > most:
            _refuse_more(source, most)
        found.append(one)
        before += one.size_bytes
    if parts and source.read(1):
        raise _wrong_parts("there is more than its parts")
    return found


def digest(path: Path, progress: Callable[[], None]) -> Incoming:
    """A file that is here already, made durable."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(CHUNK):
            found.update(chunk)
            progress()
        return Incoming(path, found.hexdigest(), file.tell())


def empty_file(directory: Path, undo: contextlib.ExitStack) -> Path:
    """A new file, mode 0600, that `undo` removes."""
    handle, place = tempfile.mkstemp(dir=directory)
    os.close(handle)
    undo.callback(Path(place).unlink, missing_ok=True)
    return Path(place)


def _copy(
    source: BinaryIO, directory: Path, undo: contextlib.ExitStack, most: int, progress: Callable[[int], None]
) -> Incoming:
    path = empty_file(directory, undo)
    found = hashlib.sha256()
    copied = 0
    with path.open("wb") as out:
        while chunk := source.read(min(CHUNK, most - copied)):
            found.update(chunk)
            _write(out, chunk)
            copied += len(chunk)
            progress(copied)
        out.truncate(copied)
        out.flush()
        os.fsync(out.fileno())
    return Incoming(path, found.hexdigest(), copied)


def _write(out: BinaryIO, chunk: bytes) -> None:
    """What is zero stays a hole, or becomes one."""
    for at in range(0, len(chunk), _HOLE):
        piece = chunk[at : at + _HOLE]
        if piece == _ZEROS[: len(piece)]:
            out.seek(len(piece), os.SEEK_CUR)
        else:
            out.write(piece)


def _refuse_more(source: BinaryIO, most: int) -> None:
    if source.read(1):
        raise too_long(f"more than {most // MIB} MiB were sent")


def too_long(told: str) -> ImageRejected:
    """More than a disk may have, to be raised."""
    return ImageRejected(
        f"the image is refused (too-long): {told}",
        reason="too-long",
        hint="raise image_virtual_size_max_gib if that is meant",
    )


def _wrong_parts(told: str) -> ImageRejected:
    return ImageRejected(
        f"the image is refused (truncated): {told}", reason="truncated", hint="the file changed: send it again"
    )
