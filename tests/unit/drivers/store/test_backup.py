"""Backups of the records: made while a daemon writes, refused when they are damaged, put back where no daemon is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.control.present import Present
from orchestrator.drivers.store import backup as backups
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import ConfigError, InvalidInput, Permanent, VmroleError
from orchestrator.model import Event, Service, records_copy
from orchestrator.model.records_copy import Newer, Seal
from orchestrator.ports import Write
from tests.world.api_daemon import SECRET, SHOP, Daemon

ROUNDS = 8


def filled(path: Path, rounds: int = 3) -> bytes:
    """Records and a ledger at `path`; a backup of them."""
    with SqliteStore(path) as store:
        for number in range(rounds):
            found = [store.get("thing", name) for name in ("one", "two")]
            write(store, number, [one.revision if one else 0 for one in found])
        with store.backup() as made:
            return made.read()


def write(store: SqliteStore, number: int, revisions: list[int]) -> int:
    """Two records that are always the same, in one commit, with a line of the ledger."""
    writes = [Write("thing", name, {"n": number}, of) for name, of in zip(("one", "two"), revisions, strict=True)]
    return store.commit(writes, [Event(at_s=float(number), subject="thing", message=f"number {number}")])


def content(path: Path) -> tuple[int, int, list[str]]:
    """The number of both records, which is the same, the revision, and the ledger."""
    with SqliteStore(path) as store:
        assert not store.damaged()
        one, two = store.get("thing", "one"), store.get("thing", "two")
        assert one is not None
        assert two is not None
        assert one.body == two.body
        return one.body["n"], store.revision(), [event.message for event in store.events()]


def there(place: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_backup_is_the_records_of_one_moment(tmp_path: Path) -> None:
    """However much is written meanwhile: what one commit wrote is in it as a whole, and so is what came before."""
    over = threading.Event()

    with SqliteStore(tmp_path / "vmrole.db") as store:

        def go_on() -> None:
            revision, number = write(store, 0, [0, 0]), 0
            while not over.is_set():
                number += 1
                revision = write(store, number, [revision, revision])

        writer = threading.Thread(target=go_on)
        writer.start()
        try:
            while store.revision() < 10:
                pass
            moments = []
            for number in range(ROUNDS):
                before = store.revision()
                with store.backup() as made:
                    file = tmp_path / f"{number}.backup"
                    file.write_bytes(made.read())
                moments.append((before, file, store.revision()))
        finally:
            over.set()
            writer.join()
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    for number, (before, file, after) in enumerate(moments):
        place = tmp_path / f"again-{number}" / "vmrole.db"
        backups.restore(file, place)
        counted, revision, ledger = content(place)
        assert before <= revision <= after
        assert revision == counted + 1
        assert ledger[-1] == f"number {counted}"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_what_was_deleted_is_not_in_a_backup(tmp_path: Path) -> None:
    """SQLite leaves deleted bytes where they were; a copy of its file would have them."""
    path = tmp_path / "vmrole.db"
    filled(path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA secure_delete = OFF")  # some distributions switch it on
        db.execute("CREATE TABLE deleted (text)")
        db.execute("INSERT INTO deleted VALUES (?)", (SECRET,))
        db.execute("DROP TABLE deleted")
    db.close()
    assert SECRET.encode() in path.read_bytes()
    with SqliteStore(path) as store, store.backup() as made:
        assert SECRET.encode() not in made.read()


def bare(made: bytes) -> bytes:
    """Without its line."""
    return made.partition(b"\n")[2]


def schema_of_tomorrow(made: bytes, place: Path) -> bytes:
    """The same records as a newer vmrole would have them, sealed."""
    place.write_bytes(bare(made))
    with sqlite3.connect(place) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    return sealed(place.read_bytes())


def sealed(whole: bytes) -> bytes:
    """With a line that fits, so that what is below it must tell."""
    return Seal(hashlib.sha256(whole).hexdigest(), len(whole)).line() + whole


def flipped(made: bytes, at: int) -> bytes:
    """One bit of it is another."""
    return made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]


Damage = Callable[[bytes, Path], bytes]
DAMAGES: dict[str, tuple[Damage, type[VmroleError], str]] = {
    "nothing": (lambda _made, _: b"", InvalidInput, "no backup"),
    "another file": (lambda _made, _: b"hello\n" * 100, InvalidInput, "no backup"),
    "half of it": (lambda made, _: made[: len(made) // 2], InvalidInput, "damaged: .* bytes"),
    "more than it": (lambda made, _: made + b"\0", InvalidInput, "damaged: .* bytes"),
    "a bit of the line": (lambda made, _: flipped(made, 30), InvalidInput, "damaged|no backup"),
    "a bit of the first page": (lambda made, _: flipped(made, 200), InvalidInput, "bytes differ"),
    "a bit of the last byte": (lambda made, _: flipped(made, len(made) - 1), InvalidInput, "bytes differ"),
    "a record": (lambda made, _: sealed(bare(made).replace(b'{"n":2}', b'{"n":3}')), InvalidInput, "record"),
    "the ledger": (lambda made, _: sealed(bare(made).replace(b"number 1", b"number 7")), InvalidInput, "ledger"),
    "a plain copy": (lambda made, _: bare(made).replace(b'{"n":2}', b'{"n":3}'), InvalidInput, "record"),
    "a newer form": (lambda made, _: made.replace(b"backup 1 ", b"backup 2 ", 1), ConfigError, "this vmrole knows 1"),
    "a newer schema": (schema_of_tomorrow, ConfigError, "schema is version 99"),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_backup_that_is_not_whole_changes_nothing(tmp_path: Path, how: str) -> None:
    """Whatever is missing, added, another or of a later version: refused, with the records as they were."""
    damage, error, told = DAMAGES[how]
    made = filled(tmp_path / "from" / "vmrole.db")
    file, into = tmp_path / "made.backup", tmp_path / "into" / "vmrole.db"
    file.write_bytes(damage(made, tmp_path / "scratch.db"))
    assert file.read_bytes() != made
    filled(into, 1)
    before = there(into.parent)
    with pytest.raises(error, match=told) as refused:
        backups.restore(file, into)
    assert refused.value.hint
    assert there(into.parent) == before
    assert content(into)[0] == 0
    with pytest.raises(error):
        backups.restore(file, tmp_path / "empty" / "vmrole.db")
    assert set(there(tmp_path / "empty")) <= {"vmrole.lock"}


def test_each_bit_of_a_backup_counts(tmp_path: Path) -> None:
    """Of many places all over the file, a flipped bit is noticed in each."""
    made = filled(tmp_path / "from" / "vmrole.db")
    file = tmp_path / "made.backup"
    for at in range(0, len(made), 97):
        file.write_bytes(flipped(made, at))
        with pytest.raises(VmroleError):
            backups.restore(file, tmp_path / "into" / "vmrole.db")
    assert not (tmp_path / "into" / "vmrole.db").exists()


def test_the_former_records_are_kept(tmp_path: Path) -> None:
    """Each restoring gives them a name of their own, however often; also a file that no SQLite can read any more."""
    file, into = tmp_path / "made.backup", tmp_path / "into" / "vmrole.db"
    file.write_bytes(filled(tmp_path / "from" / "vmrole.db"))
    filled(into, 2)
    restored = backups.restore(file, into)
    assert restored.records == {"thing": 2}
    assert restored.former is not None
    assert content(into)[0] == 2
    assert content(restored.former)[0] == 1
    into.write_bytes(b"no database at all")
    again = backups.restore(file, into)
    assert again.former not in (None, restored.former)
    assert again.former is not None
    assert again.former.read_bytes() == b"no database at all"
    assert content(into)[0] == 2
    shutil.copy(tmp_path / "from" / "vmrole.db", file)  # a plain copy of the file, made without a daemon
    assert backups.restore(file, tmp_path / "new" / "vmrole.db").former is None
    assert content(tmp_path / "new" / "vmrole.db")[0] == 2


HALF = """
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
for number in range(2000):
    db.execute("INSERT INTO events VALUES (NULL, 0, 'half', ?, '', 0, 0, x'')", ("x" * 500,))
