"""A backup of the records as a file: a line that says of what follows how long it is and which SHA-256 it has.

So each byte that is missing, added or another is noticed before anything is restored.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

VERSION: Final = 1
LINE_MAX_BYTES: Final = 200
_LINE: Final = re.compile(rb"vmrole backup (\d{1,9}) sha256=([0-9a-f]{64}) bytes=(\d{1,15})\n")
_BEGINNING: Final = re.compile(rb"vmrole backup (\d{1,9}) ")


@dataclasses.dataclass(frozen=True, slots=True)
class Seal:
    """What the line says: of the records' SHA-256, hexadecimal, and their length."""

    sha256: str
    size_bytes: int

    def line(self) -> bytes:
        """The line."""
        return b"vmrole backup %d sha256=%s bytes=%d\n" % (VERSION, self.sha256.encode(), self.size_bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Newer:
    """A backup of a form that this version does not know."""

    version: int


def read(line: bytes) -> Seal | Newer | None:
    """What the first line of a file says; None when it is none of a backup."""
    if (begun := _BEGINNING.match(line)) and int(begun[1]) > VERSION:
        return Newer(int(begun[1]))
    found = _LINE.fullmatch(line)
    return Seal(found[2].decode(), int(found[3])) if found and int(found[1]) == VERSION else None
