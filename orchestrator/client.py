"""A small synchronous client of the API, for the command line, the tests and scripts. It decides nothing.

It speaks HTTP/1.0 by itself: http.client imports the mail and TLS libraries, 20 ms of a command that may take 50.
With HTTP/1.0 an answer ends where its length or the connection ends, streams included; that is all the framing
there is. For the same reason nothing is imported here that is not needed to read an answer that is a success,
`typing` included; type checkers take TYPE_CHECKING for true wherever it comes from.
"""

from __future__ import annotations

import json
import os
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, BinaryIO

    from orchestrator import wire
    from orchestrator.errors import VmroleError

    Json = Any  # what json.loads gives; the methods below say what it is
    Message = tuple[str, Json, str]  # kind, value, id

DEFAULT_SOCKET = "/run/vmrole/vmrole.sock"
CONNECT_WITHIN_S = 1.0  # a daemon that is being started again is back by then, or says so
RECONNECT_WITHIN_S = 30.0  # a watch outlives a restart of the daemon
ANSWER_WITHIN_S = 60.0
READ_WITHIN_S = 45.0  # a watch says something every 15 s
IMAGE_WITHIN_S = 1800.0  # checking an image of many GiB takes minutes
_RETRY_EVERY_S = 0.05
_FRUITLESS_MAX = 20  # watches that end without a word, one after the other: the daemon cannot tell what is asked
_LINE_MAX_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 18
_PLAIN = {ord(char): None for char in "-._~"}  # besides letters and digits; RFC 3986, section 2.3


