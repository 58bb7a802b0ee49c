"""The document store on SQLite: one connection in one process, every commit on disk before it is answered.

SQLite before 3.51.3 can corrupt a WAL that several connections write (sqlite.org/wal.html, "WAL-reset bug"). So there
is exactly one connection, the database is locked against every other process, and the journal is the old one: a
commit takes about a millisecond, and we make a few each second.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from orchestrator.errors import ConfigError, NoSpace, Permanent, StaleRevision, Transient
from orchestrator.model import Event
from orchestrator.ports import Document, Write

EVENTS_MAX = 10_000  # The newest are kept: months of a quiet host, and never more than a few MiB.

# One script per version; a database is brought from the version it has to the last, one transaction each.
MIGRATIONS = (
    """
    CREATE TABLE documents (
        kind TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        number INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, subject TEXT NOT NULL, message TEXT NOT NULL,
        phase TEXT NOT NULL, generation INTEGER NOT NULL, boot INTEGER NOT NULL
    );
    CREATE INDEX events_by_subject ON events (subject, number);
    CREATE TABLE counter (revision INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);
    """,
)
SCHEMA = len(MIGRATIONS)


class SqliteStore:
    """See ports.Store. Thread-safe; `with` closes it. Raises ConfigError when the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition(threading.RLock())
        self._closed = False
        hint = "restore a copy; without one, move the file away, deploy anew, and see what verify finds left over"
        try:
            with contextlib.ExitStack() as undo:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
                self._lock_file = _lock(path)
                undo.callback(os.close, self._lock_file)
                self._db = _open(path)
                undo.callback(self._db.close)
                self._revision: int = self._prepare()
                undo.pop_all()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(f"{path}: the records cannot be read: {error}", hint=hint) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> int:
        """Checks and migrates what is there; returns its revision."""
        (sound,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(f"integrity check: {sound}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise ConfigError(
                f"{self._path}: its schema is version {version}; this vmrole knows {SCHEMA}",
                hint="run the newer vmrole that wrote it",
            )
        for number in range(version, SCHEMA):
            self._db.executescript(f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")
        return self._committed()

    def _committed(self) -> int:
        """The revision as it stands in the file."""
        (revision,) = self._db.execute("SELECT revision FROM counter").fetchone()
        return int(revision)

    def get(self, kind: str, key: str) -> Document | None:
        """See ports.Store."""
        with self._changed, _translated():
            row = self._db.execute(
                "SELECT revision, body FROM documents WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
        return None if row is None else Document(kind, key, json.loads(row[1]), row[0])

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        with self._changed, _translated():
            rows = self._db.execute(
                "SELECT key, revision, body FROM documents WHERE kind = ? ORDER BY key", (kind,)
            ).fetchall()
        return [Document(kind, key, json.loads(body), revision) for key, revision, body in rows]

    def commit(self, writes: Sequence[Write], events: Sequence[Event] = ()) -> int:
        """See ports.Store."""
        with self._changed, _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                revision = self._revision + 1
                for write in writes:
                    self._write(write, revision)
                self._db.execute("UPDATE counter SET revision = ?", (revision,))
                self._db.executemany(
                    "INSERT INTO events (at_s, subject, message, phase, generation, boot) VALUES (?, ?, ?, ?, ?, ?)",
                    [(one.at_s, one.subject, one.message, one.phase, one.generation, one.boot) for one in events],
                )
                self._db.execute(
                    "DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (EVENTS_MAX,)
                )
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._revision = self._committed()  # A disk that fails in COMMIT itself leaves either one.
                raise
            self._revision = revision
            self._changed.notify_all()
            return revision

    def _write(self, write: Write, revision: int) -> None:
        row = self._db.execute(
            "SELECT revision FROM documents WHERE kind = ? AND key = ?", (write.kind, write.key)
        ).fetchone()
        found = 0 if row is None else row[0]
        if found != write.expected:
            raise StaleRevision(
                f"{write.kind} {write.key} changed meanwhile: {found} is not {write.expected}",
                hint="read it again, then try again",
            )
        if write.body is None:
            self._db.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (write.kind, write.key))
            return
        body = json.dumps(dict(write.body), separators=(",", ":"))
        self._db.execute(
            "INSERT OR REPLACE INTO documents (kind, key, revision, body) VALUES (?, ?, ?, ?)",
            (write.kind, write.key, revision, body),
        )

    def revision(self) -> int:
        """See ports.Store."""
        with self._changed:
            return self._revision

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
        with self._changed, _translated():
            rows = self._db.execute(
                """
                SELECT number, at_s, subject, message, phase, generation, boot FROM events
                WHERE number > :after AND (
                    :subject = '' OR subject = :subject OR subject LIKE :of_service ESCAPE '\\'
                    OR (:service <> '' AND subject LIKE :of_role ESCAPE '\\'
                        AND substr(subject, length(:role) + 2, instr(subject, '.') - length(:role) - 2)
                            NOT GLOB '*[^0-9]*')
                )
                ORDER BY number DESC LIMIT :limit
                """,
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
        return [
            Event(
                number=row[0],
                at_s=row[1],
                subject=row[2],
                message=row[3],
                phase=row[4],
                generation=row[5],
                boot=row[6],
            )
            for row in reversed(rows)
        ]

    def close(self) -> None:
        """See ports.Store."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._db.close()
            os.close(self._lock_file)
            self._changed.notify_all()


def _open(path: Path) -> sqlite3.Connection:
    """The one connection. Other processes cannot even read while it is open: their locks would hold up commits."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA case_sensitive_like = ON")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _lock(path: Path) -> int:
    """An exclusive lock that ends with the process; ConfigError when another daemon holds it."""
    handle = os.open(path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise ConfigError(
            f"{path}: another daemon has it open", hint="one daemon per state directory: end the other one first"
        ) from error
    return handle


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else None
        if code == sqlite3.SQLITE_FULL:
            hint = "make room under the state directory"
            raise NoSpace(f"the records cannot be saved: {error}", hint=hint) from error
        if isinstance(error, sqlite3.OperationalError):
            raise Transient(f"the records are out of reach: {error}") from error
        hint = "end the daemon and start it again: it checks the records"
        raise Permanent(f"the records cannot be used: {error}", hint=hint) from error
