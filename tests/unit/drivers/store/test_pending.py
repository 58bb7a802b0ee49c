"""A backup given to a daemon that runs: whole or not there, and restored by the next start, whoever is killed."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.drivers.store import backup as backups
from orchestrator.drivers.store.pending import BACKUP_MAX_BYTES, Pending
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import Busy, InvalidInput, NoSpace, VmroleError
from orchestrator.model.records_copy import Seal
from orchestrator.model.restoring import RestoreState
from orchestrator.ports import Write

OLD, NEW = "old", "new"
STEPS_MAX = 200


def filled(records: Path, word: str) -> bytes:
    """Records that say the word, and a backup of them."""
    with SqliteStore(records) as store:
        store.commit([Write("thing", "word", {"is": word}, 0), Write("thing", word, {}, 0)])
        with store.backup() as made:
            return made.read()


def word(records: Path) -> str:
    """What records say, which are whole."""
    with SqliteStore(records) as store:
        assert not store.damaged()
        said = store.get("thing", "word")
        assert said is not None
        assert [one.key for one in store.all("thing")] == sorted(["word", said.body["is"]])
        return str(said.body["is"])


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Records that say OLD."""
    place = tmp_path / "state" / "vmrole.db"
    filled(place, OLD)
    return place


@pytest.fixture
def made(tmp_path: Path) -> bytes:
    """A backup that says NEW."""
    return filled(tmp_path / "from" / "vmrole.db", NEW)


def staged(pending: Pending, made: bytes) -> None:
    """Gives a whole one."""
    assert pending.stage(io.BytesIO(made), len(made)).state is RestoreState.PENDING


def there(place: Path) -> dict[str, bytes]:
    """Every file in a directory."""
    return {path.name: path.read_bytes() for path in place.iterdir()}


def test_what_waits_is_restored_by_the_next_start(records: Path, made: bytes) -> None:
    """Once; until then the records are the old ones; afterwards it is told with where those are kept."""
    begins = threading.Event()
    pending = Pending(records, staged=begins.set)
    assert pending.last().state is RestoreState.NONE
    with SqliteStore(records):  # as the daemon has it
        given = pending.stage(io.BytesIO(made), len(made))
    assert (given.records, begins.is_set(), pending.waits) == ({"thing": 2}, True, True)
    assert pending.last().state is RestoreState.PENDING
    assert stat.S_IMODE(pending.file.stat().st_mode) == 0o600
    assert word(records) == OLD
    for _ in range(2):
        again = Pending(records)
        again.apply()
        assert word(records) == NEW
        last = again.last()
        assert (last.state, last.sha256, last.records) == (RestoreState.RESTORED, given.sha256, {"thing": 2})
        assert last.former == str(records.with_name("vmrole.db.former-1"))
    assert word(Path(last.former)) == OLD
    assert not pending.file.exists()


def test_of_two_one_is_told_to_wait(records: Path, made: bytes) -> None:
    """While one is being taken, and while one waits."""
    pending = Pending(records)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            with pytest.raises(Busy):
                pending.stage(io.BytesIO(made), len(made))
            return super().read(size)

    pending.stage(Slow(made), len(made))
    with pytest.raises(Busy) as busy:
        pending.stage(io.BytesIO(made), len(made))
    assert busy.value.hint


Given = Callable[[bytes], tuple[bytes, int]]
BAD: dict[str, tuple[Given, str]] = {
    "nothing": (lambda _made: (b"", 0), "what was sent: this is no backup"),
    "another file": (lambda _made: (b"hello\n", 6), "what was sent: this is no backup"),
    "cut off": (lambda made: (made[:-1], len(made) - 1), "damaged: .* bytes of .* are there"),
    "a flipped bit": (lambda made: (made[:-9] + bytes([made[-9] ^ 1]) + made[-8:], len(made)), "bytes differ"),
    "a newer form": (lambda made: (made.replace(b"backup 1 ", b"backup 2 ", 1), len(made)), "this vmrole knows 1"),
    "a record of it": (
        lambda made: (lambda bare: (b"".join((seal(bare), bare)), len(seal(bare)) + len(bare)))(
            made.partition(b"\n")[2].replace(b'{"is":"new"}', b'{"is":"two"}')
        ),
        "the record thing 'word' is not as it was written",
    ),
    "less than was said": (lambda made: (made, len(made) + 1), "ended 1 bytes early"),
    "too much": (lambda made: (made, BACKUP_MAX_BYTES + 1), "has at most"),
}


def seal(bare: bytes) -> bytes:
    """A line that fits what follows."""
    return Seal(hashlib.sha256(bare).hexdigest(), len(bare)).line()


@pytest.mark.parametrize("how", BAD)
def test_a_bad_one_is_refused_before_anything_is_touched(records: Path, made: bytes, how: str) -> None:
    """With what is wrong and what to do; a good one is taken afterwards."""
    give, told = BAD[how]
    data, size_bytes = give(made)
    pending = Pending(records, staged=lambda: pytest.fail("the daemon would begin anew"))
    before = there(records.parent)
    with pytest.raises(InvalidInput, match=told) as refused:
        pending.stage(io.BytesIO(data), size_bytes)
    assert refused.value.hint
    assert there(records.parent) == before
    assert not pending.waits
    staged(Pending(records), made)


