"""Small real HTTP servers on loopback, one per instance: each answers with its own name."""

from __future__ import annotations

import http.server
import threading
import time
from types import TracebackType
from typing import Self


class _Quiet(http.server.ThreadingHTTPServer):
    """Says nothing when a client hangs up: tests do it on purpose."""

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error here."""


class Origin:
    """Serves HTTP/1.1 with keep-alive on ADDRESS:PORT until the context ends.

    `/slow` takes a second, `/status/404` is answered by that status, `/nothing` by none.
    """

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.healthy = True
        origin = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # Head and body are two writes: Nagle would hold the second for 40 ms.

            def do_GET(self) -> None:
                if self.path == "/nothing":
                    self.close_connection = True
                    return
                if self.path == "/slow":
                    time.sleep(1.0)
                sick = self.path == "/healthz" and not origin.healthy
                body = origin.name.encode()
                asked = int(self.path.removeprefix("/status/")) if self.path.startswith("/status/") else 200
                self.send_response(503 if sick else asked)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Quiet((address, port), Answer)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