class Client:
    """One daemon, by its socket. Every method raises the errors of `orchestrator.errors`."""

    def __init__(self, path: str = "", *, connect_within_s: float = CONNECT_WITHIN_S) -> None:
        self.path = path or os.environ.get("VMROLE_SOCKET") or DEFAULT_SOCKET
        self._connect_within_s = connect_within_s

    # The nouns

    def health(self) -> wire.Health:
        """That the daemon answers, and which it is."""
        found: wire.Health = self.call("GET", "/healthz")
        return found

    def services(self) -> list[wire.Service]:
        """All services."""
        found: list[wire.Service] = self.call("GET", "/v1/services")
        return found

    def service(self, name: str) -> wire.Service:
        """One service."""
        found: wire.Service = self.call("GET", f"/v1/services/{_part(name)}")
        return found

    def apply(self, text: str, *, dry_run: bool = False, expected: int | None = None) -> wire.Applied:
        """Applies a document; `expected` is the revision that was read, 0 for "there is none yet"."""
        headers = {"content-type": "application/yaml", **_expecting(expected)}
        query = {"dry_run": dry_run}
        found: wire.Applied = self.call("POST", "/v1/services", query, body=text.encode(), headers=headers)
        return found

    def scale(self, service: str, role: str, instances: int, *, expected: int | None = None) -> wire.Service:
        """Changes how many instances a role has."""
        path = f"/v1/services/{_part(service)}/roles/{_part(role)}/instances"
        found: wire.Service = self._json("PUT", path, {"instances": instances}, _expecting(expected))
        return found

    def remove(self, service: str) -> wire.Service:
        """Asks for the removal of a service."""
        found: wire.Service = self.call("DELETE", f"/v1/services/{_part(service)}")
        return found

    def instances(self, subject: str = "", *, seats: bool = False) -> list[wire.Instance]:
        """Instances of a service or role, or the one named; `seats`: with their standing at the balancer."""
        query = {"subject": subject, "seats": seats}
        found: list[wire.Instance] = self.call("GET", "/v1/instances", query)
        return found

    def instance(self, name: str) -> wire.Instance:
        """One instance."""
        found: wire.Instance = self.call("GET", f"/v1/instances/{_part(name)}")
        return found

    def why(self, name: str) -> list[str]:
        """Sentences."""
        found: list[str] = self.call("GET", f"/v1/instances/{_part(name)}/why")["sentences"]
        return found

    def console(self, name: str, tail_bytes: int) -> bytes:
        """The end of the console's log, as the guest wrote it."""
        query = {"tail_bytes": tail_bytes}
        found: bytes = self.call("GET", f"/v1/instances/{_part(name)}/console", query, raw=True)
        return found

    def act(self, verb: str, subject: str, *, together: int = 1) -> wire.Operation:
        """Asks for a restart, reimage or rebuild of an instance, a role or a service."""
        wish = {"verb": verb, "subject": subject, "together": together}
        found: wire.Operation = self._json("POST", "/v1/operations", wish, {})
        return found

    def operations(self) -> list[wire.Operation]:
        """Running operations and the last finished ones."""
        found: list[wire.Operation] = self.call("GET", "/v1/operations")
        return found

    def operation(self, operation_id: str) -> wire.Operation:
        """One operation."""
        found: wire.Operation = self.call("GET", f"/v1/operations/{_part(operation_id)}")
        return found

    def events(self, subject: str = "", *, after: int = 0, limit: int = 1000) -> list[wire.Event]:
        """The newest events after a number, oldest first."""
        query = {"subject": subject, "after": after, "limit": limit}
        found: list[wire.Event] = self.call("GET", "/v1/events", query)
        return found

    def findings(self) -> list[wire.Finding]:
        """What on the host contradicts the records."""
        found: list[wire.Finding] = self.call("GET", "/v1/verify")
        return found

    def images(self) -> list[wire.Image]:
        """All images."""
        found: list[wire.Image] = self.call("GET", "/v1/images")
        return found

    def image(self, ref: str) -> wire.Image:
        """One image."""
        found: wire.Image = self.call("GET", f"/v1/images/{_part(ref)}")
        return found

    def add_image(
        self,
        source: BinaryIO,
        size_bytes: int,
        *,
        name: str,
        os: str = "linux",
        format: str = "",
        sha256: str = "",
        progress: Callable[[int], None] = lambda _count: None,
    ) -> wire.Image:
        """Uploads an image; `progress` is told how many more bytes were sent."""
        query = {"name": name, "os": os, "format": format, "sha256": sha256}
        chunks = _reading(source, size_bytes, progress)
        headers = {"content-type": "application/octet-stream"}
        request = _head("POST", "/v1/images", query, headers, size_bytes)
        with self._connected() as connection:
            connection.settimeout(IMAGE_WITHIN_S)
            with self._ask(connection, request, chunks) as answer:
                found: wire.Image = _decoded(answer)
                return found

    def verify_image(self, ref: str) -> wire.Image:
        """Has every byte of an image read again."""
        path = f"/v1/images/{_part(ref)}/verify"
        found: wire.Image = self.call("POST", path, within_s=IMAGE_WITHIN_S)
        return found

    def remove_image(self, ref: str) -> None:
        """Removes an image."""
        self.call("DELETE", f"/v1/images/{_part(ref)}")

    # Watching: kinds and values are those of api.sse; ("again", None, "") says that what was told before is void.

    def watch_instances(self, subject: str = "", *, until: float | None = None) -> Iterator[Message]:
        """Instances as they change; `until` on time.monotonic, then WaitedTooLong is raised."""
        return self._followed("/v1/instances/watch", {"subject": subject}, until)

    def watch_operation(self, operation_id: str, *, until: float | None = None) -> Iterator[Message]:
        """An operation until it is over; the last kind is "end"."""
        return self._followed(f"/v1/operations/{_part(operation_id)}/watch", {}, until)

    def watch_events(self, subject: str = "", *, after: int = 0, until: float | None = None) -> Iterator[Message]:
        """Events as they are told, from a number on."""
        return self._followed("/v1/events/watch", {"subject": subject, "after": after}, until)

    def _followed(self, path: str, query: Mapping[str, object], until: float | None) -> Iterator[Message]:
        last_id, connect_within_s, resumes, fruitless = "", self._connect_within_s, False, 0
        while fruitless < _FRUITLESS_MAX:
            headers = {"accept": "text/event-stream"} | ({"last-event-id": last_id} if last_id else {})
            with self._connected(connect_within_s, until) as connection:
                connection.settimeout(READ_WITHIN_S)
                with self._ask(connection, _head("GET", path, query, headers, 0), iter(())) as answer:
                    if answer.status != 200:
                        _decoded(answer)
                    if resumes and not last_id:
                        yield "again", None, ""
                    fruitless += 1
                    for message in _messages(connection, answer.stream, until):
                        last_id, fruitless = message[2], 0
                        yield message
                        if message[0] == "end":
                            return
            connect_within_s, resumes = RECONNECT_WITHIN_S, True
            time.sleep(_RETRY_EVERY_S)
        raise _broken("a watch ended again and again")

    # Asking

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        raw: bool = False,
        within_s: float = ANSWER_WITHIN_S,
    ) -> Json:
        """One request and the JSON of its answer (None when it has none), or its bytes when `raw`."""
        request = _head(method, path, query or {}, headers or {}, len(body))
        with self._connected() as connection:
            connection.settimeout(within_s)
            with self._ask(connection, request, iter((body,))) as answer:
                return answer.body() if raw and answer.status == 200 else _decoded(answer)

    def _json(self, method: str, path: str, value: object, headers: Mapping[str, str]) -> Json:
        headers = {"content-type": "application/json", **headers}
        return self.call(method, path, body=json.dumps(value).encode(), headers=headers)

    def _connected(self, within_s: float | None = None, until: float | None = None) -> socket.socket:
        end = time.monotonic() + (self._connect_within_s if within_s is None else within_s)
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(self.path)
            except OSError as error:
                connection.close()
                now = time.monotonic()
                restarting = isinstance(error, FileNotFoundError | ConnectionRefusedError)
                if not restarting or now >= end:
                    raise _unconnected(self.path, error) from error
                if until is not None and now >= until:
                    raise _too_long() from error
                time.sleep(_RETRY_EVERY_S)
            else:
                return connection

    def _ask(self, connection: socket.socket, head: bytes, chunks: Iterator[bytes]) -> _Answer:
        try:
            connection.sendall(head)
            for chunk in chunks:
                connection.sendall(chunk)
        except TimeoutError as error:
            raise _too_long() from error
        except OSError:
            pass  # The daemon answers a refused upload before its end; what it said can still be read.
        try:
            return _Answer(connection)
        except TimeoutError as error:
            raise _too_long() from error
        except (OSError, ValueError) as error:
            raise _broken(str(error)) from error


