"""The unix socket: who may connect, what is done about a socket that is there already, and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from orchestrator.api import server
from orchestrator.api.listening import bind, group_id
from orchestrator.api.peers import Admission, Peer, peer_of
from orchestrator.errors import ConfigError, Conflict, Denied, VmroleError
from tests.unit.api_daemon import SHOP, Daemon


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nobody(Admission):
    """Admits nobody, not even root: tests run as anyone."""

    def allows(self, peer: Peer) -> bool:
        """Never."""
        return False


def test_the_socket_is_for_owner_and_group_only(tmp_path: Path) -> None:
    """Mode 0660 and the group that was asked for; its directory can be passed through by all."""
    path = tmp_path / "run" / "vmrole.sock"
    with bind(path, os.getgid()):
        found = path.stat()
        assert stat.S_IMODE(found.st_mode) == 0o660
        assert found.st_gid == os.getgid()
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


def test_a_socket_is_never_open_to_all(tmp_path: Path) -> None:
    """Also with a umask of 0 nobody else can connect at any moment: before listen(2), connect(2) is refused."""
    before = os.umask(0)
    try:
        with bind(tmp_path / "s.sock", None):
            assert stat.S_IMODE((tmp_path / "s.sock").stat().st_mode) == 0o660
    finally:
        os.umask(before)


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed daemon left is no reason not to start."""
    path = tmp_path / "s.sock"
    bind(path, None).close()
    with bind(path, None), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_living_daemon_is_not_pushed_aside(tmp_path: Path) -> None:
    """Where a daemon listens, a second one is refused and the first goes on."""
    path = tmp_path / "s.sock"
    with bind(path, None):
        with pytest.raises(Conflict, match="already listens"):
            bind(path, None)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_is_not_taken_for_a_socket(tmp_path: Path) -> None:
    """A path that is something else is refused and left as it is."""
    path = tmp_path / "s.sock"
    path.write_text("a diary")
    with pytest.raises(Conflict, match="no socket"):
        bind(path, None)
    assert path.read_text() == "a diary"


def test_a_path_that_is_too_long_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    """The kernel would cut it off; it is refused with what is wrong."""
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        bind(tmp_path / ("s" * 108), None)


def test_a_group_that_is_not_there_is_none() -> None:
    """The group of the configuration need not exist."""
    assert group_id("no-such-group-here") is None
    assert group_id("root") == 0


def test_the_kernel_says_who_it_is() -> None:
    """The peer of a connection is the process that made it, with all its groups."""
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        peer = peer_of(ours)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert peer.groups == {os.getegid(), *os.getgroups()}


@pytest.mark.parametrize(
    ("uid", "groups", "group", "allowed"),
    [
        (0, {0}, None, True),
        (os.geteuid(), {54321}, None, True),
        (54321, {54321}, None, False),
        (54321, {54321, 77}, 77, True),
        (54321, {54321}, 77, False),
    ],
)
def test_root_the_owner_and_the_group_are_admitted(
    uid: int, groups: set[int], group: int | None, allowed: bool
) -> None:
    """Root, the daemon's own user and members of the group, nobody else."""
    assert Admission(group=group).allows(Peer(pid=1, uid=uid, groups=frozenset(groups))) is allowed


def test_a_peer_that_is_not_admitted_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Every request of such a peer is answered 403 before anything else is looked at."""
    with Daemon(tmp_path, admission=Nobody()) as daemon:
        daemon.give_image()
        with pytest.raises(Denied):
            daemon.client().apply(SHOP)
        with pytest.raises(Denied):
            daemon.client().health()
        assert daemon.control.services() == []


def test_every_write_is_logged_with_who_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each write, with the peer's uid and pid and the outcome; none for reading."""
    caplog.set_level(logging.INFO, "orchestrator.api")
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        daemon.client().apply(SHOP)
        daemon.client().services()
        with pytest.raises(Conflict):
            daemon.client().apply(SHOP, expected=99)
    who = f"by uid {os.geteuid()} (pid {os.getpid()})"
    told = [one.getMessage() for one in caplog.records if one.name.startswith("orchestrator.api")]
    assert told == [f"POST '/v1/services' {who}: 200", f"POST '/v1/services' {who}: 409"]


def test_stop_ends_watches_and_takes_the_socket_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that is open does not keep the API from ending, and no socket file is left."""
    monkeypatch.setattr(server, "GRACE_S", 3600)  # The watch ends by itself, before anybody is cut off.
    with Daemon(tmp_path) as daemon:
        kinds: list[str] = []
        seen = threading.Event()

        def watch() -> None:
            with contextlib.suppress(VmroleError):  # at last the daemon is gone for good
                for kind, _, _ in daemon.client().watch_instances(until=time.monotonic() + 2):
                    kinds.append(kind)
                    seen.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert seen.wait(10)
        daemon.server.stop()
        assert not daemon.socket.exists()
        watcher.join()
        assert kinds == ["current"]
