"""The unix socket: who may connect, what is done about a socket that is there already, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from starlette.types import Message

from orchestrator.api import serve, server
from orchestrator.api.listening import Listener, bind, group_id
from orchestrator.api.peers import Admission, Caller, Peer, local, peer_of
from orchestrator.client import client as vmrole_client
from orchestrator.client.client import Client
from orchestrator.client.transport import for_looking
from orchestrator.errors import ConfigError, Conflict, Denied, InvalidInput, NotFound, VmroleError
from orchestrator.model.right import Right
from tests.world.api_daemon import SHOP, Daemon
from tests.world.places import REPOSITORY


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Always(Admission):
    """Gives everybody the same access, root too: tests run as anyone."""

    right: Right | None

    def caller(self, peer: Peer) -> Caller:
        """Whoever it is."""
        return local(peer, self.right)


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
    ("uid", "groups", "admission", "right"),
    [
        (0, {0}, Admission(), Right.ADMIN),
        (os.geteuid(), {54321}, Admission(), Right.ADMIN),
        (0, {0}, Admission(for_looking=True), Right.VIEWER),
        (54321, {54321}, Admission(), None),
        (54321, {54321}, Admission(for_looking=True), None),
        (54321, {54321, 77}, Admission(group=77), Right.ADMIN),
        (54321, {54321, 77}, Admission(group=77, for_looking=True), Right.VIEWER),
        (54321, {54321}, Admission(group=77, readers=78), None),
        (54321, {54321, 78}, Admission(group=77, readers=78), Right.VIEWER),
        (54321, {54321, 78}, Admission(group=77, readers=78, for_looking=True), Right.VIEWER),
        (54321, {54321, 77, 78}, Admission(group=77, readers=78), Right.ADMIN),
    ],
)
def test_root_the_owner_and_the_groups_are_admitted(
    uid: int, groups: set[int], admission: Admission, right: Right | None
) -> None:
    """Root, the daemon's own user and members of the group may do everything, readers look, nobody else anything."""
    assert admission.caller(Peer(pid=1, uid=uid, groups=frozenset(groups))).right is right


def test_a_peer_that_is_not_admitted_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    """Every request of such a peer is answered 403 before anything else is looked at."""
    with Daemon(tmp_path, admission=Always(right=None)) as daemon:
        daemon.give_image()
        with pytest.raises(Denied):
            daemon.client().apply(SHOP)
        with pytest.raises(Denied):
            daemon.client().health()
        assert daemon.control.services() == []


def test_records_are_restored_by_root_alone(tmp_path: Path) -> None:
    """A record is believed: one of somebody else's could have any file of the host given to a guest."""

    class Member(Admission):
        def caller(self, peer: Peer) -> Caller:
            return Caller(party="uid 54321", whence=f"pid {peer.pid}", right=Right.ADMIN, uid=54321)

    with Daemon(tmp_path, admission=Member()) as daemon:
        assert daemon.client().services() == []
        with pytest.raises(Denied, match="root"):
            daemon.client().restore(io.BytesIO(b"x"), 1)
        assert daemon.client().last_restore()["state"] == "none"


def test_who_may_look_sees_no_console_and_changes_nothing(tmp_path: Path) -> None:
    """GET of what holds no secret is answered; everything else is refused, what does not exist too."""
    with Daemon(tmp_path, admission=Always(right=Right.VIEWER)) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        client = daemon.client()
        assert [one["name"] for one in client.services()] == ["shop"]
        assert client.instance("web-0")["name"] == "web-0.shop"
        assert client.why("web-0")
        for refused in (
            lambda: client.console("web-0", 10),
            lambda: client.begin_command("web-0", ["id"]),
            lambda: client.command("web-0", "1-1-1"),
            lambda: client.file_part("web-0", "/etc/shadow", 0, 10),
            lambda: client.put_file_part("web-0", "/x", 0, b""),
            lambda: client.apply(SHOP, dry_run=True),
            lambda: client.act("restart", "web-0"),
            lambda: client.remove("shop"),
            lambda: client.repair(),
            lambda: client.verify_image("micro"),
            lambda: client.call("GET", "/v1/no/such/route"),
            lambda: client.call("GET", "/v1/instances/web-0/"),
            lambda: client.call("OPTIONS", "/v1/instances/web-0/console"),
        ):
            with pytest.raises(Denied, match="only look"):
                refused()
        assert not daemon.control.service("shop").removing


def test_a_connection_that_does_not_say_who_asks_is_refused(tmp_path: Path) -> None:
    """An app behind any server but ours, and a listener that has no admission: 403, whatever is asked."""
    with Daemon(tmp_path) as daemon:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": [], "query_string": b"", "state": {}}
        asyncio.run(daemon.app(scope, receive, send))
        assert sent[0]["status"] == 403


