"""The client against servers that behave badly, or are not there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.api import bind
from orchestrator.api.problems import answer as problem_answer
from orchestrator.client.client import Client


@contextmanager
def server(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """Answers each connection with the next of the bytes and hangs up; gives the requests that came."""
    requests: list[bytes] = []
    listener = bind(path, None)
    listener.settimeout(10)

    def run() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                requests.append(connection.recv(65_536))
                connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield requests
    finally:
        thread.join()
        listener.close()


def ok(body: bytes) -> bytes:
    """A success."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def test_no_daemon_is_said_with_what_to_do(tmp_path: Path) -> None:
    """Where nobody listens the error names the socket and how to start the daemon."""
    path = str(tmp_path / "s.sock")
    with pytest.raises(errors.Unreachable, match="no daemon answers") as raised:
        Client(path, connect_within_s=0.1).health()
    assert path in str(raised.value)
    assert "vmrole daemon" in raised.value.hint


def test_a_daemon_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    """While a daemon is started again, a request waits a moment instead of failing."""
    path = tmp_path / "s.sock"
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(Client(str(path), connect_within_s=10).health()))
    asking.start()
    time.sleep(0.2)
    with server(path, ok(b'{"status": "ok", "version": "1", "revision": 1}')):
        asking.join()
    assert found == [{"status": "ok", "version": "1", "revision": 1}]


def test_a_socket_that_may_not_be_used_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EACCES of connect(2) is a refusal, at once, with the group in the hint."""

    def refuse(_self: socket.socket, _path: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(errors.Denied) as raised:
        Client(str(tmp_path / "s.sock"), connect_within_s=3600).health()
    assert "group" in raised.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\nnot json",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\ncontent-length: 3\r\n\r\n<a>",
    ],
)
def test_an_answer_that_is_cut_off_or_strange_is_unreachable(tmp_path: Path, answer: bytes) -> None:
    """Never half an answer for a whole one, and never an exception of another kind."""
    with (
        server(tmp_path / "s.sock", *([answer] if answer else [b"", b""])),
        pytest.raises(errors.Unreachable, match="cut off"),
    ):
        Client(str(tmp_path / "s.sock")).health()


def test_who_only_looks_and_is_hung_up_on_looks_once_more(tmp_path: Path) -> None:
    """A daemon that begins anew does so; what asks for a change may have been heard, and is asked once."""
    with server(tmp_path / "s.sock", b"", ok(b"[]")) as requests:
        assert Client(str(tmp_path / "s.sock")).services() == []
    assert len(requests) == 2
    with server(tmp_path / "s.sock", b"") as requests, pytest.raises(errors.Unreachable, match="hung up"):
        Client(str(tmp_path / "s.sock")).scale("shop", {"web": 2})
    assert len(requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no", hint="look"),
        errors.StaleRevision("old"),
        errors.Conflict("taken"),
        errors.Denied("you"),
        errors.ImageRejected("bad", reason="backing-file", hint="flatten"),
        errors.InvalidInput(
            "two faults", problems=(errors.Problem("a", key="k", line=3, hint="h"), errors.Problem("b"))
        ),
        errors.NoSpace("full"),
        errors.Busy("held"),
        errors.ImageCorrupt("bytes"),
        errors.WaitedTooLong("late"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_what_it_was(tmp_path: Path, error: errors.VmroleError) -> None:
    """Class, message, hint and details of an error pass through the API."""
    told = problem_answer(error)
    answer = b"HTTP/1.1 %d X\r\n\r\n%s" % (told.status_code, bytes(told.body))
    with server(tmp_path / "s.sock", answer), pytest.raises(type(error)) as raised:
        Client(str(tmp_path / "s.sock")).health()
    found = raised.value
    assert (str(found), found.hint) == (str(error), error.hint)
    assert getattr(found, "problems", ()) == getattr(error, "problems", ())
    assert getattr(found, "reason", "") == getattr(error, "reason", "")


def test_an_error_that_nobody_knows_is_one_of_ours(tmp_path: Path) -> None:
    """The word of an answer never makes the client raise something that is no error of the tree."""
    body = b'{"error": "dataclasses", "message": "m", "hint": "h", "problems": []}'
    answer = b"HTTP/1.1 500 X\r\n\r\n" + body
    with server(tmp_path / "s.sock", answer), pytest.raises(errors.VmroleError, match="m"):
        Client(str(tmp_path / "s.sock")).health()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("web-0.shop", b"/v1/instances/web-0.shop"),
        ("../services", b"/v1/instances/..%2Fservices"),
        ("a b\r\nX: y?z=1#f", b"/v1/instances/a%20b%0D%0AX%3A%20y%3Fz%3D1%23f"),
        ("größe", b"/v1/instances/gr%C3%B6%C3%9Fe"),
        ("", b"/v1/instances/%20"),
    ],
)
def test_a_name_stays_one_part_of_the_path(tmp_path: Path, name: str, target: bytes) -> None:
    """Whatever a name holds, it can name nothing else and add nothing to the request."""
    with server(tmp_path / "s.sock", ok(b"{}")) as requests:
        Client(str(tmp_path / "s.sock")).instance(name)
    assert requests[0].split(b"\r\n")[0] == b"GET " + target + b" HTTP/1.0"
    assert requests[0].count(b"\r\n\r\n") == 1


def test_a_watch_connects_again_until_it_is_over(tmp_path: Path) -> None:
    """A stream that ends, even within a message, is taken up again where it was; "end" ends it."""
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    first = head + b': still here\n\nid: 7\nevent: event\ndata: {"a": 1}\n\nid: 8\nevent: event\nda'
    second = head + b'id: 8\nevent: event\ndata: {"a": 2}\n\nevent: end\ndata: 0\n\n'
    with server(tmp_path / "s.sock", first, second) as requests:
        found = list(Client(str(tmp_path / "s.sock")).watch_events())
    assert found[:2] == [("event", {"a": 1}, "7"), ("event", {"a": 2}, "8")]
    assert found[2][0] == "end"
    assert b"last-event-id" not in requests[0]
    assert b"last-event-id: 7\r\n" in requests[1]


def test_a_watch_that_only_ever_ends_is_given_up(tmp_path: Path) -> None:
    """A daemon that ends every stream without a word is not asked for ever."""
    endings = [b"HTTP/1.1 200 OK\r\n\r\n"] * 20
    with server(tmp_path / "s.sock", *endings), pytest.raises(errors.Unreachable, match="again and again"):
        list(Client(str(tmp_path / "s.sock")).watch_events())


def test_the_environment_names_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """VMROLE_SOCKET, unless a path is given; else the default."""
    monkeypatch.setenv("VMROLE_SOCKET", "/run/other.sock")
    assert Client().path == "/run/other.sock"
    assert Client("/run/this.sock").path == "/run/this.sock"
    monkeypatch.delenv("VMROLE_SOCKET")
    assert Client().path == "/run/vmrole/vmrole.sock"
