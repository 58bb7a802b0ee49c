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
        return max(0, found.f_bavail * found.f_frsize - self._kept_bytes(found))

    def require(self, count: int, what: str = "the image") -> None:
        """Raises NoSpace when `count` bytes, or for 0 any at all, do not fit."""
        free = self.free_bytes()
        if count > free or free == 0:
            found = os.statvfs(self.directory)
            kept, unused = self._kept_bytes(found) // MIB, found.f_bavail * found.f_frsize // MIB
            needs = f"needs {count // MIB} MiB, and " if count else ""
            raise NoSpace(
                f"no room for {what}: {needs}{self.directory} has {unused} MiB free, of which {kept} MiB "
                "are kept for what runs",
                hint="make room under the state directory, or lower disk_reserve_mib in the configuration",
            )

    def _kept_bytes(self, found: os.statvfs_result) -> int:
        return min(self.reserve_bytes, found.f_blocks * found.f_frsize // _PART)
