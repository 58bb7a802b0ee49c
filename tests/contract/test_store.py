"""The Store contract on both stores, and what only a store on disk can lose."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.store import sqlite, sqlite_file, sqlite_room
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import ConfigError, NoSpace, Permanent
from orchestrator.model import Event
from orchestrator.ports import Store, Write
from tests.contract.suites.store import StoreContract, event
from tests.world.fabric import Fabric, whole_life
from tests.world.places import GOLDEN_FILES

KILLS = 12
NAMES = st.sampled_from(["web", "db", "Web", "w%", "_eb", "web-x", "0", "", "\\"])
SUBJECTS = st.one_of(
    NAMES,
    st.builds("{}.{}".format, NAMES, NAMES),
    st.builds("{}-{}.{}".format, NAMES, st.sampled_from(["0", "12", "x", "", "1%"]), NAMES),
)

WRITER = """
import sys
from pathlib import Path
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.ports import Write
store = SqliteStore(Path(sys.argv[1]))
found = store.get("thing", "count")
number, revision = (found.body["n"], found.revision) if found else (0, 0)
while True:
    number += 1
    revision = store.commit([Write("thing", "count", {"n": number}, revision)])
    print(number, flush=True)
"""


class TestFake(StoreContract):
    """The store in memory."""

    @pytest.fixture
    def store(self) -> Store:
        """A fresh one."""
        return FakeStore()


class TestSqlite(StoreContract):
    """The store on disk."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        """A fresh one."""
        with SqliteStore(tmp_path / "vmrole.db") as store:
            yield store

    def test_a_whole_life_on_disk(self, store: Store) -> None:
        """The core runs on the real store as on the fake one."""
        whole_life(Fabric(store=store))

    def test_nobody_else_may_read_it(self, store: Store, tmp_path: Path) -> None:
        """Records may refer to secrets: the file is its owner's alone."""
        assert store.revision() == 0
        assert (tmp_path / "vmrole.db").stat().st_mode & 0o077 == 0

    def test_a_second_daemon_is_refused(self, store: Store, tmp_path: Path) -> None:
        """One daemon per state directory."""
        assert store.revision() == 0
        with pytest.raises(ConfigError, match="another daemon"):
            SqliteStore(tmp_path / "vmrole.db")

    def test_old_events_are_forgotten(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        """The ledger has an end."""
        monkeypatch.setattr(sqlite, "EVENTS_MAX", 50)
        for number in range(60):
            store.commit([], [event("a", str(number)), event("b", str(number))])
        assert [one.message for one in store.events(subject="a")] == [str(number) for number in range(35, 60)]
        assert len(store.events()) == 50

    def test_a_full_disk_loses_nothing(self, store: Store) -> None:
        """A commit for which there is no room is refused as a whole, and the next that fits goes on."""
        assert isinstance(store, SqliteStore)
        first = store.commit([Write("thing", "a", {"n": 1}, 0)])
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(NoSpace, match="cannot be saved"):
            store.commit([Write("thing", "a", {"n": 2}, first), Write("thing", "big", {"text": "x" * 100_000}, 0)])
        assert store.revision() == first
        assert store.get("thing", "big") is None
        found = store.get("thing", "a")
        assert found is not None
        assert (found.body["n"], found.revision) == (1, first)
        store._db.execute(f"PRAGMA max_page_count = {pages + 100}")
        assert store.commit([Write("thing", "big", {"text": "x" * 100_000}, 0)]) == first + 1

    def test_the_records_have_room_of_their_own(self, tmp_path: Path) -> None:
        """Behind their end and for a journal, in which nobody else can write; what was grown into is made up for."""
        path = tmp_path / "vmrole.db"

        def behind_the_end() -> int:
            found = path.stat()
            return found.st_blocks * 512 - found.st_size

        for opening in range(2):
            with SqliteStore(path) as store:
                for number in range(12):
                    assert behind_the_end() >= sqlite_room.AHEAD_BYTES // 2
                    journal = path.with_name("vmrole.db-journal").stat()
                    assert journal.st_blocks * 512 >= sqlite_room.JOURNAL_BYTES
                    assert journal.st_mode & 0o077 == 0
                    store.commit([Write("state", f"{opening}-{number}", {"text": "x" * 400_000}, 0)])
            assert behind_the_end() >= sqlite_room.AHEAD_BYTES // 2

    def test_nobody_else_can_hold_up_a_commit(self, store: Store, tmp_path: Path) -> None:
        """A curious `sqlite3 vmrole.db` is turned away, instead of making the daemon wait for it."""
        other = sqlite3.connect(tmp_path / "vmrole.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM documents")
        other.close()
        store.commit([Write("thing", "a", {}, 0)])

    def test_who_waits_when_it_closes_is_let_go(self, store: Store) -> None:
        """And whoever calls later gets an error of ours."""
        closer = threading.Timer(0.1, store.close)
        closer.start()
        began = time.monotonic()
        store.wait(store.revision(), 30.0)
        assert time.monotonic() - began < 10
        closer.join()
        with pytest.raises(Permanent):
            store.commit([Write("thing", "a", {}, 0)])
        with pytest.raises(Permanent):
            store.all("thing")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(SUBJECTS, SUBJECTS), max_size=6), st.integers(0, 8), st.integers(1, 6))
