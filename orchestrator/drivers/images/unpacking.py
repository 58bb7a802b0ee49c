"""Compressed files become what they hold: by the format's own program, confined, and no larger than there is room."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

from orchestrator.drivers.images import image_incoming
from orchestrator.drivers.images.confinement import by_descriptor, confined, readable, status_of, writable
from orchestrator.drivers.tools.command import Limits, follow, run
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import CommandFailed, NoSpace, Permanent, VmroleError
from orchestrator.imagefiles.magics import looks_like
from orchestrator.imagefiles.reading import DAMAGED, MIB, Source, rejected

# Each writes to its standard output and ends with an error when its sums are wrong or its input is cut.
_PROGRAMS = {
    "gzip": ("gzip", "-dc"),
    "xz": ("xz", "-dc"),
    "zstd": ("zstd", "-dcq"),
    "bzip2": ("bzip2", "-dc"),
}
_PACKAGES = {"gzip": "gzip", "xz": "xz-utils", "zstd": "zstd", "bzip2": "bzip2"}
_MEMORY_BYTES = 512 * MIB  # xz -9 needs 65 MiB, zstd 128 MiB for all that it takes without being asked
_LEAST_S, _SLOWEST_BYTES_PER_S = 900.0, MIB
_WITHIN_S = 6 * 3600.0
_NO_COMMAND = (126, 127)


def unpacked(
    file: Path, undo: contextlib.ExitStack, *, most: int, room: Room, progress: Callable[[], None]
) -> Path | None:
    """A new file beside it with what it holds, or None when it is not compressed; `undo` removes it.

    Only once: what is compressed twice stays so. Raises ImageRejected (damaged, more than `most` bytes) or NoSpace.
    """
    with file.open("rb") as opened:
        looks = looks_like(Source(opened)) & _PROGRAMS.keys()
    if len(looks) != 1:
        return None
    (name,) = looks
    out = image_incoming.empty_file(file.parent, undo)
    _unpack(name, file, out, most=most, room=room, progress=progress)
    with contextlib.suppress(Permanent):  # Some programs write zeros where a hole would do.
        run(["fallocate", "--dig-holes", str(out)], within_s=_WITHIN_S)
    return out


def _unpack(name: str, file: Path, out: Path, *, most: int, room: Room, progress: Callable[[], None]) -> None:
    seconds = min(_WITHIN_S, _LEAST_S + file.stat().st_size / _SLOWEST_BYTES_PER_S)
    free = room.free_bytes()
    limits = Limits(cpu_s=int(seconds), memory_bytes=_MEMORY_BYTES, file_bytes=min(most, free))

    def heard(_text: str) -> None:
        room.require(0)
        progress()

    program = _PROGRAMS[name]
    with readable(file) as read, writable(out) as written:
        streams = f'exec "$0" "$@" <{by_descriptor(read)} >{by_descriptor(written)}'
        argv = [*confined(program[0]), "sh", "-c", streams, *program]
        try:
            follow(argv, heard, within_s=2 * seconds, limits=limits, handles=(read, written))
        except CommandFailed as error:
            raise _refusal(name, error, full=free < most) from error


def _refusal(name: str, error: CommandFailed, *, full: bool) -> VmroleError:
    status = status_of(error)
    if status in _NO_COMMAND:
        return Permanent(f"{_PROGRAMS[name][0]}: no such command", hint=f"apt-get install {_PACKAGES[name]}")
    if os.strerror(errno.ENOSPC) in error.stderr:
        return NoSpace("no room for what it holds", hint="make room under the state directory")
    if status == -signal.SIGXFSZ or os.strerror(errno.EFBIG) in error.stderr:
        if full:
            return NoSpace("no room for what it holds", hint="make room under the state directory")
        return image_incoming.too_long("it holds more than a disk may have")
    if status < 0 or os.strerror(errno.ENOMEM) in error.stderr or "memory" in error.stderr.lower():
        return rejected("limit", f"unpacking it ({name}) takes too much time or memory", "unpack it before")
    return rejected("damaged", f"it cannot be unpacked ({name}): {error.stderr.strip()[-200:]}", DAMAGED)