os.kill(os.getpid(), 9)
"""


def test_a_daemon_that_runs_is_told_with_what_to_type(tmp_path: Path) -> None:
    """It would write what it has in hand over what is put back; nothing has changed, and VMs need not stop for it."""
    backup, records = tmp_path / "backup", tmp_path / "state" / "vmrole.db"
    records.parent.mkdir()
    with SqliteStore(records) as store:
        with store.backup() as source:
            backup.write_bytes(source.read())
        before = records.read_bytes()
        with pytest.raises(ConfigError, match=r"nothing was restored: .* another daemon has it open") as told:
            backups.restore(backup, records)
        assert records.read_bytes() == before
    assert "systemctl stop vmrole; vmrole restore FILE; systemctl start vmrole" in told.value.hint
    backups.restore(backup, records)


def test_a_commit_that_was_cut_off_touches_no_restored_record(tmp_path: Path) -> None:
    """A journal that a killed daemon has left is the former file's: neither is mixed with what is restored."""
    file, into = tmp_path / "made.backup", tmp_path / "into" / "vmrole.db"
    file.write_bytes(filled(tmp_path / "from" / "vmrole.db"))
    filled(into, 2)
    subprocess.run([sys.executable, "-c", HALF, str(into)], check=False)
    journal = into.with_name("vmrole.db-journal")
    assert journal.stat().st_size > 0
    restored = backups.restore(file, into)
    assert not journal.exists()
    assert content(into)[0] == 2
    assert restored.former is not None
    assert content(restored.former) == (1, 2, ["number 0", "number 1"])


