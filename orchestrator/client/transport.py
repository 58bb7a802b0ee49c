"""HTTP/1.0 over a unix socket, as little of it as the client needs, and the errors that come of it.

http.client imports the mail and TLS libraries, 20 ms of a command that may take 50. With HTTP/1.0 an answer ends
where its length or the connection ends, streams included; that is all the framing there is. For the same reason
nothing is imported here that is not needed to read an answer that is a success, `typing` included; type checkers
take TYPE_CHECKING for true wherever it comes from.
"""

from __future__ import annotations

import json
import socket

from orchestrator.client import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

    from orchestrator.client import wire
    from orchestrator.errors import VmroleError

    Json = Any  # what json.loads gives; the client's methods say what it is
    Message = tuple[wire.MessageKind, Json, str]  # kind, value, id

READ_WITHIN_S = 45.0  # a watch says something every 15 s
RETRY_EVERY_S = 0.05
_LINE_MAX_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_PLAIN = {ord(char): None for char in "-._~"}  # besides letters and digits; RFC 3986, section 2.3


class HungUp(ValueError):
    """No answer at all came: so it is with who meets a daemon in the moment in which it ends."""


class Told(dict[str, "Json"]):
    """A mapping as the daemon sent it, which may be older than this program: until it is started again, it is."""

    def __missing__(self, key: str) -> Json:
        from orchestrator.client import absence

        raise absence.older(key)


def for_looking(path: str) -> str:
    """The socket beside the daemon's own by which those come who may only look: vmrole.sock, vmrole-read.sock."""
    before, dot, suffix = path.rpartition(".")
    return f"{before}-read.{suffix}" if dot and "/" not in suffix else f"{path}-read"


def connect(path: str, within_s: float, until: float | None = None) -> socket.socket:
    """A connection; waits so long for a daemon that is being started again, and not past `until` (monotonic).

    Who may not use the socket is connected to the one beside it, where he may look.
    """
    end = clock.monotonic_s() + within_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            if isinstance(error, PermissionError) and (looking := _looking(path)) is not None:
                return looking
            now = clock.monotonic_s()
            restarting = isinstance(error, FileNotFoundError | ConnectionRefusedError)
            if not restarting or now >= end:
                raise _unconnected(path, error) from error
            if until is not None and now >= until:
                raise too_long() from error
            clock.pause(RETRY_EVERY_S)
        else:
            return connection


def _looking(path: str) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(for_looking(path))
    except OSError:
        connection.close()
        return None
    return connection


def ask(connection: socket.socket, head: bytes, chunks: Iterable[bytes] = ()) -> Answer:
    """Sends a request; returns the head of its answer, with the rest still to be read."""
    try:
        connection.sendall(head)
        for chunk in chunks:
            connection.sendall(chunk)
    except TimeoutError as error:
        raise too_long() from error
    except OSError:
        pass  # The daemon answers a refused upload before its end; what it said can still be read.
    try:
        return Answer(connection)
    except TimeoutError as error:
        raise too_long() from error
    except (OSError, ValueError) as error:
        raise broken(str(error)) from error