def test_a_listener_lets_nobody_do_more_than_it_admits(tmp_path: Path) -> None:
    """The same process may do everything by one socket and only look by the other."""
    with Daemon(tmp_path) as daemon:
        looking = tmp_path / "looking.sock"
        all_of_it = Listener(bind(tmp_path / "all.sock", None), Admission())
        with serve(daemon.app, Listener(bind(looking, None), Admission(for_looking=True)), all_of_it):
            daemon.give_image()
            assert Client(str(looking)).health()["status"] == "ok"
            with pytest.raises(Denied, match="only look"):
                Client(str(looking)).apply(SHOP)
            Client(str(tmp_path / "all.sock")).apply(SHOP)
        assert not looking.exists()


def test_who_may_not_use_the_socket_comes_by_the_one_beside_it(tmp_path: Path) -> None:
    """A client needs to know one path only; where there is no such socket, he is told what he lacks."""
    assert for_looking("/run/vmrole/vmrole.sock") == "/run/vmrole/vmrole-read.sock"
    assert for_looking("/run/vmrole.d/socket") == "/run/vmrole.d/socket-read"
    with Daemon(tmp_path) as daemon, tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        path = Path(directory) / "vmrole.sock"
        beside = Path(for_looking(str(path)))
        with bind(path, None):
            path.chmod(0)
            assert f"you may not use {path}" in asked_by_nobody(path)
            with serve(daemon.app, Listener(bind(beside, None), Always(right=Right.VIEWER))):
                beside.chmod(0o666)
                assert asked_by_nobody(path) == "ok"


def asked_by_nobody(path: Path) -> str:
    """What a client that modes of files hold for is told about the daemon's health."""
    program = """
import os, sys
from orchestrator import errors
from orchestrator.client import absence  # while the interpreter's own files can be read
from orchestrator.client.client import Client
if os.getuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
try:
    print(Client(sys.argv[1]).health()["status"], end="")
except errors.VmroleError as error:
    print(error, end="")
"""
    argv = [sys.executable, "-c", program, str(path)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60.0, check=True, cwd=REPOSITORY).stdout


def test_every_write_is_logged_with_who_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A line for each write, with what was asked of what, uid and pid of who asked, and the outcome."""
    caplog.set_level(logging.INFO, "orchestrator.api")
    with Daemon(tmp_path) as daemon:
        daemon.give_image()
        client = daemon.client()
        client.apply(SHOP)
        client.services()
        with pytest.raises(Conflict):
            client.apply(SHOP, expected=99)
        client.apply(SHOP, dry_run=True)
        with pytest.raises(InvalidInput):
            client.apply("service: shop by uid 0: 200\n")
        client.scale("shop", {"web": 2})
        client.act("restart", "web-0.shop")
        with pytest.raises(NotFound):
            client.act("reimage", "web\x1b[2J\nx")
        with pytest.raises(NotFound):
            client.verify_image("a b")
        client.remove("shop")
    who = f"by uid {os.geteuid()} (pid {os.getpid()})"
    told = [one.getMessage() for one in caplog.records if one.name.startswith("orchestrator.api")]
    assert told == [
        f"POST '/v1/services' (apply shop) {who}: 200",
        f"POST '/v1/services' (apply shop) {who}: 409",
        f"POST '/v1/services' (dry-run shop) {who}: 200",
        f"POST '/v1/services' (apply 'shop by uid 0: 200') {who}: 422",
        f"PUT '/v1/services/shop/instances' (scale shop web=2) {who}: 200",
        f"POST '/v1/operations' (restart web-0.shop) {who}: 202",
        f"POST '/v1/operations' (reimage 'web\\x1b[2J\\nx') {who}: 404",
        f"POST '/v1/images/a b/verify' (image-verify 'a b') {who}: 404",
        f"DELETE '/v1/services/shop' (delete shop) {who}: 202",
    ]


def test_stop_ends_watches_and_takes_the_socket_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that is open does not keep the API from ending, and no socket file is left."""
    monkeypatch.setattr(server, "GRACE_S", 3600)  # The watch ends by itself, before anybody is cut off.
    monkeypatch.setattr(vmrole_client, "RECONNECT_WITHIN_S", 0.5)
    with Daemon(tmp_path) as daemon:
        kinds: list[str] = []
        seen = threading.Event()

        def watch() -> None:
            with contextlib.suppress(VmroleError):  # at last the daemon is gone for good
                for kind, _, _ in daemon.client().watch_instances(until=time.monotonic() + 60):
                    kinds.append(kind)
                    seen.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert seen.wait(60)
        daemon.server.stop()
        assert not daemon.socket.exists()
        watcher.join()
        assert kinds == ["current"]