def test_damage_gets_into_no_backup(tmp_path: Path) -> None:
    """A damaged record is named, and there is no backup; a damaged line of the ledger is left out."""
    path = tmp_path / "vmrole.db"
    filled(path)
    path.write_bytes(path.read_bytes().replace(b"number 1", b"number 7"))
    with SqliteStore(path) as store, store.backup() as made:
        (tmp_path / "made.backup").write_bytes(made.read())
    backups.restore(tmp_path / "made.backup", tmp_path / "again" / "vmrole.db")
    assert content(tmp_path / "again" / "vmrole.db")[2] == ["number 0", "number 2"]
    path.write_bytes(path.read_bytes().replace(b'{"n":2}', b'{"n":3}', 1))
    with SqliteStore(path) as store, pytest.raises(Permanent, match=r"record thing 'one'") as refused:
        store.backup()
    assert refused.value.hint
    assert [name for name in there(tmp_path) if "copy" in name] == []


def test_a_copying_that_was_killed_leaves_nothing_to_the_next_daemon(tmp_path: Path) -> None:
    """The next start takes it away; other files stay."""
    filled(tmp_path / "vmrole.db")
    for name in (".vmrole-copy-abc", ".vmrole-copy-abc-journal", "mine"):
        (tmp_path / name).touch()
    with SqliteStore(tmp_path / "vmrole.db"):
        pass
    assert {name for name in there(tmp_path) if not name.startswith("vmrole.")} == {"mine"}


def test_the_line_of_a_backup() -> None:
    """It is read as it was written; a newer one is known as that."""
    seal = Seal("0" * 64, 12)
    assert records_copy.read(seal.line()) == seal
    assert records_copy.read(b"vmrole backup 7 anything at all") == Newer(7)
    for other in (b"", b"vmrole backup\n", b"vmrole backup 1 sha256=abc bytes=1\n", seal.line()[:-1], b"\xff" * 200):
        assert records_copy.read(other) is None


# The command -------------------------------------------------------------------------------------------------


def configured(tmp_path: Path) -> Path:
    """A configuration of the daemon in this process."""
    file = tmp_path / "vmrole.toml"
    lines = {"state_dir": tmp_path / "state", "run_dir": tmp_path / "run", "socket": tmp_path / "s.sock"}
    file.write_text("".join(f"{key} = {json.dumps(str(value))}\n" for key, value in lines.items()))
    return file


