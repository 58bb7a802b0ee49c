"""Drives: disks that a user owns, and that outlive whatever they are attached to."""

from __future__ import annotations

import dataclasses
from typing import Final

from orchestrator.errors import InvalidInput
from orchestrator.model.naming import label

INDEX: Final = "{index}"
ATTACHED_MAX: Final = 8  # drives of one instance by hand
DISK_NAME_MAX: Final = 16  # characters of what a guest finds a disk by: a serial number of virtio has 20 bytes
MOUNTED, BARE = "ls-", "dr-"  # how serial numbers begin
SIZE_MIB_MIN: Final = 16  # a file system needs some room for itself
SIZE_MIB_MAX: Final = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """A drive as recorded. Its bytes, and its snapshots, are files by its name."""

    name: str
    size_mib: int  # never less than before
    made_at_s: float  # seconds since the epoch
    revision: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoleDrive:
    """A drive that each instance of a role has: a guest sees it as local storage of this name."""

    name: str
    drive: str  # which one; {index} in it is the instance's
    mount: str = ""  # a path of the guest that leads to it as well; "": none does

    def of(self, index: int) -> str:
        """The name of the drive that the instance of that index has."""
        return self.drive.replace(INDEX, str(index))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A drive that somebody has attached to an instance by hand, until it is detached or the instance is gone."""

    name: str  # by which its guest finds it
    drive: str
    mounted: bool = False  # as a drive of the role's: the guest formats and mounts it; False: a disk, and no more

    @property
    def serial(self) -> str:
        """What the guest sees as its disk's serial number."""
        return f"{MOUNTED if self.mounted else BARE}{self.name}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFile:
    """What a drive was at one moment, as it lies on the host."""

    name: str
    size_bytes: int
    used_bytes: int  # that it takes of the host's disk: there are holes where nothing was written
    taken_at_s: float  # seconds since the epoch


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DriveFile:
    """A drive as it lies on the host."""

    size_bytes: int | None  # None: there is no such file, though there are snapshots of it
    used_bytes: int
    snapshots: tuple[SnapshotFile, ...] = ()  # the oldest first


def drive_name(text: str) -> str:
    """`text` when it can name a drive; raises InvalidInput."""
    return label(text, "drive")


def snapshot_name(text: str) -> str:
    """`text` when it can name a snapshot of a drive; raises InvalidInput."""
    return label(text, "snapshot")


def check_size(size_mib: int) -> int:
    """`size_mib` when a drive may have it; raises InvalidInput."""
    if not SIZE_MIB_MIN <= size_mib <= SIZE_MIB_MAX:
        raise InvalidInput(
            f"a drive cannot have {size_mib} MiB",
            hint=f"use {SIZE_MIB_MIN} MiB to {SIZE_MIB_MAX // 1024 // 1024} TiB, such as 10 GiB",
        )
    return size_mib
