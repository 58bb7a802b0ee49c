"""The drives of the fake world."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.drivers.fake.world import FakeDrive, World
from orchestrator.errors import Conflict, NoSpace, NotFound, Permanent
from orchestrator.model.drive import DriveFile, SnapshotFile

MIB = 1024 * 1024


class FakeDrives:
    """Drives in memory; what is written to one is a word."""

    def __init__(self, world: World) -> None:
        self._world = world

    def lay(self, name: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        there = self._world.drives.get(name)
        if there is not None and (there.written or there.snapshots):
            raise Conflict(f"there is a drive {name} of which there is no record", hint="move it away")
        self._room()
        self._world.drives[name] = FakeDrive(size_mib=size_mib)

    def grow(self, name: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        drive = self._there(name)
        drive.size_mib = max(drive.size_mib or 0, size_mib)

    def take(self, name: str, snapshot: str) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        drive = self._there(name)
        if snapshot in drive.snapshots:
            raise Conflict(f"drive {name} has a snapshot {snapshot} already", hint="take another name")
        self._room()
        drive.snapshots[snapshot] = (self._world.now_s(), drive.size_mib or 0, drive.written)

    def bring_back(self, name: str, snapshot: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        drive = self._world.drives.get(name)
        if drive is None or snapshot not in drive.snapshots:
            raise NotFound(f"drive {name} has no snapshot {snapshot!r}", hint="run: vmrole drive ls -o wide")
        self._room()
        _, size, drive.written = drive.snapshots[snapshot]
        drive.size_mib = max(size, size_mib)

    def forget(self, name: str, snapshot: str) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        drive = self._world.drives.get(name)
        if drive is None or drive.snapshots.pop(snapshot, None) is None:
            raise NotFound(f"drive {name} has no snapshot {snapshot!r}", hint="run: vmrole drive ls -o wide")

    def erase(self, name: str) -> None:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        self._world.drives.pop(name, None)

    def inventory(self) -> Mapping[str, DriveFile]:
        """See ports.DriveFiles."""
        self._world.meet("drives")
        return {name: _as_it_lies(drive) for name, drive in self._world.drives.items()}

    def _there(self, name: str) -> FakeDrive:
        drive = self._world.drives.get(name)
        if drive is None or drive.size_mib is None:
            raise Permanent(f"the file of drive {name} is not there")
        return drive

    def _room(self) -> None:
        if self._world.faults.disk_is_full:
            raise NoSpace("the disk is full", hint="make room")


def _as_it_lies(drive: FakeDrive) -> DriveFile:
    kept = tuple(
        SnapshotFile(name=name, size_bytes=size * MIB, used_bytes=len(written), taken_at_s=at_s)
        for name, (at_s, size, written) in drive.snapshots.items()
    )
    size = None if drive.size_mib is None else drive.size_mib * MIB
    return DriveFile(size_bytes=size, used_bytes=len(drive.written), snapshots=kept)
