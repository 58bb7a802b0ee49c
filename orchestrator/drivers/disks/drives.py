"""Drives as sparse raw files: what the guest writes to a block is that block of the file, and there is no table of
QEMU's that a sudden end could leave behind. A snapshot is a copy that leaves holes out, or shares blocks where the
file system can.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.drivers.disks.blank import is_blank
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import CommandFailed, Conflict, NotFound, Permanent
from orchestrator.model.drive import DriveFile, SnapshotFile

MIB: Final = 1024 * 1024
COPY_WITHIN_S: Final = 6 * 3600.0  # of many GiB on a slow disk
_NEW: Final = ".new"  # A file that is being made; nobody's yet.
_RAW: Final = ".raw"
_BLOCK_BYTES: Final = 512  # of st_blocks: stat(2)
_HINT: Final = "the state directory must be writable for the daemon"


class RawDrives:
    """See ports.DriveFiles."""

    def __init__(self, layout: Layout, *, reserve_bytes: int = 0) -> None:
        """What an earlier daemon was making when it ended is removed."""
        self._layout = layout
        self._room = Room(layout.state, reserve_bytes)
        with file_faults(layout.drives, _HINT):
            for left in [*layout.drives.glob(f"*/*{_NEW}"), *layout.drives.glob(f"*/snapshots/*{_NEW}")]:
                left.unlink(missing_ok=True)

    def lay(self, name: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        path = self._layout.drive(name)
        with file_faults(path, _HINT):
            there = path.exists() or any(self._snapshots(name))
            if there and not (path.exists() and is_blank(path) and not any(self._snapshots(name))):
                raise Conflict(
                    f"{path.parent} holds a drive of that name, of which there is no record",
                    hint=f"look at what it is, and move it away: mv {path.parent} ELSEWHERE",
                )
        self._room.require(0, f"drive {name}")
        with self._made(path, 0o600) as being_made, being_made.open("wb") as file:
            file.truncate(size_mib * MIB)

    def grow(self, name: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        path = self._layout.drive(name)
        self._require(path, name)
        with file_faults(path, _HINT), path.open("rb+") as file:
            if os.fstat(file.fileno()).st_size < size_mib * MIB:
                file.truncate(size_mib * MIB)
                os.fsync(file.fileno())

    def take(self, name: str, snapshot: str) -> None:
        """See ports.DriveFiles."""
        path, kept = self._layout.drive(name), self._layout.drive_snapshot(name, snapshot)
        self._require(path, name)
        if kept.exists():
            raise Conflict(
                f"drive {name} has a snapshot {snapshot} already",
                hint=f"take another name, or: vmrole drive rm {name} --snapshot {snapshot}",
            )
        self._copy(path, kept, f"a snapshot of drive {name}", 0o400)

    def bring_back(self, name: str, snapshot: str, size_mib: int) -> None:
        """See ports.DriveFiles."""
        kept = self._layout.drive_snapshot(name, snapshot)
        if not kept.exists():
            raise _no_snapshot(name, snapshot)
        self._copy(kept, self._layout.drive(name), f"drive {name}", 0o600, least_bytes=size_mib * MIB)

    def forget(self, name: str, snapshot: str) -> None:
        """See ports.DriveFiles."""
        kept = self._layout.drive_snapshot(name, snapshot)
        with file_faults(kept, _HINT):
            try:
                kept.unlink()
            except FileNotFoundError:
                raise _no_snapshot(name, snapshot) from None

    def erase(self, name: str) -> None:
        """See ports.DriveFiles."""
        place = self._layout.drive_dir(name)
        with file_faults(place, _HINT), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(place)

    def inventory(self) -> Mapping[str, DriveFile]:
        """See ports.DriveFiles."""
        found = {}
        with file_faults(self._layout.drives, _HINT):
            for place in self._layout.drives.glob("*"):
                if place.is_dir():
                    found[place.name] = _as_it_lies(place)
        return found

    def _snapshots(self, name: str) -> Iterator[Path]:
        return self._layout.drive_snapshots(name).glob(f"*{_RAW}")

    def _require(self, path: Path, name: str) -> None:
        if not path.exists():
            raise Permanent(
                f"the file of drive {name} is not there: {path}",
                hint=f"put it back, or: vmrole drive restore {name} SNAPSHOT, vmrole drive rm {name}",
            )

    def _copy(self, source: Path, target: Path, what: str, mode: int, *, least_bytes: int = 0) -> None:
        self._room.require(source.stat().st_blocks * _BLOCK_BYTES, what)
        with self._made(target, mode) as being_made:
            try:
                run(["cp", "--sparse=always", "--reflink=auto", str(source), str(being_made)], within_s=COPY_WITHIN_S)
            except CommandFailed as error:
                self._room.require(source.stat().st_blocks * _BLOCK_BYTES, what)  # It may have been filled meanwhile.
                raise error
            if being_made.stat().st_size < least_bytes:
                os.truncate(being_made, least_bytes)

    @contextlib.contextmanager
    def _made(self, path: Path, mode: int) -> Iterator[Path]:
        """A file that takes the place of what is at `path` when it is whole and on the disk; on any error it goes."""
        being_made = path.with_name(path.name + _NEW)
        with file_faults(path, _HINT):
            self._layout.drives.mkdir(parents=True, exist_ok=True, mode=0o711)
            path.parent.parent.mkdir(exist_ok=True, mode=0o711)
            path.parent.mkdir(exist_ok=True, mode=0o700 if path.parent.name == "snapshots" else 0o711)
            being_made.unlink(missing_ok=True)
            os.close(os.open(being_made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            try:
                yield being_made
                with being_made.open("rb+") as file:
                    os.fchmod(file.fileno(), mode)
                    os.fsync(file.fileno())
                being_made.rename(path)
            except BaseException:
                being_made.unlink(missing_ok=True)
                raise
            for directory in (path.parent, path.parent.parent):
                on_disk(directory)


def _as_it_lies(place: Path) -> DriveFile:
    snapshots = []
    for path in place.glob(f"snapshots/*{_RAW}"):
        with contextlib.suppress(FileNotFoundError):
            at = path.stat()
            snapshots.append(
                SnapshotFile(
                    name=path.stem,
                    size_bytes=at.st_size,
                    used_bytes=at.st_blocks * _BLOCK_BYTES,
                    taken_at_s=at.st_mtime,
                )
            )
    kept = tuple(sorted(snapshots, key=lambda one: (one.taken_at_s, one.name)))
    try:
        disk = (place / f"disk{_RAW}").stat()
    except FileNotFoundError:
        return DriveFile(size_bytes=None, used_bytes=0, snapshots=kept)
    return DriveFile(size_bytes=disk.st_size, used_bytes=disk.st_blocks * _BLOCK_BYTES, snapshots=kept)


def _no_snapshot(name: str, snapshot: str) -> NotFound:
    return NotFound(f"drive {name} has no snapshot {snapshot!r}", hint="run: vmrole drive ls -o wide")
