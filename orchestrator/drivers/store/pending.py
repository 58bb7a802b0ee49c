"""A backup that a running daemon was given: it waits beside the records, and the next start of a daemon restores it.

Each step is one rename or one unlink, and what is left after a kill says which was the last:

    STATE/vmrole.restore            whole and checked, since the answer "accepted"; absent: nothing waits
    STATE/vmrole.restored           JSON, how the last one ended; written before the records are replaced, and while
                                    the former ones and the records are one file, they are not
    STATE/vmrole.restore.refused    one that could not be restored; nobody needs it any more
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.drivers.store import backup
from orchestrator.drivers.store.backup import UNFINISHED, Restored
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import Busy, ConfigError, InvalidInput, VmroleError
from orchestrator.model.restoring import RestoreState, Restoring

BACKUP_MAX_BYTES: Final = 1 << 30  # a thousand instances with a full ledger have a twentieth of it
_COPIES: Final = 2  # what waits, and the records that it becomes
_CHUNK_BYTES: Final = 1 << 20
_TOLD_MAX_BYTES: Final = 1 << 16
_CALLED: Final = "what was sent"
_HINT: Final = "look at the file system of the state directory"

log = logging.getLogger(__name__)


class Pending:
    """That of one file of records. `staged` is called when one waits: the daemon is to begin anew. Thread-safe."""

    def __init__(self, records: Path, *, reserve_bytes: int = 0, staged: Callable[[], None] = lambda: None) -> None:
        self._records = records
        self._room = Room(records.parent, reserve_bytes)
        self._staged = staged
        self._staging = threading.Lock()
        self.waits = False  # From now on no change is accepted: it would be gone in a moment.

    @property
    def file(self) -> Path:
        """Where it waits."""
        return self._records.with_name("vmrole.restore")

    @property
    def refused(self) -> Path:
        """Where one lies that could not be restored."""
        return self._records.with_name("vmrole.restore.refused")

    @property
    def _told(self) -> Path:
        return self._records.with_name("vmrole.restored")

    # While the daemon runs

    def stage(self, source: BinaryIO, size_bytes: int) -> Restoring:
        """Takes a backup of so many bytes, and returns when it survives whatever happens to the host.

        Raises InvalidInput for what `backup.restore` would refuse, NoSpace, and Busy while there is another; nothing
        has changed then.
        """
        if size_bytes > BACKUP_MAX_BYTES:
            told = f"{_CALLED} has {size_bytes} bytes; a backup that a daemon takes has at most {BACKUP_MAX_BYTES}"
            hint = "restore it without the daemon: systemctl stop vmrole; vmrole restore FILE; systemctl start vmrole"
            raise InvalidInput(told, hint=hint)
        if self.waits or not self._staging.acquire(blocking=False):
            raise Busy("another backup is being restored", hint="wait until that has ended: vmrole verify")
        try:
            self._room.require(_COPIES * size_bytes, "the backup")
            return self._stage(source, size_bytes)
        finally:
            self._staging.release()

    def _stage(self, source: BinaryIO, size_bytes: int) -> Restoring:
        with file_faults(self._records, _HINT):
            handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=self._records.parent)  # 0600
        copy = Path(name)
        try:
            with os.fdopen(handle, "wb") as target:
                sha256 = _taken(source, target, size_bytes, copy)
            try:
                kinds = backup.check(copy, self._records, _CALLED)
            except ConfigError as error:  # It is who asks who brought what is newer.
                raise InvalidInput(str(error), hint=error.hint) from error
            with file_faults(self.file, _HINT):
                self.waits = True
                for former in (self._told, self.refused):
                    former.unlink(missing_ok=True)
                copy.replace(self.file)
                on_disk(self.file.parent)
        except BaseException:
            if self.waits:
                self.file.unlink(missing_ok=True)
            self.waits = False
            raise
        finally:
            copy.unlink(missing_ok=True)
        self._staged()
        return Restoring(state=RestoreState.PENDING, sha256=sha256, records=kinds)

    def last(self) -> Restoring:
        """How far the last one is that was given."""
        if self.file.exists():
            return Restoring(state=RestoreState.PENDING)
        last = self._read()
        if last.state is not RestoreState.REFUSED and self.refused.exists():
            return Restoring(state=RestoreState.REFUSED, refusal="it could not be restored", hint="see the log")
        return last

    # At the start of one

    def apply(self) -> None:
        """Restores what waits, before anybody opens the records. What cannot be restored is set aside.

        Raises ConfigError while another daemon has the records, Transient when nothing can be written there.
        """
        if not self.file.exists():
            return
        with backup.alone(self._records):
            if not self._is_done():
                self._apply()
            with file_faults(self.file, _HINT):
                self.file.unlink(missing_ok=True)
                on_disk(self.file.parent)

    def _is_done(self) -> bool:
        """Whether a daemon that was killed had put it in place, and only not taken it away."""
        last = self._read()
        former = Path(last.former)
        there = bool(last.former) and former.exists() and self._records.exists()
        return there and not former.samefile(self._records)

    def _apply(self) -> None:
        try:
            with file_faults(self.file, _HINT), self.file.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()

            def about_to(restored: Restored) -> None:
                self._tell(
                    Restoring(
                        state=RestoreState.RESTORED,
                        sha256=sha256,
                        records=restored.records,
                        former=str(restored.former or ""),
                    )
                )

            restored = backup.put_back(self.file, self._records, about_to)
        except VmroleError as error:
            if self._is_done():
                raise
            self._refuse(error)
        else:
            counts = sum(restored.records.values())
            log.warning("a backup was restored: %d records; the former ones are kept: %s", counts, restored.former)

    def _refuse(self, error: VmroleError) -> None:
        log.error("a backup was not restored, and the records are as they were: %s (%s)", error, error.hint)
        try:
            self._tell(Restoring(state=RestoreState.REFUSED, refusal=str(error), hint=error.hint))
        except VmroleError as untold:
            log.warning("why it was not restored could not be kept: %s", untold)
            self._told.unlink(missing_ok=True)
        with file_faults(self.refused, _HINT):
            self.file.replace(self.refused)

    # How it ended

    def _read(self) -> Restoring:
        """What was told last; of what is none, nothing."""
        try:
            with self._told.open("rb") as file:
                found = json.loads(file.read(_TOLD_MAX_BYTES))
            return Restoring(**{**found, "state": RestoreState(found["state"])})
        except (OSError, ValueError, TypeError, LookupError):
            return Restoring()

    def _tell(self, last: Restoring) -> None:
        new = self._told.with_name(f"{UNFINISHED}told")
        with file_faults(self._told, _HINT):
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "w") as file:
                json.dump(dataclasses.asdict(last), file)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._told)
            on_disk(self._told.parent)


def _taken(source: BinaryIO, target: BinaryIO, size_bytes: int, place: Path) -> str:
    """The SHA-256 of all bytes, which are on disk then."""
    whole, left = hashlib.sha256(), size_bytes
    while left:
        chunk = source.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise InvalidInput(f"{_CALLED} ended {left} bytes early", hint="send it again; nothing was changed")
        with file_faults(place, _HINT):
            target.write(chunk)
        whole.update(chunk)
        left -= len(chunk)
    with file_faults(place, _HINT):
        target.flush()
        os.fsync(target.fileno())
    return whole.hexdigest()
