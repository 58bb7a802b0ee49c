"""The doctor tells of records that cannot be read, with a daemon and without, and changes nothing by looking."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.store.sqlite_file import SCHEMA
from orchestrator.host.config import Config
from orchestrator.host.doctor import Check, Verdict, readable
from orchestrator.ports import Write
from tests.world.api_daemon import SHOP, Daemon


def configuration(daemon: Daemon) -> Config:
    """That of this daemon."""
    return Config(state_dir=daemon.layout.state, run_dir=daemon.layout.run, socket=daemon.socket)


def look(settings: Config) -> Check:
    """The check, which leaves the state directory as it was, byte by byte."""
    before = content(settings.state_dir)
    check = readable.records(settings)
    assert content(settings.state_dir) == before
    return check


def content(directory: Path) -> Mapping[str, str]:
    """Each file's digest."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def spoil(daemon: Daemon) -> None:
    """An instance of a later version, and an operation whose verb is not known."""
    state = daemon.store.get(records.WISH, "web-1.shop")
    assert state is not None
    body: dict[str, Any] = json.loads(json.dumps(dict(state.body)))
    body["goal"]["wanted"] = "the moon"
    daemon.store.commit([Write(records.WISH, "web-1.shop", body, state.revision)])
    daemon.store.commit([Write(records.OPERATION, "later", {"id": "later", "verb": "teleport"}, 0)])


@pytest.mark.parametrize("running", [True, False])
def test_what_cannot_be_read_is_told(tmp_path: Path, running: bool) -> None:
    """A daemon is asked; where none runs, a copy of its file is looked through."""
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        settings = configuration(daemon)
        if running:
            assert look(settings).verdict is Verdict.PASS
        spoil(daemon)
        if running:
            check = look(settings)
    if not running:
        check = look(settings)
    assert check.verdict is Verdict.WARN
    assert "2 cannot be read" in check.message
    assert "web-1.shop" in check.message
    assert "later" in check.message
    assert "newer vmrole" in check.remedy


def test_records_that_are_whole_pass(tmp_path: Path) -> None:
    """And so does a host that has none yet."""
    assert readable.records(Config(state_dir=tmp_path / "none", socket=tmp_path / "s")).verdict is Verdict.PASS
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
    check = look(configuration(daemon))
    assert check.verdict is Verdict.PASS
    assert "all can be read" in check.message


def test_a_damaged_record_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    """A flipped bit in a record is that record's; a file that is none of ours fails, and is named."""
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
    settings = configuration(daemon)
    file = settings.state_dir / "vmrole.db"
    sound = file.read_bytes()
    assert sound.count(b'"name":"web-2.shop"') == 1
    file.write_bytes(sound.replace(b'"name":"web-2.shop"', b'"name":"web-2.shoq"'))
    check = look(settings)
    assert check.verdict is Verdict.WARN
    assert "web-2.shop" in check.message
    file.write_bytes(b"rubbish" * 1000)
    check = look(settings)
    assert check.verdict is Verdict.FAIL
    assert str(file) in check.message
    assert check.remedy


def test_a_newer_file_is_told_as_that(tmp_path: Path) -> None:
    """A later version's schema is not read, and the remedy is that version."""
    path = tmp_path / "vmrole.db"
    with SqliteStore(path) as store:
        store._db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    check = look(Config(state_dir=tmp_path, socket=tmp_path / "s"))
    assert check.verdict is Verdict.FAIL
    assert str(path) in check.message
    assert "newer" in check.remedy


def test_a_daemon_that_does_not_answer_is_told(tmp_path: Path) -> None:
    """Who has the file open and is silent is no daemon that does not run."""
    with SqliteStore(tmp_path / "vmrole.db"):
        check = look(Config(state_dir=tmp_path, socket=tmp_path / "s"))
        assert check.verdict is Verdict.FAIL
        assert "does not answer" in check.message
    assert look(Config(state_dir=tmp_path, socket=tmp_path / "s")).verdict is Verdict.PASS


@pytest.mark.parametrize("running", [True, False])
def test_what_became_of_a_restoring_is_told(tmp_path: Path, running: bool) -> None:
    """That one waits, which is no fault; that one was set aside, and how that is over."""
    with Daemon(tmp_path) as daemon:
        settings, made = configuration(daemon), io.BytesIO()
        daemon.client().backup(made)
        daemon.client().restore(io.BytesIO(made.getvalue()), len(made.getvalue()))
    waits = look(settings)
    assert waits.verdict is Verdict.PASS
    assert "the next start of the daemon restores" in waits.message
    daemon.restores.file.write_bytes(made.getvalue()[:-1])
    with Daemon(tmp_path) as daemon:
        if running:
            check = look(settings)
    if not running:
        check = look(settings)
    assert check.verdict is Verdict.WARN
    assert "the backup is damaged" in check.message
    assert "restore another one" in check.remedy
    assert f"rm {daemon.restores.refused}" in check.message + check.remedy
