"""Restoring over the API: who may, what is refused meanwhile, and what is told when it went wrong after all."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from pathlib import Path
from typing import BinaryIO

import pytest

from orchestrator.api import sending
from orchestrator.cli.main import main
from orchestrator.drivers.store.backup import UNFINISHED
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import Busy, InvalidInput, Permanent, VmroleError
from tests.world.api_daemon import SHOP, Daemon, exchange
from tests.world.waiting import until

LARGE_BYTES = 16 << 20


def backup_of(daemon: Daemon) -> bytes:
    """All of its records."""
    made = io.BytesIO()
    daemon.client().backup(made)
    return made.getvalue()


def with_shop(daemon: Daemon) -> bytes:
    """A backup with a service that is gone since."""
    daemon.give_image()
    daemon.control.apply(SHOP)
    made = backup_of(daemon)
    daemon.wipe()
    return made


def test_nothing_is_accepted_that_would_be_gone_in_a_moment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From the answer on, changes are refused, another backup included; who looks sees what there is."""
    caplog.set_level("INFO")
    with Daemon(tmp_path) as daemon:
        made = with_shop(daemon)
        client = daemon.client()
        assert client.last_restore()["state"] == "none"
        given = client.restore(io.BytesIO(made), len(made))
        assert (given["state"], given["records"]["service"]) == ("pending", 1)
        assert daemon.begins_anew.is_set()
        assert "POST '/v1/restore' (restore) by uid" in caplog.text
        for change in (lambda: client.apply(SHOP), lambda: client.restore(io.BytesIO(made), len(made))):
            with pytest.raises(Busy, match="the records of a backup take the place") as refused:
                change()
            assert refused.value.hint == "try again in a moment"
        assert (client.services(), client.last_restore()["state"]) == ([], "pending")
    with Daemon(tmp_path) as daemon:
        last = daemon.client().last_restore()
        assert (last["state"], last["sha256"]) == ("restored", given["sha256"])
        assert [one["name"] for one in daemon.client().services()] == ["shop"]
        daemon.client().scale("shop", {"web": 2})


def test_one_that_is_refused_leaves_the_daemon_as_it_is(tmp_path: Path) -> None:
    """Damaged, or of no length: changes go on, and a whole one is taken."""
    with Daemon(tmp_path) as daemon:
        made = with_shop(daemon)
        with pytest.raises(InvalidInput, match="what was sent: the backup is damaged") as refused:
            daemon.client().restore(io.BytesIO(made), len(made) - 1)
        assert refused.value.hint
        head = b"POST /v1/restore HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        body = b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        assert b"content-length" in exchange(daemon.socket, head + body).partition(b"\r\n\r\n")[2]
        assert not daemon.begins_anew.is_set()
        daemon.give_image()
        daemon.client().apply(SHOP)
        daemon.client().restore(io.BytesIO(made), len(made))


def test_the_command_waits_until_the_daemon_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says how it ended, with where the former records are."""
    file, statuses = tmp_path / "made.backup", []
    with Daemon(tmp_path) as daemon:
        file.write_bytes(with_shop(daemon))
        words = ["--socket", str(daemon.socket), "restore", str(file)]
        waiting = threading.Thread(target=lambda: statuses.append(main(words)))
        waiting.start()
        assert daemon.begins_anew.wait(60)
    with Daemon(tmp_path):
        waiting.join(60)
    told = capsys.readouterr()
    assert statuses == [0], told.err
    assert "the daemon has the backup, and begins anew with it" in told.err
    for said in ("1 service", "3 wishes", f"kept: {daemon.layout.records}.former-1", "vmrole verify"):
        assert said in told.out


def test_one_that_went_bad_after_all_is_told_until_another_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To who waits, and by verify; the records are those from before."""
    file, statuses = tmp_path / "made.backup", []
    with Daemon(tmp_path) as daemon:
        made = with_shop(daemon)
        file.write_bytes(made)
        words = ["--socket", str(daemon.socket), "restore", str(file)]
        waiting = threading.Thread(target=lambda: statuses.append(main(words)))
        waiting.start()
        assert daemon.begins_anew.wait(60)
    daemon.restores.file.write_bytes(made[:-1])
    with Daemon(tmp_path) as daemon:
        waiting.join(60)
        told = capsys.readouterr()
        assert (statuses, daemon.client().services()) == ([1], [])
        assert "error: the records are those from before: " in told.err
        assert "hint: nothing was changed: restore another backup" in told.err
        (finding,) = daemon.client().findings()
        assert (finding["code"], finding["stray"]) == ("RESTORE-REFUSED", False)
        assert f"rm {daemon.restores.refused}" in finding["message"]
        daemon.client().restore(io.BytesIO(made), len(made))
    with Daemon(tmp_path) as daemon:
        assert daemon.client().findings() == []


