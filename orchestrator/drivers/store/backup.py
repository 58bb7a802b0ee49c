"""Backups of the records: made of a store that is in use, and put back where no daemon has it open.

With a daemon that runs, the backup waits in `pending` for the moment between two stores.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.drivers.store.sqlite_file import connect, counted, digest, lock, prepare, translated
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.errors import ConfigError, InvalidInput, NotFound, Permanent
from orchestrator.model import records_copy
from orchestrator.model.records_copy import LINE_MAX_BYTES, Newer, Seal

UNFINISHED: Final = ".vmrole-copy-"  # beside the records, and gone with the next daemon
_SQLITE: Final = b"SQLite format 3\0"
_CHUNK_BYTES: Final = 1 << 20
FORMERS_KEPT: Final = 5  # of the records that were replaced; the newest
_ROWS: Final = (
    ("SELECT digest, kind, key, revision, body FROM documents", "record {1} {2!r}"),
    ("SELECT digest, at_s, subject, message, phase, generation, boot FROM events", "line of the ledger about {2!r}"),
)
_TRY_ANOTHER: Final = "nothing was changed: restore another backup"
_BE_ROOT: Final = "be root, and see that there is room"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What has been put back: how many records of each kind, and where the former ones are, if there were any."""

    records: Mapping[str, int]
    former: Path | None


# Making ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def copied(db: sqlite3.Connection, beside: Path) -> Iterator[Path]:
    """The database of an open store as a file of its own, for so long; without what has been deleted from it.

    The caller lets nobody write meanwhile. Raises what SQLite raises.
    """
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=beside.parent)  # 0600
    os.close(handle)
    copy = Path(name)
    try:
        db.execute("VACUUM INTO ?", (name,))
        yield copy
    finally:
        for path in (copy, _journal(copy)):
            path.unlink(missing_ok=True)


def sealed(copy: Path) -> BinaryIO:
    """A backup of the copy, open for reading, of which nothing else is left; it is sound, or Permanent is raised.

    Lines of the ledger that were damaged in the store are left out; of records, none is.
    """
    with translated():
        db = connect(copy)
        try:
            db.executemany("DELETE FROM events WHERE number = ?", [(number,) for number in _damaged_lines(db)])
            damaged = list(_damage(db))
        finally:
            db.close()
    if damaged:
        hint = "the last backup holds them as they were; vmrole restore, or delete and apply anew what is named"
        raise Permanent(f"there is damage in the records, so no backup was made: {'; '.join(damaged[:5])}", hint=hint)
    with copy.open("rb") as file:
        whole = hashlib.file_digest(file, "sha256").hexdigest()
        seal = Seal(whole, file.tell())
        file.seek(0)
        with contextlib.ExitStack() as undo:
            backup = undo.enter_context(tempfile.TemporaryFile(dir=copy.parent))
            backup.write(seal.line())
            while chunk := file.read(_CHUNK_BYTES):
                backup.write(chunk)
            backup.seek(0)
            undo.pop_all()
    return backup


def sweep(records: Path) -> None:
    """Takes away what a copying that was cut off has left."""
    for path in records.parent.glob(f"{UNFINISHED}*"):
        path.unlink(missing_ok=True)


def _damaged_lines(db: sqlite3.Connection) -> list[int]:
    rows = db.execute("SELECT number, digest, at_s, subject, message, phase, generation, boot FROM events")
    return [number for number, written, *values in rows if digest(*values) != written]


def _damage(db: sqlite3.Connection) -> Iterator[str]:
    """What is not as it was written, in words."""
    (sound,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if sound != "ok":
        yield str(sound)
        return
    for query, name in _ROWS:
        for row in db.execute(query):
            if digest(*row[1:]) != row[0]:
                yield f"the {name.format(*row)} is not as it was written"
    revision, documents = counted(db)
    (there,) = db.execute("SELECT count(*) FROM documents").fetchone()
    if there != documents:
        yield f"{there} records are left of {documents}"
    (newest,) = db.execute("SELECT max(revision) FROM documents").fetchone()
    if isinstance(newest, int) and newest > revision:
        yield "a record is newer than the last commit"


# Restoring ---------------------------------------------------------------------------------------------------


def restore(backup: Path, records: Path) -> Restored:
    """Puts a backup in the place of the records at `records`; those that are there are kept beside.

    Raises ConfigError while a daemon has them, or when a newer vmrole has made the backup, InvalidInput for one that
    is none or is damaged; whatever is raised, nothing has changed, unless it says so: where a disk fails at the end.
    """
    with alone(records):
        return put_back(backup, records)


@contextlib.contextmanager
def alone(records: Path) -> Iterator[None]:
    """Nobody else has the records meanwhile; raises ConfigError when somebody has them.

    What a daemon has in its hands, turns, rollouts and answers that it gave, is of the records that it read: it would
    write that over what is put back. So it begins anew on them.
    """
    with file_faults(records, _BE_ROOT):
        records.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            held = lock(records)
        except ConfigError as error:
            hint = (
                "it does not answer by the socket that was asked: vmrole --socket PATH restore FILE; or, while VMs "
                "go on: systemctl stop vmrole; vmrole restore FILE; systemctl start vmrole"
            )
            raise ConfigError(f"nothing was restored: {error}", hint=hint) from error
    try:
        yield
    finally:
        os.close(held)


def put_back(backup: Path, records: Path, about_to: Callable[[Restored], None] = lambda _: None) -> Restored:
    """As `restore`, for who is alone with the records; `about_to` is called when all but the last step is done.

    The last step is one rename. Whether it has been done is seen afterwards: until then the records and what is kept
    of the former ones are the same file.
    """
    with _sound(backup, records.with_name(f"{UNFINISHED}restored"), str(backup)) as (new, kinds):
        with file_faults(records, _BE_ROOT):
            restored = Restored(records=kinds, former=_put_aside(records))
            about_to(restored)
            new.replace(records)
            _confirm(records, restored.former)
            _forget(records)
        return restored


def _confirm(records: Path, former: Path | None) -> None:
    try:
        on_disk(records.parent)
    except OSError as error:
        told = f"the backup is in place, but the disk does not say that it stays: {error.strerror}"
        hint = f"look at the disk, and restore it again; the former records: {former}"
        raise Permanent(told, hint=hint) from error


def check(backup: Path, records: Path, called: str) -> Mapping[str, int]:
    """How many records of each kind a backup has that `restore` would put back; raises what it would raise."""
    with _sound(backup, records.with_name(f"{UNFINISHED}tried"), called) as (_, kinds):
        return kinds


@contextlib.contextmanager
def _sound(backup: Path, new: Path, called: str) -> Iterator[tuple[Path, Mapping[str, int]]]:
    """The records of a backup as a file of our schema at `new`, for so long; and how many of each kind there are."""
    with contextlib.ExitStack() as held:
        with file_faults(new, _BE_ROOT):
            for path in (new, _journal(new)):
                held.callback(path.unlink, missing_ok=True)
            with os.fdopen(_made(new), "wb") as target:
                _unsealed(backup, target, called)
                target.flush()
                os.fsync(target.fileno())
        yield new, _checked(new, called)


def _made(path: Path) -> int:
    path.unlink(missing_ok=True)
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)


