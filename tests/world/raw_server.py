"""Servers that see requests as they are on the wire, and answer with the bytes that a test wants."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable


class RawServer:
    """A member that keeps every request whole as it came, and answers as `answer` says; None hangs up."""

    def __init__(self, address: str, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        self.heard: list[bytes] = []
        self.sockets: list[socket.socket] = []
        self._answer = answer
        self._listener = socket.create_server((address, port), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self.sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            self.sockets.append(talk)
            threading.Thread(target=self._serve, args=(talk,), daemon=True).start()

    def _serve(self, talk: socket.socket) -> None:
        with talk, contextlib.suppress(OSError):
            while said := talk.recv(65536):
                self.heard.append(said)
                answer = self._answer(said)
                if answer is None:
                    return
                talk.sendall(answer)


def fine(_: bytes) -> bytes:
    """An HTTP answer."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def echo(said: bytes) -> bytes:
    """What was heard."""
    return said