def test_both_stores_tell_the_same_events(
    shared: tuple[FakeStore, SqliteStore], told: list[tuple[str, str]], after: int, limit: int
) -> None:
    """Whatever the subjects are, also those that SQL would take for patterns, both narrow alike."""
    fake, real = shared
    first = fake.revision()
    for subject, message in told:
        for store in shared:
            store.commit([], [event(subject, message)])
    for subject in {"", *(one for pair in told for one in pair)}:
        wanted = fake.events(subject=subject, after=first + after, limit=limit)
        assert real.events(subject=subject, after=first + after, limit=limit) == wanted


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[tuple[FakeStore, SqliteStore]]:
    """One of each."""
    with SqliteStore(tmp_path / "vmrole.db") as real:
        yield FakeStore(), real


def test_it_is_still_there_after_a_restart(tmp_path: Path) -> None:
    """Documents, events and the revision survive closing and opening."""
    path = tmp_path / "vmrole.db"
    with SqliteStore(path) as store:
        revision = store.commit([Write("thing", "a", {"n": 1}, 0)], [event("a")])
    with SqliteStore(path) as store:
        assert store.revision() == revision
        assert [one.key for one in store.all("thing")] == ["a"]
        assert [one.subject for one in store.events()] == ["a"]


def test_what_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """A writer is killed a dozen times at random moments: every number that it had told is there."""
    path = tmp_path / "vmrole.db"
    chance = random.Random(4)
    told = 0
    for _ in range(KILLS):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first, "the writer could not open the store that its predecessor left"
        killer = threading.Timer(chance.uniform(0.0, 0.15), os.kill, (writer.pid, signal.SIGKILL))
        killer.start()
        told = int([first, *writer.stdout.readlines()][-1])
        writer.wait()
        killer.join()
        writer.stdout.close()
        with SqliteStore(path) as store:
            found = store.get("thing", "count")
            assert found is not None
            assert found.body["n"] in (told, told + 1), "at most the one commit is there that was not told"
    assert told > KILLS


def test_the_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    """A file kept from version 1 opens in every later version, with all that was in it."""
    path = tmp_path / "vmrole.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((GOLDEN_FILES / "store-version-1.sql").read_text())
    path.chmod(0o644)
    with SqliteStore(path) as store:
        found = store.get("service", "shop")
        assert found is not None
        assert (dict(found.body), found.revision) == ({"removing": False, "spec": {"name": "shop"}}, 2)
        assert [one.message for one in store.events(subject="web.shop")] == ["serving"]
        assert store.revision() == 3
        assert store.commit([Write("service", "shop", None, 2)]) == 4
    assert path.stat().st_mode & 0o077 == 0


def test_what_is_no_place_for_records_is_told(tmp_path: Path) -> None:
    """A directory in the way, or one that cannot be made, is a matter of configuration."""
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    for path in (tmp_path / "file" / "vmrole.db", tmp_path / "directory"):
        with pytest.raises(ConfigError, match="cannot be read"):
            SqliteStore(path)
    SqliteStore(tmp_path / "vmrole.db").close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A database of a later vmrole is not touched."""
    path = tmp_path / "vmrole.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA + 1}")
    db.close()
    with pytest.raises(ConfigError, match="version"):
        SqliteStore(path)


def test_migration_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of the first version is brought to the next, with everything in it."""
    path = tmp_path / "vmrole.db"
    with SqliteStore(path) as store:
        store.commit([Write("thing", "a", {"n": 1}, 0)])
    monkeypatch.setattr(
        sqlite_file, "MIGRATIONS", (*sqlite_file.MIGRATIONS, "ALTER TABLE events ADD COLUMN actor TEXT;")
    )
    monkeypatch.setattr(sqlite_file, "SCHEMA", sqlite_file.SCHEMA + 1)
    with SqliteStore(path) as store:
        assert [json.loads(json.dumps(dict(one.body))) for one in store.all("thing")] == [{"n": 1}]
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (sqlite_file.SCHEMA,)
    db.close()


