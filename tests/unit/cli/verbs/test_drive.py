"""`vmrole drive` against a daemon whose drives are real files."""

from __future__ import annotations

import json

import pytest

from tests.world.api_daemon import Daemon
from tests.world.command_line import Run


@pytest.fixture
def daemon(daemon: Daemon) -> Daemon:
    """It, with a drive that holds something; what a test has left of others is removed."""
    for one in daemon.layout.drives.glob("*"):
        daemon.drives._files.erase(one.name)
    daemon.client().create_drive("db-0", 64)
    with daemon.layout.drive("db-0").open("rb+") as file:
        file.write(b"orders")
    return daemon


def held(daemon: Daemon) -> bytes:
    """What is in it."""
    return daemon.layout.drive("db-0").read_bytes()[:6]


def test_a_life_of_a_drive(run: Run, daemon: Daemon) -> None:
    """Made, listed, kept, spoilt, brought back, grown and removed."""
    assert run("drive", "create", "db-1", "--size", "1 GiB")[:2] == (0, "db-1: made\n")
    assert run("drive", "ls", "-o", "name")[1] == "db-0\ndb-1\n"
    assert run("drive", "snapshot", "db-0", "monday")[:2] == (0, "db-0 monday: taken\n")
    with daemon.layout.drive("db-0").open("rb+") as file:
        file.write(b"spoilt")
    assert run("drive", "restore", "db-0", "monday")[:2] == (0, "db-0 monday: restored\n")
    assert held(daemon) == b"orders"
    assert run("drive", "grow", "db-0", "--size", "128MiB")[:2] == (0, "db-0: 128.0 MiB now\n")
    assert daemon.layout.drive("db-0").stat().st_size == 128 << 20
    lines = [line.split() for line in run("drive", "ls", "-o", "wide")[1].splitlines()]
    assert lines[0] == ["NAME", "SIZE", "USED", "INSTANCE", "AGE", "SNAPSHOTS"]
    assert (lines[1][:3], lines[1][-1]) == (["db-0", "128.0", "MiB"], "monday")
    (one, _) = json.loads(run("drive", "ls", "-o", "json")[1])
    assert (one["size_mib"], one["missing"], [each["name"] for each in one["snapshots"]]) == (128, False, ["monday"])
    assert run("drive", "rm", "db-0", "--snapshot", "monday")[:2] == (0, "db-0 monday: removed\n")
    assert run("drive", "rm", "db-0")[:2] == (0, "db-0: removed\n")
    assert run("drive", "ls", "-o", "name")[1] == "db-1\n"
    assert not daemon.layout.drive_dir("db-0").exists()


def test_a_snapshot_is_named_by_the_time(run: Run, daemon: Daemon) -> None:
    """And told, so that it can be asked for."""
    status, out, _ = run("drive", "snapshot", "db-0")
    name = out.removeprefix("db-0 ").removesuffix(": taken\n")
    assert (status, run("drive", "restore", "db-0", name)[0]) == (0, 0)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("create", "db-0", "--size", "64MiB"), 5, "there is a drive db-0"),
        (("create", "../db", "--size", "64MiB"), 2, "lower-case letters"),
        (("create", "..", "--size", "64MiB"), 2, "lower-case letters"),
        (("create", "db-1"), 2, "--size"),
        (("create", "db-1", "--size", "64"), 2, "such as 128 MiB"),
        (("create", "db-1", "--size", "64 MB"), 2, "such as 128 MiB"),
        (("create", "db-1", "--size", "1 MiB"), 2, "use 16 MiB to"),
        (("grow", "db-0", "--size", "32MiB"), 2, "does not become smaller"),
        (("grow", "db-1", "--size", "32MiB"), 3, "run: vmrole drive ls"),
        (("snapshot", "db-0", "../x"), 2, "lower-case letters"),
        (("restore", "db-0", "monday"), 3, "no snapshot 'monday'"),
        (("restore", "db-0", ".."), 2, "lower-case letters"),
        (("attach", "db-0", "web-0"), 3, "web-0"),
        (("attach", "db-0"), 2, "INSTANCE"),
        (("detach", "db-0"), 5, "drive db-0 is attached to nobody"),
        (("detach", "db-1", "--force"), 3, "there is no drive 'db-1'"),
        (("rm", "db-1"), 3, "there is no drive 'db-1'"),
        (("rm", "db-0", "--snapshot", "monday"), 3, "no snapshot 'monday'"),
    ],
)
def test_bad_words(run: Run, daemon: Daemon, words: tuple[str, ...], status: int, told: str) -> None:
    """Said, with what to do; nothing is lost."""
    found, out, err = run("drive", *words)
    assert (found, out, told in err) == (status, "", True), err
    assert [one["name"] for one in daemon.client().drives()] == ["db-0"]
    assert held(daemon) == b"orders"


def test_verify_tells_of_drives(run: Run, daemon: Daemon) -> None:
    """A drive whose file is gone, and a file of no record: neither is touched."""
    assert run("verify")[0] == 0
    daemon.layout.drive("db-0").unlink()
    stray = daemon.layout.drives / "ghost"
    stray.mkdir()
    (stray / "disk.raw").write_bytes(b"x")
    status, out, _ = run("verify")
    assert status == 1
    assert "DRIVE-MISSING" in out
    assert "DRIVE-STRAY" in out
    run("verify", "--repair")
    assert (stray / "disk.raw").exists()
    assert run("drive", "ls")[1].splitlines()[1].split()[3] == "missing"
