"""A small HTTP service on port 8080, as the micro image's: /healthz, elsewhere one JSON object about this guest."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable

PORT = 8080
_REQUEST_S = 5.0
_REQUEST_BYTES = 8192


def serve(page: Callable[[], dict[str, object]], port: int = PORT) -> None:
    """Answers for ever, each connection one request, in a thread of its own."""
    with socket.create_server(("", port), backlog=64) as listening:
        while True:
            connection, _address = listening.accept()
            threading.Thread(target=_answer, args=(connection, page), daemon=True).start()


def response(request: bytes, page: Callable[[], dict[str, object]]) -> bytes:
    """The whole answer to a request."""
    method, _, rest = request.partition(b" ")
    if method not in (b"GET", b"HEAD"):
        return b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    plain = rest.startswith(b"/healthz ")
    body = b"ok\n" if plain else json.dumps(page()).encode() + b"\n"
    kind = b"text/plain" if plain else b"application/json"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (
        kind,
        len(body),
    )
    return head + (b"" if method == b"HEAD" else body)


def _answer(connection: socket.socket, page: Callable[[], dict[str, object]]) -> None:
    with connection, contextlib.suppress(OSError):  # A client may go at any time.
        connection.settimeout(_REQUEST_S)
        request = b""
        while b"\r\n\r\n" not in request and len(request) < _REQUEST_BYTES:
            received = connection.recv(_REQUEST_BYTES)
            if not received:
                return
            request += received
        connection.sendall(response(request, page))