@pytest.mark.parametrize("damage", ["empty page", "no database"])
def test_a_damaged_file_is_refused_with_a_remedy(tmp_path: Path, damage: str) -> None:
    """Damage is found when the store is opened, and nothing is written to it."""
    path = tmp_path / "vmrole.db"
    with SqliteStore(path) as store:
        for number in range(200):
            store.commit([Write("thing", f"key-{number}", {"text": "x" * 200}, 0)])
    content = bytearray(path.read_bytes())
    if damage == "no database":
        content[:16] = b"not a database!!"
    else:
        content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        SqliteStore(path)
    assert caught.value.hint
    assert path.read_bytes() == bytes(content)


def _filled(path: Path) -> None:
    with SqliteStore(path) as store:
        for number in range(60):
            body = {"number": number, "text": f"record {number} " * 4, "tpm": True}
            store.commit([Write("thing", f"key-{number}", body, 0)], [event(f"key-{number}.shop", f"made {number}")])


def _content(path: Path) -> tuple[dict[tuple[str, str], str], list[Event]] | None:
    """What a store gives of its content, damaged parts left out; None when it says that it cannot be used."""
    try:
        with SqliteStore(path) as store:
            damaged = {(one.kind, one.key) for one in store.damaged()}
            documents = {
                (one.kind, one.key): json.dumps([one.body, one.revision], sort_keys=True)
                for kind in {"thing", *(kind for kind, _ in damaged)}
                for one in store.all(kind)
                if not one.damage
            }
            assert len(documents) + len(damaged) == 60, "a record is missing, and nobody says so"
            return documents, [one for one in store.events(limit=10_000) if "damaged" not in one.message]
    except (ConfigError, Permanent):
        return None


def test_no_damage_is_read_as_truth(tmp_path: Path) -> None:
    """Of 500 files with one or eight flipped bits each, every one is told, record by record, or harmless."""
    path, chance = tmp_path / "vmrole.db", random.Random(20261128)
    _filled(path)
    sound = path.read_bytes()
    truth = _content(path)
    assert truth is not None
    partly = refused = 0
    for _ in range(500):
        content = bytearray(sound)
        for _ in range(chance.choice((1, 8))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        read = _content(path)
        refused += read is None
        if read is not None:
            partly += len(read[0]) < 60
            assert read[0].items() <= truth[0].items()
            assert all(one in truth[1] for one in read[1])
    assert partly > 20
    assert refused > 20


def test_a_damaged_record_stops_no_other(tmp_path: Path) -> None:
    """The store opens, says which record is damaged, and gives all others."""
    path = tmp_path / "vmrole.db"
    _filled(path)
    content = path.read_bytes()
    assert b"record 17 record 17" in content
    path.write_bytes(content.replace(b"record 17 record 17", b"record 17 recorD 17"))
    with SqliteStore(path) as store:
        assert [one.key for one in store.damaged()] == ["key-17"]
        damaged = store.get("thing", "key-17")
        assert damaged is not None
        assert damaged.damage
        assert damaged.body == {}
        assert sum(not one.damage for one in store.all("thing")) == 59
        store.commit([Write("thing", "new", {}, 0)])


def test_records_that_are_gone_are_missed(tmp_path: Path) -> None:
    """A row that is no longer there is no record that was deleted."""
    path = tmp_path / "vmrole.db"
    _filled(path)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM documents WHERE key = 'key-3'")
        db.commit()
    with pytest.raises(ConfigError, match="59 records are left of 60"):
        SqliteStore(path)


def test_the_ledger_is_kept_for_each_subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is talked of all the time does not make the others' past be forgotten."""
    monkeypatch.setattr(sqlite, "EVENTS_OF_ONE", 5)
    with SqliteStore(tmp_path / "vmrole.db") as store:
        store.commit([], [event("quiet", "the only one")])
        for number in range(40):
            store.commit([], [event("loud", str(number))])
        assert [one.message for one in store.events(subject="quiet")] == ["the only one"]
        assert [one.message for one in store.events(subject="loud")] == ["35", "36", "37", "38", "39"]
