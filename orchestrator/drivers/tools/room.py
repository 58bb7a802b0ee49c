"""How much of a file system may still be taken for what is new: all but a reserve, which running guests need."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from orchestrator.errors import NoSpace

MIB = 1024 * 1024
_PART = 20  # of a small file system, no more than a twentieth is kept


@dataclasses.dataclass(frozen=True, slots=True)
class Room:
    """The file system of a directory, and what is kept free of it (bytes) beside all that is new."""

    directory: Path
    reserve_bytes: int = 0

    def free_bytes(self) -> int:
        """What may be taken now, at least 0."""
        found = os.statvfs(self.directory)
        reserve = min(self.reserve_bytes, found.f_blocks * found.f_frsize // _PART)
        return max(0, found.f_bavail * found.f_frsize - reserve)

    def require(self, count: int, what: str = "the image") -> None:
        """Raises NoSpace when `count` bytes, or for 0 any at all, do not fit."""
        free = self.free_bytes()
        if count > free or free == 0:
            wanted = f"{count // MIB} MiB" if count else "more"
            raise NoSpace(
                f"no room for {what}: {wanted} would leave too little of {self.directory}: {free // MIB} MiB "
                "may be taken",
                hint="make room under the state directory, or lower disk_reserve_mib in the configuration",
            )
