"""The contract of BlobFiles on the fake and on real files, and what only real files can show."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.disks import blobs as driver
from orchestrator.drivers.disks.blobs import HEAD_BYTES, BlobDirectory
from orchestrator.drivers.fake import FakeBlobs, World
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Conflict, NoSpace, NotFound, Permanent, StaleRevision, Transient
from orchestrator.model.blob import Blob, BlobOwner, Of
from orchestrator.ports import BlobFiles
from tests.contract.suites.blobs import CAPS, OTHER, ROLE, WEB, BlobFilesContract, held, put, wish

KILLED = -signal.SIGKILL


@pytest.mark.parametrize("real", [False, True])
def test_as_many_puts_are_begun_as_is_said(tmp_path: Path, *, real: bool) -> None:
    """Eight of each and 64 in all, unless somebody says otherwise: the ninth and the 65th are refused, and guests'
    are not counted with them.
    """
    blobs = BlobDirectory(layout_of(tmp_path), SystemClock()) if real else FakeBlobs(World())

    def begin(who: str, number: int) -> int | Blob:
        return blobs.part(WEB, f"{who} {number}", wish("state", b"ab"), 0, b"a", among=who)

    users = [f"user-{number}" for number in range(8)]
    for who in users:
        for number in range(8):
            assert begin(who, number) == 1
        with pytest.raises(Conflict, match=f"8 puts of {who}"):
            begin(who, 8)
    for who in ("user-8", *users):
        with pytest.raises(Conflict, match="and 64 in all"):
            begin(who, 9)
    assert blobs.part(WEB, "a guest", wish("state", b"ab"), 0, b"a") == 1
    blobs.give_up("user-3 5")
    assert begin("user-8", 9) == 1
    with pytest.raises(Conflict, match="and 64 in all"):
        begin("user-9", 9)


class TestFakeBlobs(BlobFilesContract):
    """The fake world's."""

    @pytest.fixture
    def world(self) -> World:
        """Where they are."""
        return World()

    @pytest.fixture
    def blobs(self, world: World) -> BlobFiles:
        """In memory."""
        return FakeBlobs(world, CAPS)

    @pytest.fixture
    def later(self, world: World) -> Callable[[float], None]:
        """By the clock of the fake world."""
        return world.pass_time


