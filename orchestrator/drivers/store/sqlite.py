"""The document store on SQLite: one connection in one process, every commit on disk before it is answered."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from orchestrator.drivers.store.backup import copied, sealed, sweep
from orchestrator.drivers.store.change_log import ChangeLog
from orchestrator.drivers.store.limits import assert_fits
from orchestrator.drivers.store.sqlite_file import connect, counted, digest, lock, prepare, translated
from orchestrator.drivers.store.sqlite_room import Room
from orchestrator.errors import ConfigError, StaleRevision, Transient
from orchestrator.model import Event
from orchestrator.ports import COMMIT_IDS_KEPT, Change, Check, Document, Write

log = logging.getLogger(__name__)

EVENTS_OF_ONE = 200  # The newest of each subject are kept,
EVENTS_MAX = 100_000  # and of all subjects together these: the subjects of years that are gone do not pile up.
_DAMAGED = "its bytes are not those that were written"
_NO_DOCUMENT = "it is no document"
_STANDS = "the disk failed while this was recorded; it stands, but may be lost with the next power failure"
_LOOK = "look at the disk, and what there is now: vmrole get, vmrole image ls"
_EVENT = "at_s, subject, message, phase, generation, boot"


class SqliteStore:
    """See ports.Store. Thread-safe; `with` closes it. Raises ConfigError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        self._path = path
        hint = (
            "restore a backup: vmrole restore FILE; without one, move the file away, deploy anew, and: vmrole verify"
        )
        try:
            with contextlib.ExitStack() as undo:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
                self._lock_file = lock(path)
                undo.callback(os.close, self._lock_file)
                self._room = Room(path)
                undo.callback(self._room.close)
                self._db = connect(path)
                undo.callback(self._db.close)
                prepare(self._db, path)
                self._room.keep()
                sweep(path)
                self._revision, self._documents = counted(self._db)
                self._damaged = self._look_through()
                undo.pop_all()
        except (sqlite3.Error, OSError, UnicodeError) as error:
            raise ConfigError(f"{path}: the records cannot be read: {error}", hint=hint) from error
        self._log = ChangeLog(self._revision)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _look_through(self) -> Sequence[Document]:
        """Every document that is not as it was written; raises sqlite3.Error when some are missing altogether."""
        rows = self._db.execute("SELECT kind, key, revision, body, digest FROM documents").fetchall()
        if len(rows) != self._documents:
            raise sqlite3.DatabaseError(f"{len(rows)} records are left of {self._documents}")
        newest = max((row[2] for row in rows if isinstance(row[2], int)), default=0)
        damaged = [document for row in rows if (document := _document(*row)).damage]
        if newest > self._revision and not damaged:
            raise sqlite3.DatabaseError("a record is newer than the last commit")
        for document in damaged:
            log.error("the record %s %r is damaged: %s", document.kind, document.key, document.damage)
        return damaged

    def damaged(self) -> Sequence[Document]:
        """See ports.Store."""
        return self._damaged

    def get(self, kind: str, key: str) -> Document | None:
        """See ports.Store."""
        with self._changed, translated():
            row = self._db.execute(
                "SELECT revision, body, digest FROM documents WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else _document(kind, key, *row)

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        with self._changed, translated():
            rows = self._db.execute(
                "SELECT key, revision, body, digest FROM documents WHERE kind = ? ORDER BY key", (kind,)
            ).fetchall()
        return [_document(kind, *row) for row in rows]

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """See ports.Store."""
        assert_fits(writes, events, checks)
        with self._changed, translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                earlier = self._earlier(commit_id)
                if earlier:
                    self._db.execute("ROLLBACK")
                    return earlier
                revision = self._revision + 1
                for check in checks:
                    self._compare(check)
                changes = [self._write(write, revision) for write in writes]
                self._tell(events)
                self._count(revision, commit_id)
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if self._count_anew():
                    raise Transient(_STANDS, hint=_LOOK) from error
                raise
            self._revision = revision
            self._log.add(changes)
            self._room.keep()
            self._changed.notify_all()
            return revision

    def _count_anew(self) -> bool:
        """A disk that fails in COMMIT leaves either one. Whether what failed stands; then all is read again."""
        before = self._revision
        self._revision, self._documents = counted(self._db)
        if self._revision == before:
            return False
        log.error(_STANDS)
        self._log = ChangeLog(self._revision)
        self._changed.notify_all()
        return True

    def _earlier(self, commit_id: str) -> int:
        """The revision that the commit of this id had, or 0."""
        row = (
            self._db.execute("SELECT revision FROM commits WHERE id = ?", (commit_id,)).fetchone()
            if commit_id
            else None
        )
        return int(row[0]) if row else 0

    def _compare(self, wanted: Check | Write) -> bool:
        """Raises StaleRevision unless the document is at the expected revision; returns whether there is one."""
        row = self._db.execute(
            "SELECT revision FROM documents WHERE kind = ? AND key = ?", (wanted.kind, wanted.key)
        ).fetchone()
        present = 0 if row is None else row[0]
        if present != wanted.expected:
            raise StaleRevision(
                f"{wanted.kind} {wanted.key} changed meanwhile: {present} is not {wanted.expected}",
                hint="read it again, then try again",
            )
        return row is not None

    def _write(self, write: Write, revision: int) -> Change:
        present = self._compare(write)
        if write.body is None:
            self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (write.kind, write.key))
            self._documents -= present
            return Change(write.kind, write.key, revision, None)
        body = json.dumps(dict(write.body), separators=(",", ":"))
        self._db.execute(
            "INSERT OR REPLACE INTO documents (kind, key, revision, body, digest) VALUES (?, ?, ?, ?, ?)",
            (write.kind, write.key, revision, body, digest(write.kind, write.key, revision, body)),
        )
        self._documents += not present
        return Change(write.kind, write.key, revision, Document(write.kind, write.key, write.body, revision))

    def _tell(self, events: Sequence[Event]) -> None:
        """Appends to the ledger, and forgets the oldest of the same subjects and of all."""
        rows = [(one.at_s, one.subject, one.message, str(one.phase), one.generation, one.boot) for one in events]
        self._db.executemany(
            f"INSERT INTO events ({_EVENT}, digest) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            [(*row, digest(float(row[0]), *row[1:])) for row in rows],
        )
        for subject in {event.subject for event in events}:
            self._db.execute(
                "DELETE FROM events WHERE subject = :of AND number <= "
                "(SELECT number FROM events WHERE subject = :of ORDER BY number DESC LIMIT 1 OFFSET :kept)",
                {"of": subject, "kept": EVENTS_OF_ONE},
            )
        self._db.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (EVENTS_MAX,))

    def _count(self, revision: int, commit_id: str) -> None:
        self._db.execute(
            "UPDATE counter SET revision = ?, documents = ?, digest = ?",
            (revision, self._documents, digest(revision, self._documents)),
        )
        if commit_id:
            self._db.execute("INSERT INTO commits (id, revision) VALUES (?, ?)", (commit_id, revision))
            self._db.execute(
                "DELETE FROM commits WHERE number <= (SELECT max(number) FROM commits) - ?", (COMMIT_IDS_KEPT,)
            )

    def revision(self) -> int:
        """See ports.Store."""
        return self._revision  # Without the lock: a commit that is under way must not hold up who only looks.

    def changes(self, after: int) -> Sequence[Change] | None:
        """See ports.Store."""
        with self._changed:
            return self._log.after(after)

    def wait(self, after: int, timeout_s: float) -> int:
        """See ports.Store."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision > after or self._closed, timeout_s)
            return self._revision

    def events(self, *, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """See ports.Store."""
        role, _, service = subject.partition(".")
        said = (subject, role, service)
        escaped = [text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for text in said]
        with self._changed, translated():
            rows = self._db.execute(
                f"""
                SELECT number, {_EVENT}, digest FROM events
                WHERE number > :after AND (
                    :subject = '' OR subject = :subject OR subject LIKE :of_service ESCAPE '\\'
                    OR (:service <> '' AND subject LIKE :of_role ESCAPE '\\'
                        AND substr(subject, length(:role) + 2, instr(subject, '.') - length(:role) - 2)
                            NOT GLOB '*[^0-9]*')
                )
                ORDER BY number DESC LIMIT :limit
                """,  # noqa: S608 - a constant
                {
                    "after": after,
                    "subject": subject,
                    "of_service": f"%.{escaped[0]}",
                    "service": service,
                    "role": role,
                    "of_role": f"{escaped[1]}-_%.{escaped[2]}",
                    "limit": limit,
                },
            ).fetchall()
        return [_event(*row) for row in reversed(rows)]

    def backup(self) -> BinaryIO:
        """All records and the ledger as of now, as a file that has no name; commits wait while it is copied.

        Raises Permanent when something is damaged, NoSpace without room for a copy of the records beside them.
        """
        with contextlib.ExitStack() as held:
            with self._changed, translated():
                copy = held.enter_context(copied(self._db, self._path))
            return sealed(copy)

    def close(self) -> None:
        """See ports.Store."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._db.close()
            self._room.close()
            os.close(self._lock_file)
            self._changed.notify_all()


def _document(kind: str, key: str, revision: int, body: str, written: bytes) -> Document:
    damage = "" if digest(kind, key, revision, body) == written else _DAMAGED
    if not damage and isinstance(kind, str) and isinstance(key, str):
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            if isinstance(whole := json.loads(body), dict):
                return Document(kind, key, whole, revision)
    return Document(str(kind), str(key), {}, revision, damage=damage or _NO_DOCUMENT, hearsay=str(body))


def _event(number: int, *row: Any) -> Event:  # noqa: ANN401 - whatever a damaged file holds
    *values, written = row
    if digest(*values) != written:
        return Event(number=number, at_s=0.0, subject=str(values[1]), message="(this line of the ledger is damaged)")
    at_s, subject, message, phase, generation, boot = values
    return Event(
        number=number, at_s=at_s, subject=subject, message=message, phase=phase, generation=generation, boot=boot
    )
