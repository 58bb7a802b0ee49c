"""What a client can do to the others: take its time, take all places, hang up. Never for long, and never all."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.responses import Response

from orchestrator.api import connections, guard, image_routes, rights, server
from orchestrator.api.listening import Listener, bind
from orchestrator.api.peers import Admission, Caller, Peer, local
from orchestrator.api.places import Places
from orchestrator.api.server import serve
from orchestrator.client.client import Client
from orchestrator.client.transport import Answer, decoded
from orchestrator.drivers.tools.command import run
from orchestrator.errors import Busy, InvalidInput, WaitedTooLong
from orchestrator.log import Seldom
from orchestrator.model import Agent, Instance, Silence
from orchestrator.model.right import Right
from tests.world.api_daemon import SHOP, Daemon
from tests.world.waiting import comes_true, until

WITHIN_S = 60.0
TRIES = 5
LATE_S = 0.3  # stands for the deadlines, which are too long to be waited for
SOMEBODY = 54321


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class As(Admission):
    """Takes whoever comes for the user `uid`, so that one process can be several."""

    uid: int

    def caller(self, peer: Peer) -> Caller:
        """Him."""
        return local(dataclasses.replace(peer, uid=self.uid), Right.ADMIN)


@pytest.fixture
def somebody(daemon: Daemon, tmp_path: Path) -> Iterator[Path]:
    """A socket of the same app by which another user comes."""
    path = tmp_path / "somebody.sock"
    with serve(daemon.app, Listener(bind(path, None), As(uid=SOMEBODY))):
        yield path


@contextlib.contextmanager
def connected(path: Path, sent: bytes = b"") -> Iterator[socket.socket]:
    """A connection on which this was sent."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(WITHIN_S)
        raw.connect(str(path))
        raw.sendall(sent)
        yield raw


def rest_of(raw: socket.socket) -> bytes:
    """All that comes until the daemon hangs up."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := raw.recv(65_536):
            answer += piece
    return answer


@pytest.mark.parametrize(
    ("sent", "what"),
    [
        (b"", "headers"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ", "headers"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /heal", "headers"),
        (b"POST /v1/services HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nservice: x", "body"),
        (b"POST /v1/services HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n", "body"),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nx", "body"),
    ],
)
def test_who_does_not_go_on_is_hung_up_on(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, sent: bytes, what: str
) -> None:
    """Nothing, half the headers, half a second request, half a document: each has a deadline, and its end is said."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", LATE_S)
    monkeypatch.setattr(connections, "BODY_WITHIN_S", LATE_S)
    with connected(daemon.socket, sent) as raw:
        answer = rest_of(raw)
    assert answer.count(b"HTTP/1.1 504 ") == 1
    assert f"the {what} of the request did not come within".encode() in answer