def test_records_are_restored_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From another host nobody could ask afterwards how it ended: restored records have no token."""
    assert main(["--server", "https://localhost:1", "restore", str(tmp_path / "made.backup")]) == 2
    assert "records are restored on their host itself" in capsys.readouterr().err


class Slow(SqliteStore):
    """A store of which making a backup takes until `goes_on`, and fails where it is damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.goes_on, self.begun = threading.Event(), threading.Event()
        self.is_damaged = False
        self.under_way = self.most = 0

    def backup(self) -> BinaryIO:
        """See ports.Store."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.begun.set()
        try:
            assert self.goes_on.wait(30.0)
            if self.is_damaged:
                raise Permanent("there is damage")
            return super().backup()
        finally:
            self.under_way -= 1


def slow(daemon: Daemon) -> Slow:
    """The daemon's store, as one that is slow from now on."""
    daemon.store.close()
    daemon.store = store = Slow(daemon.layout.records)
    return store


def test_one_party_has_one_backup_at_a_time(tmp_path: Path) -> None:
    """Each is a copy on the daemon's disk: who asks again while one is made is told, and can when it is over."""
    with Daemon(tmp_path) as daemon:
        store, made = slow(daemon), []
        first = threading.Thread(target=lambda: made.append(backup_of(daemon)))
        first.start()
        assert store.begun.wait(30.0)
        for _ in range(3):
            with pytest.raises(Busy, match="1 backups of uid") as refused:
                backup_of(daemon)
            assert "try again later" in refused.value.hint
        store.goes_on.set()
        first.join(30.0)
        assert made
        until(lambda: bool(_backup_now(daemon)), what="the place")
        assert (store.most, list(daemon.layout.state.glob(f"{UNFINISHED}*"))) == (1, [])
        store.close()


def test_a_backup_that_nobody_takes_gives_its_place_back(tmp_path: Path) -> None:
    """Who has hung up when it was made, and who asked for one that could not be made."""
    with Daemon(tmp_path) as daemon:
        store = slow(daemon)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(str(daemon.socket))
            connection.sendall(b"POST /v1/backup HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            assert store.begun.wait(30.0)
        store.is_damaged = True
        store.goes_on.set()
        until(lambda: _refusal(daemon) == "there is damage", what="the place")
        assert _refusal(daemon) == "there is damage"
        store.is_damaged = False
        assert _backup_now(daemon)
        store.close()


class Large(SqliteStore):
    """A store whose backups are larger than all that lies between two ends of a connection."""

    is_large = True

    def backup(self) -> BinaryIO:
        """See ports.Store."""
        return io.BytesIO(bytes(LARGE_BYTES)) if self.is_large else super().backup()


def test_who_takes_a_backup_byte_by_byte_does_not_keep_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is hung up on, and what was made for him is gone; who keeps his pace gets all of it."""
    with Daemon(tmp_path) as daemon:
        daemon.store.close()
        daemon.store = store = Large(daemon.layout.records)
        assert len(backup_of(daemon)) == LARGE_BYTES
        monkeypatch.setattr(sending, "SLOW_S", 0.2)
        monkeypatch.setattr(sending, "PACE_BYTES_PER_S", 1 << 40)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(30.0)
            connection.connect(str(daemon.socket))
            connection.sendall(b"POST /v1/backup HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
            taken, nobody = 0, threading.Event()
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(4096):
                    taken += len(piece)
                    nobody.wait(0.01)
            assert taken < LARGE_BYTES
            store.is_large = False
            until(lambda: bool(_backup_now(daemon)), what="the place")
        store.close()


def _backup_now(daemon: Daemon) -> bytes:
    with contextlib.suppress(Busy):
        return backup_of(daemon)
    return b""


def _refusal(daemon: Daemon) -> str:
    try:
        return str(len(backup_of(daemon)))
    except VmroleError as error:
        return str(error)
