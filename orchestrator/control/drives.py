"""What users ask of their drives. The record says which there are; what is in one is its file's alone.

Whatever the order of file and record, it is one that can be asked for again after a crash between the two, and none
in which something is lost that a record knows.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from orchestrator.control import records, unread
from orchestrator.control.custody import Custody
from orchestrator.control.present import Present
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Event, InstanceName, Service
from orchestrator.model.drive import Drive, DriveFile, check_size, drive_name, snapshot_name
from orchestrator.ports import Clock, DriveFiles
from orchestrator.rules import holding, quotas

MIB = 1024 * 1024
DRIVES_MAX = 10_000
_OUT_OF_FILE = "take it out of the service's file, or scale its role to 0, and wait until that is done"


@dataclass(frozen=True, slots=True)
class Found:
    """A drive, and how it lies on the host."""

    drive: Drive
    file: DriveFile | None  # None: nothing of it is there
    holder: InstanceName | None = None  # who has it, or is to have it
    attached: bool = False  # by hand, not by its service's file


class Drives:
    """The requests about drives. Thread-safe: one at a time at each drive."""

    def __init__(
        self,
        present: Present,
        files: DriveFiles,
        clock: Clock,
        custody: Custody | None = None,
        enlarge: Callable[[InstanceName, str, int], None] = lambda _name, _drive, _size_mib: None,
        limit_mib: int | None = None,
        blobs_mib: Callable[[], int] = lambda: 0,
    ) -> None:
        """`limit_mib` is what all disks of the host together may come to hold, beside the blobs that there are; None:
        whatever is asked.
        """
        self._present = present
        self._files = files
        self._clock = clock
        self._custody = custody or Custody()
        self._enlarge = enlarge
        self._limit_mib = limit_mib
        self._blobs_mib = blobs_mib

    def all(self) -> list[Found]:
        """All drives, by name."""
        lies = self._files.inventory()
        has, by_hand = self._holders(), holding.by_hand(self._present.instances().values())
        return [
            Found(drive, lies.get(drive.name), has.get(drive.name), drive.name in by_hand)
            for drive in self._present.all(Drive)
        ]

    def one(self, name: str) -> Found:
        """That one; raises NotFound."""
        return self._found(self._load(name))

    @property
    def giving(self) -> threading.Lock:
        """Who holds it gives out drives, or takes them back, and nobody else does."""
        return self._custody.giving

    def lies(self) -> Mapping[str, DriveFile]:
        """What lies on the host, recorded or not."""
        return self._files.inventory()

    def create(self, name: str, size_mib: int) -> Found:
        """A new drive of zeros. Raises InvalidInput, or Conflict when there is one of that name."""
        with self.alone(drive_name(name)):
            check_size(size_mib)
            if self._present.find(Drive, name) is not None:
                raise Conflict(f"there is a drive {name}", hint="run: vmrole drive ls")
            if len(self._present.all(Drive)) >= DRIVES_MAX:
                raise Conflict(
                    f"there are {DRIVES_MAX} drives", hint="remove those that nobody uses: vmrole drive ls"
                )
            self._refuse_more(size_mib)
            self._files.lay(name, size_mib)
            drive = Drive(name=name, size_mib=size_mib, made_at_s=self._clock.now_s())
            return self._put(drive, f"drive {name} was made, {size_mib} MiB")

    def grow(self, name: str, size_mib: int) -> Found:
        """Makes a drive larger, also for the VM that runs with it. As large as it is already is fine; raises
        InvalidInput for less, NotFound.
        """
        with self.alone(name, though_held=True):
            drive = self._load(name)
            check_size(size_mib)
            if size_mib < drive.size_mib:
                raise InvalidInput(
                    f"drive {name} has {drive.size_mib} MiB, and does not become smaller",
                    hint="make another, and copy what is in it",
                )
            self._refuse_more(size_mib - drive.size_mib)
            self._files.grow(name, size_mib)
            if size_mib != drive.size_mib:
                told = f"drive {name} has grown to {size_mib} MiB"
                drive = self._put(replace(drive, size_mib=size_mib), told).drive
            if (holder := self._holders().get(name)) is not None:
                self._enlarge(holder, name, size_mib)
            return self._found(drive)

    def snapshot(self, name: str, snapshot: str = "") -> Found:
        """Keeps a drive as it is now; "" is named by the time, in UTC. Raises NotFound, Conflict, NoSpace."""
        with self.alone(name):
            drive = self._load(name)
            now = datetime.datetime.fromtimestamp(self._clock.now_s(), datetime.UTC)
            called = snapshot_name(snapshot or f"{now:%Y%m%d-%H%M%S}")
            self._files.take(name, called)
            self._tell(f"snapshot {called} of drive {name} was taken")
            return self._found(drive)

    def restore(self, name: str, snapshot: str) -> Found:
        """Makes a drive what it was: all that was written to it since is lost. Raises NotFound, NoSpace."""
        with self.alone(name):
            drive = self._load(name)
            self._files.bring_back(name, snapshot_name(snapshot), drive.size_mib)
            self._tell(f"drive {name} is again what snapshot {snapshot} has kept")
            return self._found(drive)

    def forget(self, name: str, snapshot: str) -> Found:
        """Removes a snapshot; raises NotFound."""
        with self.alone(name, though_held=True):
            drive = self._load(name)
            self._files.forget(name, snapshot_name(snapshot))
            self._tell(f"snapshot {snapshot} of drive {name} was removed")
            return self._found(drive)

    def remove(self, name: str) -> Found:
        """Removes a drive with its snapshots, and returns what it was; raises NotFound."""
        with self.alone(name):
            found = self._found(self._load(name))
            self._files.erase(name)  # First: what is half gone has a record yet, and can be removed again.
            told = Event(at_s=self._clock.now_s(), subject="host", message=f"drive {name} was removed")
            self._present.commit([records.drop(found.drive)], [told])
            return found

    @contextlib.contextmanager
    def alone(self, name: str, *, though_held: bool = False) -> Iterator[None]:
        """Nobody else is at the drive, or gets it, meanwhile: a copy may take an hour, so nobody waits for it either.

        One that an instance has is nobody else's, unless `though_held`.
        """
        with self._custody.giving:
            if name in self._custody.busy:
                raise Conflict(f"drive {name} is being copied or changed", hint="wait for that, and try again")
            if not though_held and (holder := self._holders().get(name)) is not None:
                attached = name in holding.by_hand(self._present.instances().values())
                hint = f"run: vmrole drive detach {name}" if attached else _OUT_OF_FILE
                raise Conflict(f"{holder} has drive {name}", hint=hint)
            self._custody.busy.add(name)
        try:
            yield
        finally:
            with self._custody.giving:
                self._custody.busy.discard(name)

    def _refuse_more(self, more_mib: int) -> None:
        """Raises InvalidInput when the host does not have so much more."""
        specs = [one.spec for one in self._present.all(Service)]
        specs += unread.deployed(self._present, self._present.set_aside())
        used_mib = sum(one.size_mib for one in self._present.all(Drive)) + self._blobs_mib()
        quotas.refuse_drive(more_mib, used_mib, specs, self._limit_mib)

    def _holders(self) -> Mapping[str, InstanceName]:
        specs = (one.spec for one in self._present.all(Service) if not one.removing)
        return holding.holders(specs, self._present.instances().values())

    def _load(self, name: str) -> Drive:
        drive = self._present.find(Drive, name)
        if drive is None:
            raise NotFound(f"there is no drive {name[:80]!r}", hint="run: vmrole drive ls")
        return drive

    def _found(self, drive: Drive) -> Found:
        attached = drive.name in holding.by_hand(self._present.instances().values())
        return Found(drive, self._files.inventory().get(drive.name), self._holders().get(drive.name), attached)

    def _put(self, drive: Drive, told: str) -> Found:
        event = Event(at_s=self._clock.now_s(), subject="host", message=told)
        return self._found(replace(drive, revision=self._present.commit([records.put(drive)], [event])))

    def _tell(self, told: str) -> None:
        self._present.commit([], [Event(at_s=self._clock.now_s(), subject="host", message=told)])