class Answer:
    """Status and headers of an answer, and the rest as a stream."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rb")
        self.headers: dict[str, str] = {}
        try:
            self.status = self._head()
        except BaseException:
            self.stream.close()
            raise

    def _head(self) -> int:
        status = self.stream.readline(_LINE_MAX_BYTES).split(b" ", 2)
        if status == [b""]:
            raise HungUp("the daemon hung up")
        if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            raise ValueError("the daemon hung up")
        while line := self.stream.readline(_LINE_MAX_BYTES).strip():
            key, _, value = line.decode("latin-1").partition(":")
            self.headers[key.lower()] = value.strip()
        return int(status[1])

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def body(self) -> bytes:
        """All of it; raises Unreachable when it ends early."""
        length = self.headers.get("content-length")
        try:
            found = self.stream.read() if length is None else self.stream.read(int(length))
        except TimeoutError as error:
            raise too_long() from error
        except OSError as error:
            raise broken(str(error)) from error
        if length is not None and len(found) != int(length):
            raise broken(f"the answer ended after {len(found)} of {length} bytes")
        return found


def save(answer: Answer, target: BinaryIO) -> None:
    """Writes the rest of an answer, however long it is; raises Unreachable when it ends early."""
    left = int(answer.headers.get("content-length", "0"))
    while left:
        try:
            chunk = answer.stream.read(min(left, _CHUNK_BYTES))
        except TimeoutError as error:
            raise too_long() from error
        except OSError as error:
            raise broken(str(error)) from error
        if not chunk:
            raise broken(f"{left} bytes of the answer are missing")
        target.write(chunk)
        left -= len(chunk)


def messages(connection: socket.socket, stream: BinaryIO, until: float | None) -> Iterator[Message]:
    """The events of one connection, until it ends."""
    kind: wire.MessageKind | None = None
    value, number = b"", ""
    while True:
        if until is not None:
            connection.settimeout(max(0.001, min(READ_WITHIN_S, until - clock.monotonic_s())))
        try:
            line = stream.readline(_LINE_MAX_BYTES)
        except TimeoutError as error:
            if until is None or clock.monotonic_s() < until:
                return  # Not even a comment came: the daemon is stuck or gone; connect again.
            raise too_long() from error
        except OSError:
            return
        if not line:
            return
        key, _, rest = line.rstrip(b"\r\n").partition(b": ")
        if key == b"event":
            kind = rest.decode()  # type: ignore[assignment] # A newer daemon's may be another, which nobody heeds.
        elif key == b"id":
            number = rest.decode()
        elif key == b"data":
            value = rest
        elif not key and kind:
            yield kind, json.loads(value, object_hook=Told), number
            kind, value = None, b""


def reading(source: BinaryIO, size_bytes: int, progress: Callable[[int], None]) -> Iterator[bytes]:
    """The bytes of an upload in chunks; `progress` is told of each that was taken.

    Raises InvalidInput at once when there are fewer: the daemon would wait for the rest.
    """
    left = size_bytes
    while left:
        chunk = source.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise _shrunk(source, size_bytes - left, size_bytes)
        yield chunk
        left -= len(chunk)
        progress(len(chunk))


def _quoted(text: str) -> str:
    if text.isascii() and text.translate(_PLAIN).isalnum():
        return text
    from urllib.parse import quote

    return quote(text, safe="", errors="surrogateescape")  # A word of the command line may be no text at all.


def part(name: str) -> str:
    """A name as one part of a path, whatever it holds."""
    return _quoted(name) or "%20"  # an empty name must not name the whole collection


def head(method: str, path: str, query: Mapping[str, object], headers: Mapping[str, str], length: int) -> bytes:
    """The head of a request. Queries that are empty or false are left out."""
    pairs = [f"{key}={_quoted(_text(value))}" for key, value in query.items() if value not in ("", False, None)]
    target = f"{path}?{'&'.join(pairs)}" if pairs else path
    lines = [f"{method} {target} HTTP/1.0", "Host: vmrole", f"Content-Length: {length}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _text(value: object) -> str:
    return "true" if value is True else str(value)


def decoded(answer: Answer) -> Json:
    """The JSON of an answer; raises the error that it holds when it is no success."""
    body = answer.body()
    try:
        value = json.loads(body, object_hook=Told) if body else None
    except ValueError as error:
        raise broken("it is not JSON") from error
    if answer.status < 300:
        return value
    refusal = value if isinstance(value, dict) else {}
    raise refused({"message": f"the daemon answered {answer.status}", **refusal})


def refused(body: Mapping[str, Any]) -> VmroleError:
    """The error of the tree that the daemon raised, from the body that tells it."""
    from orchestrator import errors

    word = str(body.get("error", ""))
    message, hint = str(body.get("message", "")), str(body.get("hint", ""))
    if word == "InvalidInput":
        problems = tuple(errors.Problem(**problem) for problem in body.get("problems", ()))
        return errors.InvalidInput(message, problems=problems, hint=hint)
    if word == "ImageRejected":
        return errors.ImageRejected(message, reason=str(body.get("reason", "")), hint=hint)
    if word == "CommandFailed":  # its own arguments stay in the daemon
        return errors.Permanent(message, hint=hint)
    kind = getattr(errors, word, None)
    if isinstance(kind, type) and issubclass(kind, errors.VmroleError):
        return kind(message, hint=hint)
    return errors.VmroleError(message, hint=hint)


def _unconnected(path: str, error: OSError) -> VmroleError:
    from orchestrator.client import absence

    return absence.told(path, error)


def _shrunk(source: BinaryIO, count: int, size_bytes: int) -> VmroleError:
    from orchestrator.errors import InvalidInput

    name = getattr(source, "name", "")
    file = name if isinstance(name, str) and name else "the file"
    message = f"{file} became shorter while it was read: it had {size_bytes} bytes, and ends after {count}"
    return InvalidInput(message, hint="wait until nothing writes to it any more, then try again")


def broken(why: str) -> VmroleError:
    """An answer that is not whole."""
    from orchestrator.errors import AnswerLost

    return AnswerLost(f"the daemon's answer was cut off: {why}", hint="look at its log, then try again")


def too_long() -> VmroleError:
    """A deadline that passed."""
    from orchestrator.errors import WaitedTooLong

    return WaitedTooLong("the time was over before it happened", hint="ask: vmrole why INSTANCE; or wait longer")