class _Answer:
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
        if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
            raise ValueError("the daemon hung up")
        while line := self.stream.readline(_LINE_MAX_BYTES).strip():
            key, _, value = line.decode("latin-1").partition(":")
            self.headers[key.lower()] = value.strip()
        return int(status[1])

    def __enter__(self) -> _Answer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def body(self) -> bytes:
        """All of it; raises Unreachable when it ends early."""
        length = self.headers.get("content-length")
        try:
            found = self.stream.read() if length is None else self.stream.read(int(length))
        except TimeoutError as error:
            raise _too_long() from error
        except OSError as error:
            raise _broken(str(error)) from error
        if length is not None and len(found) != int(length):
            raise _broken(f"the answer ended after {len(found)} of {length} bytes")
        return found


def _messages(connection: socket.socket, stream: BinaryIO, until: float | None) -> Iterator[Message]:
    """The events of one connection, until it ends."""
    kind, value, number = "", b"", ""
    while True:
        if until is not None:
            connection.settimeout(max(0.001, min(READ_WITHIN_S, until - time.monotonic())))
        try:
            line = stream.readline(_LINE_MAX_BYTES)
        except TimeoutError as error:
            if until is None or time.monotonic() < until:
                return  # Not even a comment came: the daemon is stuck or gone; connect again.
            raise _too_long() from error
        except OSError:
            return
        if not line:
            return
        key, _, rest = line.rstrip(b"\r\n").partition(b": ")
        if key == b"event":
            kind = rest.decode()
        elif key == b"id":
            number = rest.decode()
        elif key == b"data":
            value = rest
        elif not key and kind:
            yield kind, json.loads(value), number
            kind, value = "", b""


def _reading(source: BinaryIO, size_bytes: int, progress: Callable[[int], None]) -> Iterator[bytes]:
    left = size_bytes
    while left and (chunk := source.read(min(left, _CHUNK_BYTES))):
        yield chunk
        left -= len(chunk)
        progress(len(chunk))


def _quoted(text: str) -> str:
    if text.isascii() and text.translate(_PLAIN).isalnum():
        return text
    from urllib.parse import quote

    return quote(text, safe="")


def _part(name: str) -> str:
    return _quoted(name) or "%20"  # an empty name must not name the whole collection


def _head(method: str, path: str, query: Mapping[str, object], headers: Mapping[str, str], length: int) -> bytes:
    pairs = [f"{key}={_quoted(_text(value))}" for key, value in query.items() if value not in ("", False, None)]
    target = f"{path}?{'&'.join(pairs)}" if pairs else path
    lines = [f"{method} {target} HTTP/1.0", "Host: vmrole", f"Content-Length: {length}"]
    lines += [f"{key}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _text(value: object) -> str:
    return "true" if value is True else str(value)


def _expecting(expected: int | None) -> dict[str, str]:
    if expected is None:
        return {}
    return {"if-match": f'"{expected}"'} if expected else {"if-none-match": "*"}


def _decoded(answer: _Answer) -> Json:
    body = answer.body()
    try:
        value = json.loads(body) if body else None
    except ValueError as error:
        raise _broken("it is not JSON") from error
    if answer.status < 300:
        return value
    raise _refused(answer.status, value if isinstance(value, dict) else {})


def _refused(status: int, body: Mapping[str, Any]) -> VmroleError:
    """The error of the tree that the daemon raised."""
    from orchestrator import errors

    word = str(body.get("error", ""))
    message, hint = str(body.get("message", f"the daemon answered {status}")), str(body.get("hint", ""))
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
    from orchestrator.errors import Denied, Unreachable

    if isinstance(error, PermissionError):
        return Denied(f"you may not use {path}", hint="be root or a member of the socket's group")
    hint = "start it with: vmrole daemon; or name its socket with --socket or VMROLE_SOCKET"
    return Unreachable(f"no daemon answers on {path}: {error.strerror or error}", hint=hint)


def _broken(why: str) -> VmroleError:
    from orchestrator.errors import Unreachable

    return Unreachable(f"the daemon's answer was cut off: {why}", hint="look at its log, then try again")


def _too_long() -> VmroleError:
    from orchestrator.errors import WaitedTooLong

    return WaitedTooLong("the time was over before it happened", hint="ask: vmrole why INSTANCE; or wait longer")
