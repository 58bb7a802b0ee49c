"""What a build says when it is over, and what it says when it cannot be. Values only: no files, no commands."""

from __future__ import annotations

import dataclasses
from pathlib import Path


class BuildError(Exception):
    """A base image cannot be built; `hint` says what the reader can do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.hint})" if self.hint else str(self.args[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Deb:
    """One Debian package file that we hold: `sha256` is of the file, as computed here."""

    name: str
    version: str
    sha256: str
    path: Path


@dataclasses.dataclass(frozen=True, slots=True)
class BuildReport:
    """A finished image. `size_bytes` is the file, `virtual_size_bytes` the disk the guest sees."""

    path: Path
    sha256: str
    size_bytes: int
    virtual_size_bytes: int
    os: str
    packages: tuple[tuple[str, str], ...]  # (name, version), sorted by name
    seconds: float  # 0.0 where an image that was there already was kept


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """What a recipe put on the disk: the part of the lock file that only the recipe knows."""

    packages: tuple[tuple[str, str, str], ...]  # (name, version, sha256 of the .deb)
    kernel: str
    os: str = "linux"  # what a service file calls it
    follows_host: bool = True  # The packages are the host's apt's, so that its upgrades mean a rebuild.