@pytest.mark.parametrize("begun", [b"GET /heal", b"POST /v1/services HTTP/1.0\r\ncontent-length: 1000\r\n\r\n"])
def test_a_byte_now_and_then_does_not_make_a_deadline_longer(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    """The time is that of the whole of it."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", LATE_S)
    monkeypatch.setattr(connections, "BODY_WITHIN_S", LATE_S)
    with connected(daemon.socket, begun) as raw:
        drip(raw)
        assert b" 504 " in rest_of(raw)


def drip(raw: socket.socket) -> None:
    """Sends a byte now and then until the daemon hangs up."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(int(WITHIN_S / 0.05)):
            raw.sendall(b"x")
            time.sleep(0.05)
        pytest.fail("it was let go on")


def test_who_is_slow_and_not_silent_is_served(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between requests, while a watch is open and while a request is worked on, no deadline for asking runs."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 2 * LATE_S)
    asked = b"GET /v1/instances/watch HTTP/1.1\r\nhost: x\r\n\r\n"
    with connected(daemon.socket, asked) as raw:
        time.sleep(4 * LATE_S)
        daemon.control.scale("shop", {"web": 2})
        seen = b""
        while b'"removing":true' not in seen:
            piece = raw.recv(65_536)
            assert piece
            seen += piece


def test_who_does_not_read_is_hung_up_on(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that is not read keeps its place no longer than the deadline."""
    monkeypatch.setattr(connections, "TAKE_WITHIN_S", LATE_S)
    watchers = daemon.app.state.watchers
    with connected(daemon.socket, b"GET /v1/events/watch?after=1 HTTP/1.1\r\nhost: x\r\n\r\n"):
        until(lambda: watchers.places.taken == 1, WITHIN_S)
        for _ in range(10):
            daemon.store.commit([], [event("x" * 4000) for _ in range(50)])
        until(lambda: watchers.places.taken == 0, WITHIN_S)


def event(message: str) -> object:
    """An event of the service."""
    from orchestrator.model import Event

    return Event(at_s=1.0, subject="shop", message=message)


def test_an_upload_keeps_a_pace(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no upload, however long one goes on; silence is counted, and our own work is not."""
    monkeypatch.setattr(image_routes, "SILENCE_S", LATE_S)
    head = b"POST /v1/images?name=micro HTTP/1.0\r\ncontent-length: 1000000\r\n\r\n"
    with connected(daemon.socket, head) as raw:
        drip(raw)
        assert b"send at least 32 KiB a second" in rest_of(raw)
    until(lambda: daemon.app.state.uploads.places.taken == 0, WITHIN_S)


def test_a_document_that_takes_long_is_not_an_upload_and_the_other_way_round(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadline of documents does not end an upload that keeps its pace."""
    monkeypatch.setattr(connections, "BODY_WITHIN_S", LATE_S)
    head = b"POST /v1/images?name=raw&format=raw HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % (20 << 20)
    with connected(daemon.socket, head) as raw:
        for _ in range(20):
            raw.sendall(bytes(1 << 20))
            time.sleep(LATE_S / 10)
        assert b" 201 " in rest_of(raw)


def test_one_user_cannot_have_all_places() -> None:
    """Half is for one; the other half for the others, until all are taken."""
    places = Places("uploads", 4)
    with contextlib.ExitStack() as held:
        for _ in range(2):
            held.enter_context(places.place("uid 1"))
        with pytest.raises(Busy, match="2 uploads of uid 1"):
            places.check("uid 1")
        held.enter_context(places.place("uid 2"))
        held.enter_context(places.place("uid 3"))
        with pytest.raises(Busy, match="4 uploads are under way"):
            places.check("uid 4")
    assert places.taken == 0
    with Places("uploads", 1).place("uid 1"):
        pass


def test_connections_of_one_user_keep_out_nobody_else(
    daemon: Daemon, somebody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who holds all that he may is told so; others are served meanwhile, and he again when one ends."""
    monkeypatch.setattr(connections, "CONNECTIONS_MAX", 20)
    other = daemon.socket.with_name("other.sock")
    both = (
        Listener(bind(somebody.with_name("some.sock"), None), As(uid=SOMEBODY)),
        Listener(bind(other, None), As(uid=7)),
    )
    with serve(daemon.app, *both), contextlib.ExitStack() as open_ones:
        path = somebody.with_name("some.sock")
        first = open_ones.enter_context(connected(path))
        for _ in range(9):
            open_ones.enter_context(connected(path))
        with pytest.raises(Busy, match=f"10 connections of uid {SOMEBODY}"):
            Client(str(path)).health()
        assert Client(str(other)).health()["status"] == "ok"
        first.close()
        until(lambda: healthy(path), WITHIN_S)


def healthy(path: Path) -> bool:
    """Whether the daemon answers there."""
    try:
        return Client(str(path)).health()["status"] == "ok"
    except Busy:
        return False


@pytest.mark.parametrize("what", ["watches", "uploads", "changes", "questions"])
def test_what_one_user_does_all_day_another_can_do(daemon: Daemon, somebody: Path, what: str) -> None:
    """Watches, uploads, documents and questions to guests: for each there are places that he cannot take."""
    state = daemon.app.state
    silent = threading.Event()

    def hang(_instance: Instance) -> Agent | Silence:
        silent.wait(WITHIN_S)
        return Silence(reason="it hangs")

    daemon.control.agent = hang
    head = b"POST /v1/services?dry_run=true HTTP/1.0\r\ncontent-length: 1000\r\n\r\n"
    asked, most, again = {
        "watches": (b"GET /v1/events/watch HTTP/1.0\r\n\r\n", state.watchers.places.most, b"GET /v1/events/watch"),
        "uploads": (
            b"POST /v1/images?name=x HTTP/1.0\r\ncontent-length: 1000\r\n\r\n",
            state.uploads.places.most,
            b"POST /v1/images?name=y",
        ),
        "changes": (head, guard.WRITES_MAX, b"POST /v1/services"),
        "questions": (b"GET /v1/instances/web-0/agent HTTP/1.0\r\n\r\n", 16, b"GET /v1/instances/web-0/agent"),
    }[what]
    refused = again + b" HTTP/1.0\r\ncontent-length: 0\r\n\r\n"

    def is_refused() -> bool:
        return b"of uid" in answer_within(somebody, refused, 10.0)

    def looked() -> bool:
        """One try; what is held has deadlines, and on a busy machine it may be over before we have looked."""
        with contextlib.ExitStack() as held:
            for _ in range(most // 2):
                held.enter_context(connected(somebody, asked))
            if not comes_true(is_refused, WITHIN_S / 2):
                return False
            answer, health = answer_within(daemon.socket, refused, 2.0), Client(str(somebody)).health()
            if not is_refused():
                return False
        assert b"of uid" not in answer
        assert health["status"] == "ok"
        return True

    try:
        assert any(looked() for _ in range(TRIES))
    finally:
        silent.set()


def answer_within(path: Path, request: bytes, within_s: float) -> bytes:
    """What comes of the answer in this time."""
    answer, end = b"", time.monotonic() + within_s
    with connected(path, request) as raw, contextlib.suppress(TimeoutError, ConnectionResetError):
        while (left := end - time.monotonic()) > 0:
            raw.settimeout(left)
            piece = raw.recv(65_536)
            answer += piece
            if not piece:
                break
    return answer


def test_health_is_told_while_everything_waits(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when each thread for requests is taken by one that the host does not answer."""
    stuck = threading.Event()
    monkeypatch.setattr(daemon.control, "services", lambda: stuck.wait() and [])
    with contextlib.ExitStack() as held:
        held.callback(stuck.set)
        for _ in range(60):
            held.enter_context(connected(daemon.socket, b"GET /v1/services HTTP/1.0\r\n\r\n"))
        assert answer_within(daemon.socket, b"GET /v1/services/shop HTTP/1.0\r\n\r\n", 0.5) == b""
        assert daemon.client().call("GET", "/healthz", within_s=WITHIN_S / 2)["status"] == "ok"


@pytest.mark.parametrize("what", ["services", "images?name=x&format=raw"])
def test_a_body_in_crumbs_is_refused(daemon: Daemon, what: str) -> None:
    """Each chunk costs the daemon the same, be it of one byte, and all others wait for it; in pieces it is taken."""
    head = f"POST /v1/{what} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    crumbs = b"1\r\n#\r\n" * (2 * connections.CHUNKS_FREE)
    assert answer_within(daemon.socket, head + crumbs, WITHIN_S).startswith(b"HTTP/1.1 400 ")
    text = SHOP.encode() + b"#" * 200_000
    pieces = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (text[at : at + 512] for at in range(0, len(text), 512))
    )
    whole = answer_within(daemon.socket, head + pieces + b"0\r\n\r\n", WITHIN_S)
    assert b" 400 " not in whole.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/services HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nservice: x",
        b"POST /v1/operations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{",
        b"POST /v1/images?name=x HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"GET /v1/events/watch HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/services HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/serv",
        b"rubbish\x00\r\n\r\n",
    ],
)
def test_who_hangs_up_leaves_no_traceback(daemon: Daemon, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever a client goes away: the daemon has nothing to tell of it that looks like a bug."""
    for _ in range(5):
        with connected(daemon.socket, sent):
            time.sleep(0.05)
    until(lambda: daemon.app.state.watchers.places.taken == 0, WITHIN_S)
    daemon.client().health()
    assert [line for line in caplog.records if line.exc_info or line.levelno >= logging.ERROR] == []


def test_the_last_descriptors_are_kept_for_the_daemon(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """However many connect: commands run, the log holds a line and not a hundred thousand, and it ends by itself."""
    monkeypatch.setattr(connections, "HEADERS_WITHIN_S", 5.0)
    crowd = """
import resource, socket, sys, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
for _ in range(500):
    one = socket.socket(socket.AF_UNIX); one.setblocking(False)
    try: one.connect(sys.argv[1])
    except OSError: time.sleep(0.01)
    held.append(one)
print("all", flush=True); sys.stdin.read()
"""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many as there are, the one for looking included
    with contextlib.ExitStack() as undo:
        undo.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 400, before[1]))
        argv = [sys.executable, "-c", crowd, str(daemon.socket)]
        many = undo.enter_context(subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        undo.callback(many.kill)
        assert many.stdout is not None
        assert many.stdout.readline() == b"all\n"
        for _ in range(10):
            run(["true"])
            time.sleep(0.1)
        until(lambda: healthy(daemon.socket), WITHIN_S)
    told = [line.getMessage() for line in caplog.records]
    assert 1 <= len([line for line in told if "a connection is refused" in line]) < 10
    assert len(told) < 30


def test_a_warning_of_one_kind_is_told_seldom(caplog: pytest.LogCaptureFixture) -> None:
    """The first at once, the next when it is time, with how many there were between."""
    seldom = Seldom(logging.getLogger("test"), 0.2)
    for _ in range(3):
        seldom.warning("%s came", "somebody")
    time.sleep(0.3)
    seldom.warning("%s came", "somebody")
    assert [one.getMessage() for one in caplog.records] == [
        "somebody came",
        "somebody came (2 times more since the last time)",
    ]


def test_where_not_even_the_daemon_has_a_descriptor_it_is_told_once(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    """accept(2) that fails is tried again; the log does not hear of each time."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as held:
        raw = held.enter_context(socket.socket(socket.AF_UNIX))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 50, before[1]))  # noqa: PTH208
        with contextlib.suppress(OSError):
            while True:
                held.enter_context(Path("/dev/null").open())
        raw.connect(str(daemon.socket))
        time.sleep(3.0)  # asyncio tries each second
    until(lambda: healthy(daemon.socket), WITHIN_S)
    assert [one.getMessage() for one in caplog.records] == ["no connection can be taken: Too many open files"]


def test_what_is_no_request_is_answered_as_an_error_of_ours(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered unasked is a problem like any other, which a client can read."""
    monkeypatch.setattr(connections, "BODY_WITHIN_S", LATE_S)
    half = b"POST /v1/services HTTP/1.0\r\ncontent-length: 500\r\n\r\nservice"
    for sent, error in ((half, WaitedTooLong), (b"rubbish\r\n\r\n", InvalidInput)):
        with connected(daemon.socket, sent) as raw, Answer(raw) as answer, pytest.raises(error):
            decoded(answer)


@pytest.mark.parametrize("rounds", range(4))
def test_who_comes_while_it_stops_is_hung_up_on(daemon: Daemon, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that the loop has let in and not met yet, so many rounds before its end; nobody else would."""
    monkeypatch.setitem(rights.NEEDS, "GET /block", Right.ADMIN)
    knocked = threading.Event()
    blocked = threading.Event()

    def end_after(more: int) -> None:
        if more:
            asyncio.get_running_loop().call_soon(end_after, more - 1)
        else:
            daemon.server.end()

    @daemon.app.get("/block")
    async def block() -> None:
        """Keeps the loop from its sockets; the server ends between letting the other in and meeting him."""
        blocked.set()
        assert knocked.wait(WITHIN_S)
        end_after(rounds)

    with connected(daemon.socket, b"GET /block HTTP/1.1\r\nhost: x\r\n\r\n") as first:
        assert blocked.wait(WITHIN_S)
        with connected(daemon.socket) as late:
            knocked.set()
            late.settimeout(connections.HEADERS_WITHIN_S / 2)
            assert rest_of(late) == b"", "who hears nothing asks the next daemon"
        assert rest_of(first).startswith(b"HTTP/1.1 200")


def test_who_takes_nothing_while_it_stops_is_hung_up_on(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time for what is under way is over; nobody but Python's garbage collector would close it."""
    monkeypatch.setattr(server, "GRACE_S", LATE_S)
    monkeypatch.setitem(rights.NEEDS, "GET /much", Right.ADMIN)

    @daemon.app.get("/much")
    async def much() -> Response:
        """More than a socket holds."""
        return Response(bytes(16 << 20))

    path = tmp_path / "grace.sock"
    gc.disable()
    try:
        with (
            serve(daemon.app, Listener(bind(path, None), As(uid=os.geteuid()))) as served,
            connected(path, b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n") as idle,
        ):
            assert idle.recv(12) == b"HTTP/1.1 200"
            served.stop()
            assert str(path) not in Path("/proc/net/unix").read_text()
    finally:
        gc.enable()
