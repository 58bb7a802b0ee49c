"""Drives with letters, each a directory tree whose names are compared without case, as Windows does."""

from __future__ import annotations

import dataclasses
import enum
import os
import re
from collections.abc import Sequence
from pathlib import Path

_LETTER = re.compile(r"([A-Za-z]):[\\/]*(.*)", re.DOTALL)
_VARIABLES = {"%systemroot%": "C:\\Windows", "%windir%": "C:\\Windows", "%systemdrive%": "C:"}


class DriveType(enum.Enum):
    """What matters of a drive when an answer file is searched."""

    FIXED = enum.auto()
    REMOVABLE = enum.auto()  # and writable: a stick, a floppy
    READ_ONLY = enum.auto()  # and removable: a CD


@dataclasses.dataclass(frozen=True, slots=True)
class Drive:
    """One drive. Paths are Windows', without the letter; links are not followed, so that nothing leads out."""

    letter: str
    root: Path
    kind: DriveType

    def find(self, path: str) -> Path | None:
        """The file or directory, whatever the case of its name; None when there is none."""
        here = self.root
        for part in _parts(path):
            following = _child(here, part)
            if following is None:
                return None
            here = following
        return here

    def read(self, path: str) -> bytes | None:
        """The content of a file; None when there is none."""
        file = self.find(path)
        return file.read_bytes() if file is not None and file.is_file() else None

    def write(self, path: str, content: bytes) -> None:
        """The file with exactly this content, or as it was; directories above are made. Lasts over a power cut."""
        here = self.root
        *above, name = _parts(path)
        for part in above:
            here = _child(here, part) or here / part
            here.mkdir(exist_ok=True)
        file = _child(here, name) or here / name
        unfinished = here / f".{name}.new"
        with unfinished.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(file)

    def remove(self, path: str) -> None:
        """Deletes a file; none there is fine."""
        file = self.find(path)
        if file is not None and file.is_file():
            file.unlink()

    def name_of(self, path: str) -> str:
        """The path with its letter, names as they are written on the drive."""
        file = self.find(path)
        inner = file.relative_to(self.root).parts if file is not None else _parts(path)
        return f"{self.letter}:\\" + "\\".join(inner)


def locate(path: str, drives: Sequence[Drive]) -> tuple[Drive, str] | None:
    """The drive that a full path names, and the rest of the path; None when there is no such drive."""
    for variable, value in _VARIABLES.items():
        if path.lower().startswith(variable):
            path = value + path[len(variable) :]
    found = _LETTER.fullmatch(path)
    if found is None:
        return None
    for drive in drives:
        if drive.letter == found[1].upper():
            return drive, found[2]
    return None


def _parts(path: str) -> list[str]:
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".")]
    return ["\0"] if ".." in parts else parts  # No file is called so: a path upwards leads nowhere.


def _child(directory: Path, name: str) -> Path | None:
    if not directory.is_dir():
        return None
    for entry in sorted(directory.iterdir()):
        if entry.name.lower() == name.lower() and not entry.is_symlink():
            return entry
    return None
