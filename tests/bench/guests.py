"""Everybody's guest: answers each check, at whatever address of its network it is asked, until it is ended.

python -m tests.bench.guests
"""

from __future__ import annotations

import contextlib
import socket

from tests.world import fleet

ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"


def main() -> None:
    """Serves, one after the other: who asks sends what he has to say at once."""
    with socket.create_server(("0.0.0.0", fleet.TARGET), backlog=4096) as server:
        while True:
            with contextlib.suppress(OSError):
                talk, _ = server.accept()
                with talk:
                    talk.settimeout(1.0)
                    talk.recv(1000)
                    talk.sendall(ANSWER)


if __name__ == "__main__":
    main()
