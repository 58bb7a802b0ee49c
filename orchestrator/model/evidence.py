"""What is kept of a boot of an instance that failed."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from orchestrator.model.naming import InstanceName

MARK: Final = re.compile(r"[0-9]{1,9}-[0-9]{1,9}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capsule:
    """One failure, as it was kept before anything was repaired."""

    instance: InstanceName
    mark: str  # GENERATION-BOOT
    at_s: float  # seconds since the epoch
    size_bytes: int  # of its files
    reason: str
    files: tuple[str, ...]  # by name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceCaps:
    """How much is kept on the whole host; what is older goes first."""

    most: int = 500  # failures
    size_mib: int = 512
    days: int = 30
    disks_mib: int = 20 * 1024  # of system disks that are kept
    disk_hours: int = 24  # each of them for so long
