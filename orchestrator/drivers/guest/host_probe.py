"""Asks an instance from the host whether it serves: one TCP connection, or one HTTP request and its status line.

Not `http.client`: that one waits as long as a peer keeps dripping headers; here one deadline covers everything, and
no more than a status line is ever read. Redirects are not followed: they pass, and go nowhere.
"""

from __future__ import annotations

import re
import socket
from typing import Final

from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.drivers.tools.hostile_text import harmless
from orchestrator.model import HttpProbe, Probe, TcpProbe

WITHIN_S = 2.0
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r|$)")  # RFC 9112 section 4
_STATUS_LINE_MAX_BYTES = 1024


def ask(address: str, port: int, probe: Probe, within_s: float = WITHIN_S) -> str:
    """ "" when the probe passes, else why not, in a few words. Takes at most about `within_s` seconds."""
    deadline = Deadline(within_s)
    try:
        with socket.create_connection((address, port), timeout=within_s) as connection:
            match probe:
                case TcpProbe():
                    return ""
                case HttpProbe():
                    return _http(connection, f"{address}:{port}", probe, deadline)
    except TimeoutError:
        return f"no answer from port {port} within {within_s:.0f} s"
    except OSError as error:
        return f"port {port}: {(error.strerror or str(error)).lower()}"


def _http(connection: socket.socket, host: str, probe: HttpProbe, deadline: Deadline) -> str:
    path = probe.path
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: vmrole\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode("ascii"))
    line = b""
    while b"\n" not in line and len(line) < _STATUS_LINE_MAX_BYTES:
        if (left_s := deadline.left_s) == 0:
            raise TimeoutError
        connection.settimeout(left_s)
        more = connection.recv(_STATUS_LINE_MAX_BYTES)
        if not more:
            break
        line += more
    status = _STATUS_LINE.match(line)
    if status is None:
        said = harmless(line.partition(b"\n")[0].decode("latin-1"), 40)
        return f"no HTTP answer, but {said!r}" if said else "the connection was closed without an answer"
    return "" if probe.passes(int(status[1])) else f"GET {path} answers {int(status[1])}"
