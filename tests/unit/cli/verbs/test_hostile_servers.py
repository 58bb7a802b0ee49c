"""A server that means no good: what it says ends in an error of ours, soon, in little memory, and harms nobody."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.cli import fetching
from orchestrator.errors import RequestError, Transient, VmroleError
from tests.world.command_line import Run

BODY = b"x" * 1000
Answer = Callable[[socket.socket], None]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Waits that end within a second, and a cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = {"PAUSE_S": 0.0, "HEAD_WITHIN_S": 0.5, "WITHIN_S": 1.0, "READ_WITHIN_S": 5.0, "STALLED_S": 0.5}
    for name, seconds in times.items():
        monkeypatch.setattr(fetching, name, seconds)
    monkeypatch.setattr(fetching, "TRIES_MOST", 2)


@contextlib.contextmanager
def saying(answer: Answer) -> Iterator[str]:
    """A server on loopback that gives every client this answer, and its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def one(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(10)
            client.recv(65536)
            answer(client)

    def serve() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError):
                threading.Thread(target=one, args=(listening.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/x"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def fetch(url: str) -> int:
    """How many bytes came; the digest, which http needs, is looked at by the daemon."""
    with fetching.fetched(url, "0" * 64, lambda _here, _total: None) as path:
        return path.stat().st_size


def words(status: str, *headers: str, body: bytes = b"") -> Answer:
    """An answer that is sent at once."""
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", *headers, ""))
    return lambda client: client.sendall(head.encode("latin-1") + body)


def dripping(head: bytes, piece: bytes, pause_s: float = 0.05) -> Answer:
    """A head, and then the same again and again."""

    def answer(client: socket.socket) -> None:
        client.sendall(head)
        while True:
            client.sendall(piece)
            time.sleep(pause_s)

    return answer


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://a\x1b[31m/", "http://a:99999/", "//[/", "http://u:p@a/", "gopher://a/"]
)
def test_a_redirect_to_nowhere_is_told(location: str) -> None:
    """Not by a traceback."""
    with saying(words("302 Found", f"Location: {location}")) as url, pytest.raises(VmroleError) as refused:
        fetch(url)
    assert refused.value.hint


@pytest.mark.parametrize("length", ["9" * 5000, "-5", "+1000", "1e3", "\xb2"])
def test_a_length_that_is_none_is_not_believed(length: str) -> None:
    """What comes until the server hangs up is the file; whether it is the right one, its digest says."""
    with saying(words("200 OK", f"Content-Length: {length}", body=BODY)) as url:
        assert fetch(url) == len(BODY)


def test_a_packing_of_that_name_is_none() -> None:
    """Names of encodings have no case (RFC 9110, 8.4.1)."""
    with saying(words("200 OK", "Content-Encoding: Identity", "Content-Length: 1000", body=BODY)) as url:
        assert fetch(url) == len(BODY)
    with saying(words("200 OK", "Content-Encoding: GZIP", body=BODY)) as url, pytest.raises(RequestError):
        fetch(url)


@pytest.mark.parametrize(
    "answer",
    [
        dripping(b"HTTP/1.1 200 OK\r\n", b"a"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"a: b\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"", 5.0),
    ],
    ids=["head", "continue", "body", "chunks", "trailers", "nothing"],
)
def test_who_drips_is_waited_for_no_longer(answer: Answer) -> None:
    """Each byte comes in time, and never all of them."""
    with saying(answer) as url:
        began = time.monotonic()
        with pytest.raises(Transient):
            fetch(url)
        assert time.monotonic() - began < 8


def test_a_chunk_of_a_negative_length_is_not_kept_in_memory() -> None:
    """http.client takes it for "all that comes"."""
    flood = dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", bytes(1 << 20), 0.0)
    tracemalloc.start()
    try:
        with saying(flood) as url, pytest.raises(Transient):
            fetch(url)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_no_more_is_kept_than_was_told(tmp_path: Path) -> None:
    """A part of a file of which more and more comes fills no disk: it is given up at its end."""
    head = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\nTransfer-Encoding: chunked\r\n\r\n"
    flood = dripping(head.encode(), b"1000\r\n" + bytes(0x1000) + b"\r\n", 0.0)
    with saying(flood) as url, pytest.raises(Transient, match="more came than the 10 bytes"):
        fetch(url)
    assert sum(path.stat().st_size for path in tmp_path.rglob("downloads/*")) <= 10


@pytest.mark.parametrize("text", ["https://bob:s3cret@h:99999/", "ftp://bob:s3cret@h/x", "https://bob:s3cret@[/"])
def test_a_password_in_a_url_is_not_said_again(run: Run, text: str) -> None:
    """Whatever else is wrong with it: what a command says is kept in logs of others."""
    ended, out, told = run("image", "add", text, "--name", "web")
    assert ended == 2
    assert "s3cret" not in out + told


@pytest.mark.parametrize("status", ["403 \x1b[31mHELLO\x9b2J", "404 \x1b]0;title\x07", "500 \x1bc"])
def test_a_servers_words_harm_no_terminal(run: Run, status: str) -> None:
    """Nor are there too many of them."""
    with saying(words(f"{status}{'x' * 5000}")) as url:
        ended, _, told = run("image", "add", url, "--name", "web", "--sha256", "0" * 64)
    assert ended != 0
    assert "the server says" in told or "404" in told
    assert all(line.isprintable() for line in told.split("\n"))
    assert len(told) < 1000


def test_a_name_of_a_file_harms_no_terminal(run: Run) -> None:
    """What is not there is named, as it may be shown."""
    ended, _, told = run("image", "add", "\x1b[31m\x07nothing", "--name", "web")
    assert ended != 0
    assert "nothing" in told
    assert all(line.isprintable() for line in told.split("\n"))
