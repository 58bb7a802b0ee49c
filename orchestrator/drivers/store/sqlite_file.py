"""The SQLite file itself: opened by one process, brought to our schema, and looked through for damage.

SQLite before 3.51.3 can corrupt a WAL that several connections write (sqlite.org/wal.html, "WAL-reset bug"). So there
is exactly one connection, the database is locked against every other process, and the journal is the old one.

SQLite notices a page that is not well formed, and nothing of a bit that flips inside a text. So each row carries a
digest of what was written, and the counter carries the number of rows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import ConfigError, NoSpace, Permanent, Transient

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
    """
    ALTER TABLE documents ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
    UPDATE documents SET digest = digest(kind, key, revision, body);
    ALTER TABLE events ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
    UPDATE events SET digest = digest(at_s, subject, message, phase, generation, boot);
    ALTER TABLE counter ADD COLUMN documents INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE counter ADD COLUMN digest BLOB NOT NULL DEFAULT x'';
    UPDATE counter SET documents = (SELECT count(*) FROM documents);
    UPDATE counter SET digest = digest(revision, documents);
    CREATE TABLE commits (
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL
    );
    """,
)
SCHEMA = len(MIGRATIONS)
_HINT = "end the daemon and start it again: it checks the records"


def digest(*values: str | float | bytes | None) -> bytes:
    """16 bytes that differ when any of the values, its type, or the border between two of them does."""
    whole = hashlib.blake2b(digest_size=16)
    for value in values:
        text = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        whole.update(b"%s %d:%s" % (type(value).__name__.encode(), len(text), text))
    return whole.digest()


def connect(path: Path) -> sqlite3.Connection:
    """The one connection. Other processes cannot even read while it is open: their locks would hold up commits."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(handle, 0o600)
    finally:
        os.close(handle)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.text_factory = _text
    try:
        db.create_function("digest", -1, digest, deterministic=True)
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("PRAGMA journal_mode = PERSIST")  # The old kind; its file stays, see `sqlite_room`.
        db.execute("PRAGMA temp_store = MEMORY")
        db.execute("PRAGMA synchronous = EXTRA")
        db.execute("PRAGMA case_sensitive_like = ON")
        db.execute("PRAGMA cell_size_check = ON")
        db.execute("BEGIN EXCLUSIVE")
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _text(stored: bytes) -> str:
    """Text as stored, also where it is no UTF-8 any more: its digest tells, and a reader must not stumble first."""
    return stored.decode("utf-8", "surrogateescape")


def prepare(db: sqlite3.Connection, path: Path | str) -> None:
    """Checks the file and brings it to our schema; raises ConfigError for a newer one, sqlite3.Error for damage."""
    (sound,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if sound != "ok":
        raise sqlite3.DatabaseError(f"integrity check: {sound}")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if not 0 <= version <= SCHEMA:
        raise ConfigError(
            f"{path}: its schema is version {version}; this vmrole knows {SCHEMA}",
            hint="run the newer vmrole that wrote it",
        )
    for number in range(version, SCHEMA):
        db.executescript(f"BEGIN; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;")


def counted(db: sqlite3.Connection) -> tuple[int, int]:
    """The revision and the number of documents; raises sqlite3.Error when they are not what was written."""
    rows = db.execute("SELECT revision, documents, digest FROM counter").fetchall()
    if len(rows) != 1 or rows[0][2] != digest(*rows[0][:2]):
        raise sqlite3.DatabaseError("the counter of revisions is damaged")
    return int(rows[0][0]), int(rows[0][1])


def lock(path: Path) -> int:
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
def translated() -> Iterator[None]:
    """Turns what SQLite raises into errors of ours."""
    try:
        yield
    except UnicodeError as error:  # SQLite names a damaged part in its message, damaged as it is.
        raise Permanent(f"the records cannot be used: {error}", hint=_HINT) from error
    except sqlite3.Error as error:
        code = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else None
        if code == sqlite3.SQLITE_FULL:
            hint = "make room under the state directory"
            raise NoSpace(f"the records cannot be saved: {error}", hint=hint) from error
        if isinstance(error, sqlite3.OperationalError):
            raise Transient(f"the records are out of reach: {error}") from error
        raise Permanent(f"the records cannot be used: {error}", hint=_HINT) from error