class _Clock(SystemClock):
    """One that a test sets forward."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s

    def forward(self, seconds: float) -> None:
        """So much later."""
        self.ahead_s += seconds


def layout_of(place: Path) -> Layout:
    """Places below a directory."""
    (place / "state").mkdir(exist_ok=True)
    return Layout(place / "state", place / "run")


class TestBlobDirectory(BlobFilesContract):
    """Real files."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Layout:
        """Places below the test's directory."""
        return layout_of(tmp_path)

    @pytest.fixture
    def clock(self) -> _Clock:
        """The host's."""
        return _Clock()

    @pytest.fixture
    def blobs(self, layout: Layout, clock: _Clock) -> BlobFiles:
        """In files."""
        return BlobDirectory(layout, clock, CAPS)

    @pytest.fixture
    def later(self, clock: _Clock) -> Callable[[float], None]:
        """By a clock that is set forward."""
        return clock.forward

    def test_they_are_roots_alone(self, blobs: BlobFiles, layout: Layout) -> None:
        """What is put and what is being put, and all directories."""
        put(blobs, ROLE, "state", b"x")
        blobs.part(WEB, "me", wish("state", b"xy"), 0, b"x")
        modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in layout.blobs.rglob("*")}
        assert modes == {True: 0o700, False: 0o600}
        assert layout.blobs.stat().st_mode & 0o777 == 0o700

    def test_what_is_there_outlives_the_daemon_and_what_was_begun_does_not(
        self, blobs: BlobFiles, layout: Layout
    ) -> None:
        """The last part of a put is known again by whoever reads the files."""
        wanted = wish("state", b"abc")
        done = blobs.part(WEB, "me", wanted, 0, b"abc")
        for owner in (WEB, ROLE):
            blobs.part(owner, str(owner), wish("other", b"abc"), 0, b"a")
        files = BlobDirectory(layout, SystemClock(), CAPS)
        assert files.part(WEB, "me", wanted, 0, b"abc") == done
        assert (held(files, WEB), held(files, ROLE)) == ({"state": b"abc"}, {})
        assert [path.name for path in layout.blobs.rglob("*") if path.is_file()] == ["state.blob"]

    def test_what_nobody_goes_on_with_goes(
        self, blobs: BlobFiles, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With its file, and what it was to hold is free again."""
        blobs.part(WEB, "me", wish("state", b"abc"), 0, b"a")
        assert blobs.give_up_idle() == 1
        monkeypatch.setattr(driver, "IDLE_S", -1.0)
        assert blobs.give_up_idle() == 0
        assert not [path for path in layout.blobs.rglob("*") if path.is_file()]

    def test_a_damaged_file_is_told_and_can_be_put_anew(self, blobs: BlobFiles, layout: Layout) -> None:
        """It is never taken for what it was, and is no version that anybody has."""
        version = put(blobs, WEB, "state", b"abcdef").version
        file = layout.blobs_of(WEB) / "state.blob"
        whole = file.read_bytes()
        said = json.loads(whole[:HEAD_BYTES])
        other = [{"version": "none"}, {"version": "zzz"}, {"sha256": "\ud800"}, {"sha256": 5}, {"put_at_s": "now"}]
        other += [{"version": 5}, {"put_at_s": math.inf}, {"put_id": []}, {"name": "other"}]
        heads = [json.dumps(said | one).encode().ljust(HEAD_BYTES) for one in other]
        bodies = [whole[:-1], whole + b"x", b"", b"x" * 600, b"[]" + whole[2:]]
        for damaged in (*bodies, *(head + b"abcdef" for head in heads)):
            file.write_bytes(damaged)
            assert [(one.name, one.version) for one in blobs.all(WEB)] == [("state", "")]
            with pytest.raises(Permanent, match="damaged"):
                blobs.read(WEB, "state", 0, 10)
            with pytest.raises(StaleRevision):
                put(blobs, WEB, "state", b"new", if_version=version)
            assert [one.damaged for one in blobs.inventory()] == [("state",)]
        put(blobs, WEB, "state", b"new")
        assert held(blobs, WEB) == {"state": b"new"}

    def test_what_somebody_has_put_between_the_stores_is_none(self, blobs: BlobFiles, layout: Layout) -> None:
        """A file, or a link to elsewhere: neither keeps others from being looked at, and neither is erased."""
        put(blobs, ROLE, "state", b"x")
        put(blobs, WEB, "state", b"x")
        others, elsewhere = layout.blobs_of(ROLE).parent, layout.state / "elsewhere"
        elsewhere.mkdir()
        for place in (others, layout.blobs_of(WEB).parent):
            (place / "copy.tar").write_bytes(b"kept")
            (place / "link").symlink_to(elsewhere)
        assert list(blobs.roles_of("shop")) == ["web"]
        assert {one.owner for one in blobs.inventory()} == {ROLE, WEB}

    def test_a_full_disk_takes_nothing_and_loses_nothing(
        self, blobs: BlobFiles, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is kept for running guests is theirs."""
        put(blobs, WEB, "state", b"former")
        real = os.statvfs(layout.state)
        none = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: none)
        with pytest.raises(NoSpace):
            put(blobs, WEB, "state", b"new")
        assert held(blobs, WEB) == {"state": b"former"}
        assert len(list(layout.blobs_of(WEB).iterdir())) == 1

    def test_room_is_not_promised_twice(
        self, blobs: BlobFiles, layout: Layout, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What others have begun to put, and not sent yet, is theirs."""
        real = os.statvfs(layout.state)
        left = os.statvfs_result((real[0], 1, *real[2:4], 100, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: left)
        blobs.part(WEB, "me", wish("state", b"x" * 60), 0, b"x")
        with pytest.raises(NoSpace):
            blobs.part(ROLE, "other", wish("state", b"y" * 60), 0, b"y")
        blobs.part(ROLE, "other", wish("state", b"y" * 41), 0, b"y")
        blobs.give_up("me")
        blobs.part(OTHER, "third", wish("state", b"z" * 60), 0, b"z")

    def test_a_store_that_is_erased_does_not_come_back(self, blobs: BlobFiles, layout: Layout) -> None:
        """By a put that was begun before."""
        wanted = wish("state", b"abc")
        blobs.part(WEB, "me", wanted, 0, b"a")
        blobs.erase_blobs(WEB)
        with pytest.raises(Transient):
            blobs.part(WEB, "me", wanted, 1, b"bc")
        assert not layout.blobs_of(WEB).exists()

    def test_of_many_who_count_nobody_is_forgotten(self, blobs: BlobFiles) -> None:
        """Eight at once, by compare-and-swap: each has its turn, and the sum is right."""
        put(blobs, ROLE, "count", b"0")

        def count(who: str) -> None:
            left = 10
            while left:
                blob, data = blobs.read(ROLE, "count", 0, 20)
                more = str(int(data) + 1).encode()
                try:
                    blobs.part(ROLE, who, wish("count", more, if_version=blob.version), 0, more)
                    left -= 1
                except (StaleRevision, NotFound):
                    continue

        threads = [threading.Thread(target=count, args=(f"web-{number}.shop",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert held(blobs, ROLE) == {"count": b"80"}


# Killed at every write ------------------------------------------------------------------------------------------

# For each call of the operating system by which the store changes something, a process that is killed at it: before,
# or in its midst where it writes and else behind it. Prints for each how it ended, and what it was told to be done.
CHILD = """
import os, signal, sys
from pathlib import Path
from tests.contract.test_blobs import life
real = {name: getattr(os, name) for name in ("open", "pwrite", "fsync", "rename", "unlink", "mkdir", "rmdir")}
calls = 0
def around(name, at, midst):
    def called(*args, **kwargs):
        global calls
        calls += 1
        if calls == at:
            try:
                if midst and name == "pwrite":
                    real[name](args[0], args[1][: len(args[1]) // 2], args[2])
                elif midst:
                    real[name](*args, **kwargs)
            finally:
                os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*args, **kwargs)
    return called
def lived(at, midst):
    reads, writes = os.pipe()
    if not (child := os.fork()):
        for name in real:
            setattr(os, name, around(name, at, midst))
        place = Path(sys.argv[1], f"{at}-{midst:d}")
        real["mkdir"](place)
        life(place, lambda done: os.write(writes, f"{done} ".encode()))
        os.write(writes, f"{calls} ".encode())
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as told:
        words = told.read()
    _, status = os.waitpid(child, 0)
    print(at, int(midst), os.waitstatus_to_exitcode(status), words, flush=True)
    return words.split()
for at in range(1, int(lived(0, False)[-1]) + 1):
    for midst in (False, True):
        lived(at, midst)
"""
OLD, NEW = b"old " * 5000, b"new " * 7000


def life(place: Path, told: Callable[[str], object]) -> None:
    """A first put, another in its place, of one more, and its removal; what was answered is told."""
    blobs = BlobDirectory(layout_of(place), SystemClock(), CAPS)
    put(blobs, WEB, "state", OLD)
    told("old")
    wanted = wish("state", NEW)
    for offset in range(0, len(NEW), 11 * 1024):
        blobs.part(WEB, "me", wanted, offset, NEW[offset : offset + 11 * 1024])
    told("new")
    put(blobs, WEB, "other", b"x")
    told("other")
    blobs.remove(WEB, "other")
    told("removed")


def test_who_is_killed_at_any_write_leaves_whole_blobs(tmp_path: Path) -> None:
    """The former or the new one, never less than was answered, and nothing beside them for the next daemon."""
    argv = [sys.executable, "-c", CHILD, str(tmp_path)]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    _, _, whole, *_, calls = lines.pop(0).split()
    assert (whole, len(lines)) == ("0", 2 * int(calls))
    assert int(calls) > 40
    may_be = {"": (None, OLD), "old": (OLD, NEW), "new": (NEW,), "other": (NEW,), "removed": (NEW,)}
    for line in lines:
        at, midst, status, *told = line.split()
        assert status == str(KILLED), line
        place = tmp_path / f"{at}-{midst}"
        blobs = BlobDirectory(layout_of(place), SystemClock(), CAPS)
        now, last = held(blobs, WEB), told[-1] if told else ""
        assert now.get("state") in may_be[last], line
        assert now.get("other") in {"new": (None, b"x"), "other": (None, b"x")}.get(last, (None,)), line
        assert all(not store.damaged for store in blobs.inventory())
        assert all(path.suffix == ".blob" for path in place.rglob("*") if path.is_file())
        put(blobs, WEB, "state", NEW)


def test_roles_and_instances_do_not_share_a_place(tmp_path: Path) -> None:
    """Though a role be called as an instance of another is."""
    blobs = BlobDirectory(layout_of(tmp_path), SystemClock(), CAPS)
    role = BlobOwner(Of.ROLE, WEB.name)
    put(blobs, WEB, "state", b"instance's")
    put(blobs, role, "state", b"role's")
    assert (held(blobs, WEB), held(blobs, role)) == ({"state": b"instance's"}, {"state": b"role's"})