def test_it_does_not_take_the_room_of_what_runs(records: Path, made: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reserve of the state directory's file system stays; nothing has changed then."""
    found = os.statvfs(records.parent)
    full = os.statvfs_result((1, 1, 1 << 30, 2 * len(made), 2 * len(made), *found[5:]))  # bytes
    reserve_bytes = len(made)
    before = there(records.parent)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(NoSpace) as refused:
        Pending(records, reserve_bytes=reserve_bytes).stage(io.BytesIO(made), len(made))
    assert refused.value.hint
    assert there(records.parent) == before
    staged(Pending(records), made)


@pytest.mark.parametrize("is_told", [False, True])
def test_one_that_goes_bad_while_it_waits_is_set_aside(records: Path, made: bytes, *, is_told: bool) -> None:
    """The daemon starts with what it had, and says so, until another one is given."""
    pending = Pending(records)
    staged(pending, made)
    data = pending.file.read_bytes()
    pending.file.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    pending.apply()
    assert word(records) == OLD
    last = pending.last()
    assert (last.state, "bytes differ" in last.refusal, bool(last.hint)) == (RestoreState.REFUSED, True, True)
    assert pending.refused.exists()
    assert not pending.file.exists()
    if not is_told:  # There was no room to say why.
        records.with_name("vmrole.restored").unlink()
        assert pending.last().state is RestoreState.REFUSED
    again = Pending(records)
    staged(again, made)
    assert not again.refused.exists()
    again.apply()
    assert (word(records), again.last().state) == (NEW, RestoreState.RESTORED)


def test_only_the_newest_former_records_are_kept(records: Path, made: bytes, tmp_path: Path) -> None:
    """As many as said, by number; each is what was replaced."""
    file = tmp_path / "made.backup"
    file.write_bytes(made)
    for _ in range(backups.FORMERS_KEPT + 2):
        restored = backups.restore(file, records)
    kept = sorted(path.name for path in records.parent.glob("*.former-*") if not path.name.endswith("-journal"))
    assert kept == [f"vmrole.db.former-{number}" for number in range(3, backups.FORMERS_KEPT + 3)]
    assert restored.former == records.with_name(f"vmrole.db.former-{backups.FORMERS_KEPT + 2}")


# The n-th time that a file of the state directory is opened, renamed, linked or taken away, it is killed before.
KILLED = """
import io, os, sys
from pathlib import Path
from orchestrator.drivers.store.pending import Pending
records, backup, what, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
state = str(records.parent)
FILES = {"open", "os.rename", "os.link", "os.remove", "sqlite3.connect"}

def hook(event, args):
    global left
    names = [os.fspath(arg) for arg in args if isinstance(arg, (str, os.PathLike))]
    if event in FILES and any(name.startswith(state) for name in names):
        if left == 0:
            os.kill(os.getpid(), 9)
        left -= 1

data = backup.read_bytes()
pending = Pending(records)
sys.addaudithook(hook)
if what == "stage":
    pending.stage(io.BytesIO(data), len(data))
    print("accepted", flush=True)
else:
    pending.apply()
"""


def killed(records: Path, backup: Path, what: str, step: int) -> subprocess.CompletedProcess[str]:
    """A daemon that does it and is killed before one of its steps; not when it has fewer."""
    argv = [sys.executable, "-c", KILLED, str(records), str(backup), what, str(step)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_who_is_killed_while_it_takes_one_has_it_whole_or_not_at_all(tmp_path: Path, made: bytes) -> None:
    """At every step; the next start has the old records or the new ones, and leaves nothing half done."""
    backup = tmp_path / "made.backup"
    backup.write_bytes(made)
    words = []
    for step in range(STEPS_MAX):
        records = tmp_path / f"state-{step}" / "vmrole.db"
        filled(records, OLD)
        ended = killed(records, backup, "stage", step)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        Pending(records).apply()
        words.append(word(records))
        assert not [name for name in there(records.parent) if "copy" in name or "refused" in name]
        if ended.returncode == 0:
            break
    assert ended.stdout == "accepted\n"
    assert [said for said, _ in itertools.groupby(words)] == [OLD, NEW]
    assert len(words) > 5


@pytest.mark.slow
def test_who_is_killed_while_it_restores_has_the_old_or_the_new_records(tmp_path: Path, made: bytes) -> None:
    """At every step, and again at each of the next start: in the end it is restored, once."""
    backup = tmp_path / "made.backup"
    backup.write_bytes(made)
    words = []
    for step in range(STEPS_MAX):
        records = tmp_path / f"state-{step}" / "vmrole.db"
        filled(records, OLD)
        staged(Pending(records), made)
        ended = killed(records, backup, "apply", step)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        words.append(word(records))  # as a daemon would find them that knew of no restoring
        killed(records, backup, "apply", step // 2)
        Pending(records).apply()
        last = Pending(records).last()
        assert (word(records), word(Path(last.former))) == (NEW, OLD)
        assert (last.state, last.former) == (RestoreState.RESTORED, str(records.with_name("vmrole.db.former-1")))
        assert [name for name in there(records.parent) if ("copy" in name or name.endswith("-2"))] == []
        if ended.returncode == 0:
            break
    assert ended.returncode == 0
    assert [said for said, _ in itertools.groupby(words)] == [OLD, NEW]
    assert len(words) > 5


def test_a_file_system_that_fails_leaves_the_daemon_as_it_was(
    records: Path, made: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be made to last was not accepted: nothing waits, and changes go on."""
    pending = Pending(records, staged=lambda: pytest.fail("the daemon would begin anew"))
    real = os.fsync

    def fails(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(VmroleError):
        pending.stage(io.BytesIO(made), len(made))
    monkeypatch.undo()
    assert (pending.waits, pending.file.exists()) == (False, False)
    Pending(records).apply()
    assert word(records) == OLD
