"""uvicorn in a thread of its own, on a socket that we bound, telling the app who is at the other end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.api.listening import Listener
from orchestrator.api.peers import Admission, peer_of
from orchestrator.errors import Unreachable, WaitedTooLong

START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
GRACE_S = 5  # for requests in flight; watches end within a second of their own, uploads at once


class PeerProtocol(H11Protocol):
    """HTTP/1.1 over a unix socket, with the caller in the state of every request: the peer, and what the listener
    that he came by lets him do. A connection by any other listener has no caller, and the guard refuses it.
    """

    admissions: Mapping[str, Admission]  # by the path of the listener; set by `_protocol`

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reads the credentials once: they are those of the moment of connect(2)."""
        super().connection_made(transport)
        admission = self.admissions.get(transport.get_extra_info("sockname"))
        if admission is None:
            return
        try:
            self.app_state = {
                **self.app_state,
                "caller": admission.caller(peer_of(transport.get_extra_info("socket"))),
            }
        except Unreachable:
            transport.abort()


def _protocol(listeners: Sequence[Listener]) -> type[PeerProtocol]:
    by_path = {str(listener.path): listener.admission for listener in listeners}
    return type("PeerProtocol", (PeerProtocol,), {"admissions": by_path})


class _Loop(uvicorn.Server):
    """uvicorn's server, waiting for an event instead of looking ten times a second whether to stop."""

    def __init__(self, config: uvicorn.Config, before_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._before_end = before_end
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.ready.set()
        await self._end.wait()
        self._before_end()

    def end(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)


class Server:
    """A running API. `stop` ends it, its watches and its socket files."""

    def __init__(self, app: FastAPI, listeners: Sequence[Listener]) -> None:
        config = uvicorn.Config(
            app,
            http=_protocol(listeners),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="warning",  # its talk of starting and stopping is ours to tell
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._app = app
        self._paths = [listener.path for listener in listeners]
        self._server = _Loop(config, app.state.uploads.end)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener.socket for listener in listeners],), name="api", daemon=True
        )

    def start(self) -> None:
        """Returns when requests are answered; raises WaitedTooLong."""
        self._thread.start()
        if not self._server.ready.wait(START_WITHIN_S):
            raise WaitedTooLong(f"the API did not start within {START_WITHIN_S:.0f} s", hint="see the log")

    def stop(self) -> None:
        """Ends it; repeating that is fine. Raises WaitedTooLong when a request does not end."""
        self._app.state.watchers.stopping.set()
        self._server.end()
        self._thread.join(STOP_WITHIN_S)
        for path in self._paths:
            path.unlink(missing_ok=True)
        if self._thread.is_alive():
            raise WaitedTooLong(f"the API did not stop within {STOP_WITHIN_S:.0f} s", hint="see the log")

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(app: FastAPI, *listeners: Listener) -> Server:
    """Serves the app on listening unix sockets (see `listening.bind`), in a thread of its own."""
    server = Server(app, listeners)
    server.start()
    return server
