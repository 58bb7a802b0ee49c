"""Parts of a console's log, which grows, rolls over (NAME.log becomes NAME.log.0), and goes with its VM.

A place in it is written OFFSET-FILE-CHECK: how many bytes lie before it, the number of the file, and a checksum of
what stands right before it. A number alone might be given to the file that comes next.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Final

PLACE_PATTERN: Final = "^[0-9]{1,18}-[0-9]{1,20}-[0-9]{1,10}$"
_CHECKED_BYTES: Final = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a log, and the place where they end."""

    text: bytes
    place: str


def end(log: Path, bytes_most: int) -> Part:
    """The last bytes of a log. Raises FileNotFoundError."""
    with log.open("rb") as file:
        return _part(file, max(0, file.seek(0, os.SEEK_END) - bytes_most), bytes_most)


def after(log: Path, place: str, bytes_most: int) -> Part:
    """The first bytes behind a place, also where the log has rolled over; of another log from its beginning.

    `place` has the form of PLACE_PATTERN. Raises FileNotFoundError when there is no log.
    """
    offset = int(place.partition("-")[0])
    with log.open("rb") as file:
        if _has(file, place):
            return _part(file, offset, bytes_most)
        rest = _rest_of_former(log, place, bytes_most)
        return rest if rest is not None and rest.text else _part(file, 0, bytes_most)


def _rest_of_former(log: Path, place: str, bytes_most: int) -> Part | None:
    """What stands behind the place in the file that was the log before it rolled over, if that has the place."""
    try:
        with log.with_name(f"{log.name}.0").open("rb") as former:
            return _part(former, int(place.partition("-")[0]), bytes_most) if _has(former, place) else None
    except FileNotFoundError:
        return None


def _part(file: BinaryIO, begin: int, bytes_most: int) -> Part:
    file.seek(begin)
    text = file.read(bytes_most)
    return Part(text, _place(file, begin + len(text)))


def _has(file: BinaryIO, place: str) -> bool:
    """Whether it is a place in this file."""
    offset = int(place.partition("-")[0])
    return offset <= file.seek(0, os.SEEK_END) and _place(file, offset) == place


def _place(file: BinaryIO, offset: int) -> str:
    begin = max(0, offset - _CHECKED_BYTES)
    file.seek(begin)
    return f"{offset}-{os.fstat(file.fileno()).st_ino}-{zlib.crc32(file.read(offset - begin))}"