def _unsealed(backup: Path, target: BinaryIO, called: str) -> None:
    """The records of a backup, or of a plain copy of them, into `target`."""
    try:
        source = backup.open("rb")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {backup}", hint="name a file that vmrole backup has made") from error
    except OSError as error:
        raise InvalidInput(f"{backup}: {error.strerror}", hint="name a file that vmrole backup has made") from error
    with source:
        seal = records_copy.read(source.readline(LINE_MAX_BYTES))
        match seal:
            case Newer(version=version):
                told = f"{called}: a backup of version {version}; this vmrole knows {records_copy.VERSION}"
                raise ConfigError(told, hint="restore it with the newer vmrole that made it")
            case Seal():
                pass
            case None:
                source.seek(0)
                if source.read(len(_SQLITE)) != _SQLITE:
                    hint = f"name a file that vmrole backup has made; {_TRY_ANOTHER}"
                    raise InvalidInput(f"{called}: this is no backup of vmrole's records", hint=hint)
                source.seek(0)
        whole = hashlib.sha256()
        size_bytes = 0
        while chunk := source.read(_CHUNK_BYTES):
            whole.update(chunk)
            size_bytes += len(chunk)
            target.write(chunk)
    if seal is not None and (size_bytes, whole.hexdigest()) != (seal.size_bytes, seal.sha256):
        told = (
            f"{size_bytes} bytes of {seal.size_bytes} are there" if size_bytes != seal.size_bytes else "bytes differ"
        )
        raise InvalidInput(f"{called}: the backup is damaged: {told}", hint=_TRY_ANOTHER)


def _checked(new: Path, called: str) -> Mapping[str, int]:
    """How many records of each kind a file has that is sound, and of our schema when this returns."""
    try:
        db = connect(new)
        try:
            prepare(db, called)
            damaged = next(_damage(db), "")
            if not damaged:
                _take_tokens_out(db)
            kinds = dict(Counter(kind for (kind,) in db.execute("SELECT kind FROM documents")))
        finally:
            db.close()
    except (sqlite3.Error, UnicodeError) as error:
        raise InvalidInput(f"{called}: the backup is damaged: {error}", hint=_TRY_ANOTHER) from error
    if damaged:
        raise InvalidInput(f"{called}: the backup is damaged: {damaged}", hint=_TRY_ANOTHER)
    return kinds


def _take_tokens_out(db: sqlite3.Connection) -> None:
    """One that was taken away since the backup was made would open the daemon again: none comes back."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM documents WHERE kind = 'token'")
    db.execute("UPDATE counter SET documents = (SELECT count(*) FROM documents)")
    db.execute("UPDATE counter SET digest = digest(revision, documents)")
    db.execute("COMMIT")


def _put_aside(records: Path) -> Path | None:
    """Gives the present file a second name; with its journal, unless SQLite can bring both together first.

    A journal that stayed would be taken for one of the restored file.
    """
    if not records.exists():
        _journal(records).unlink(missing_ok=True)
        return None
    with contextlib.suppress(sqlite3.Error):
        connect(records).close()
    newest, former = max(_formers(records).items(), default=(0, None))
    is_linked = former is not None and former.exists() and former.samefile(records)
    # A restoring that was killed got as far as that, or has moved the journal alone.
    if former is None or (former.exists() and not is_linked):
        former = records.with_name(f"{records.name}.former-{newest + 1}")
    if _journal(records).exists():
        _journal(records).replace(_journal(former))
    if not is_linked:
        os.link(records, former)
    return former


def _formers(records: Path) -> dict[int, Path]:
    """What is kept of former records, by number: the larger the later."""
    there = {path.name.removesuffix("-journal") for path in records.parent.glob(f"{records.name}.former-*")}
    numbers = {name.rpartition("-")[2]: name for name in there}
    return {int(number): records.with_name(name) for number, name in numbers.items() if number.isdecimal()}


def _forget(records: Path) -> None:
    """Takes away the oldest of the former records that are too many."""
    formers = _formers(records)
    for number in sorted(formers)[:-FORMERS_KEPT]:
        for path in (formers[number], _journal(formers[number])):
            with contextlib.suppress(OSError):  # The next restoring tries it again; this one is done.
                path.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")
