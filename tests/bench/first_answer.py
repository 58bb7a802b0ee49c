"""Asks HOST:PORT/healthz every few milliseconds until it stops answering, then until it answers again: prints when.

`python -m tests.bench.first_answer HOST:PORT` prints CLOCK_MONOTONIC in seconds, which all processes of a host share.
"""

from __future__ import annotations

import socket
import sys
import time

WITHIN_S = 100.0
EVERY_S = 0.005
CONNECT_S = 0.03  # A guest without an address refuses nobody: a longer try would outlast the moment that it has one.
ANSWER_S = 0.5


def answers(host: str, port: int) -> bool:
    """Whether a request gets 200 now."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_S) as connection:
            connection.settimeout(ANSWER_S)
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False


def main(where: str) -> int:
    """Returns 0 when it went away and came back."""
    host, _, port = where.partition(":")
    end = time.monotonic() + WITHIN_S
    gone = False
    while time.monotonic() < end:
        up = answers(host, int(port))
        if gone and up:
            print(time.monotonic())
            return 0
        gone = gone or not up
        time.sleep(EVERY_S)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