def test_a_service_comes_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Backup while the daemon runs; restored where none does the service is as it was, and verify says what the host
    has no more. With a configuration its own daemon is meant: one that does not answer there is in the way.
    """
    caplog.set_level("INFO")
    config, file = configured(tmp_path), tmp_path / "vmrole.backup"
    words = ["--socket", str(tmp_path / "s.sock")]
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        assert main([*words, "backup", str(file)]) == 0
        assert "for your eyes alone" in capsys.readouterr().out
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SECRET in file.read_text(errors="replace")
        assert "POST '/v1/backup' (backup) by uid" in caplog.text
        damaged = tmp_path / "damaged.backup"
        damaged.write_bytes(file.read_bytes()[:-1])
        assert main(["restore", str(damaged), "--config", str(config)]) == 2  # by the daemon, not past it
        capsys.readouterr()
        elsewhere = tmp_path / "elsewhere.toml"
        elsewhere.write_text(config.read_text().replace("s.sock", "nobody.sock"))
        assert main(["restore", str(file), "--config", str(elsewhere)]) == 78
        assert "another daemon has it open" in capsys.readouterr().err
        daemon.wipe()
    assert main(["restore", str(file), "--config", str(config)]) == 0
    told = capsys.readouterr().out
    for word in ("1 image", "1 service", "3 wishes", "former records are kept", "vmrole verify"):
        assert word in told
    with Daemon(tmp_path) as daemon:
        assert [one.name for one in Present(daemon.store).all(Service)] == ["shop"]
        assert daemon.client().findings() == []  # Nothing was begun yet: all of it is still to be made.


def test_without_a_daemon_root_makes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the file that the configuration names; where there is none, that is told."""
    config, file = configured(tmp_path), tmp_path / "vmrole.backup"
    words = ["--socket", str(tmp_path / "s.sock"), "backup", str(file), "--config", str(config)]
    if os.geteuid() == 0:
        assert main(words) == 3
        assert not file.exists()
        filled(tmp_path / "state" / "vmrole.db")
        assert main(words) == 0
        backups.restore(file, tmp_path / "again" / "vmrole.db")
        assert content(tmp_path / "again" / "vmrole.db")[0] == 2
    else:
        assert main(words) == 1
        assert "no daemon answers" in capsys.readouterr().err


def test_only_a_backup_is_replaced(tmp_path: Path) -> None:
    """An earlier one by a whole new one; nothing else, whatever its name; and what fails leaves the earlier one."""
    file, words = tmp_path / "vmrole.backup", ["--socket", str(tmp_path / "s.sock"), "backup"]
    with Daemon(tmp_path) as daemon:
        assert main([*words, str(file)]) == 0
        first = file.read_bytes()
        daemon.give_image()
        assert main([*words, str(file)]) == 0
        second = file.read_bytes()
        assert second != first
        (tmp_path / "mine").write_text("mine")
        assert main([*words, str(tmp_path / "mine")]) == 5
        assert (tmp_path / "mine").read_text() == "mine"
        assert main([*words, str(tmp_path / "no" / "where")]) == 2
        assert main([*words, str(tmp_path)]) == 2
    records = daemon.layout.records
    records.write_bytes(records.read_bytes().replace(b'"micro"', b'"macro"'))
    with Daemon(tmp_path):
        assert main([*words, str(file)]) == 1
    assert file.read_bytes() == second
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_backup_that_is_in_place_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails after the last step: nobody is told that nothing has changed."""
    made = tmp_path / "made.backup"
    made.write_bytes(filled(tmp_path / "state" / "records"))
    with SqliteStore(tmp_path / "state" / "records") as store:
        write(store, 99, [one.revision for name in ("one", "two") if (one := store.get("thing", name))])
    whole = os.fsync

    def fails(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink() == tmp_path / "state":
            raise OSError(5, "Input/output error")
        whole(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(Permanent, match="in place, but the disk") as refused:
            backups.restore(made, tmp_path / "state" / "records")
    former = tmp_path / "state" / "records.former-1"
    assert str(former) in refused.value.hint
    assert content(tmp_path / "state" / "records")[0] == 2
    assert content(former)[0] == 99
