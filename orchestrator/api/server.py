"""uvicorn in a thread of its own, on sockets that we bound, with connections as in `connections`."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

import uvicorn
from fastapi import FastAPI

from orchestrator.api.connections import TOLD_EVERY_S, Connection, connection_of
from orchestrator.api.listening import BACKLOG, Listener
from orchestrator.api.network import Doorway, Network, opened
from orchestrator.errors import WaitedTooLong
from orchestrator.log import Seldom

START_WITHIN_S = 20.0
STOP_WITHIN_S = 10.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_MET_WITHIN = 5  # rounds of the loop, of asyncio: let in, given a transport, met; and told that it is hung up on
_LET_IN_WITHIN = 2  # rounds of them until who was let in has a transport
GRACE_S = 5  # for requests in flight; watches and uploads are ended at once


class _Loop(uvicorn.Server):
    """uvicorn's server, waiting for an event instead of looking ten times a second whether to stop."""

    def __init__(self, config: uvicorn.Config, network: Network | None, before_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._network = network
        self._doorway: Doorway | None = None
        self._before_end = before_end
        self._exhausted = Seldom(logging.getLogger(__name__), TOLD_EVERY_S)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._network is not None:
            self._doorway, server = await opened(self._network, self._connection)
            self.servers.append(server)

    def _connection(self) -> Connection:
        """As uvicorn makes one for the unix sockets."""
        protocol: Any = self.config.http_protocol_class
        made = protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        assert isinstance(made, Connection)
        return made

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._heard)
        self.ready.set()
        await self._end.wait()
        if self._doorway is not None:
            self._doorway.end()
        await self._let_nobody_in()
        self._before_end()

    async def _let_nobody_in(self) -> None:
        """From now on. Who was let in a moment ago is met as ever, before he is hung up on: asyncio gives him no
        transport once its server is closed, and a refusal would hide from him that another daemon takes over.
        """
        for door in [door for server in self.servers for door in server.sockets]:
            asyncio.get_running_loop().remove_reader(door.fileno())
        for _ in range(_LET_IN_WITHIN):
            await asyncio.sleep(0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for _ in range(_MET_WITHIN):
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    def _heard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio tells of each accept(2) that fails, thousands of times a second; it tries again by itself."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            self._exhausted.warning("no connection can be taken: %s", error.strerror)
        else:
            loop.default_exception_handler(context)

    def end(self) -> None:
        """From any thread."""
        self.should_exit = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end.set)


class Server:
    """A running API. `stop` ends it, its watches and its socket files."""

    def __init__(self, app: FastAPI, listeners: Sequence[Listener], network: Network | None) -> None:
        self._connection = connection_of(listeners)
        config = uvicorn.Config(
            app,
            http=self._connection,
            ws="none",
            backlog=BACKLOG,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",  # its talk of starting and stopping is ours to tell; of bad requests nobody needs to
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._app = app
        self._listeners = listeners
        self._paths = [listener.path for listener in listeners if not listener.is_lent]
        self._server = _Loop(config, network, self._end_what_lasts)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener.socket for listener in listeners],), name="api", daemon=True
        )

    def start(self) -> None:
        """Returns when requests are answered; raises WaitedTooLong."""
        self._thread.start()
        if not self._server.ready.wait(START_WITHIN_S):
            raise WaitedTooLong(f"the API did not start within {START_WITHIN_S:.0f} s", hint="see the log")

    def end(self) -> None:
        """Begins to end it, and waits for nothing. From any thread."""
        self._server.end()

    def handed_over(self) -> list[Listener]:
        """The unix sockets for who goes on listening on them: they and their files outlive this server."""
        self._paths = []
        return [dataclasses.replace(listener, socket=listener.socket.dup()) for listener in self._listeners]

    def stop(self) -> None:
        """Ends it; repeating that is fine. Raises WaitedTooLong when a request does not end."""
        self.end()
        self._thread.join(STOP_WITHIN_S)
        for path in self._paths:
            path.unlink(missing_ok=True)
        if self._thread.is_alive():
            raise WaitedTooLong(f"the API did not stop within {STOP_WITHIN_S:.0f} s", hint="see the log")

    def _end_what_lasts(self) -> None:
        self._connection.doors.end()
        self._app.state.uploads.end()
        self._app.state.watchers.end()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve(app: FastAPI, *listeners: Listener, network: Network | None = None) -> Server:
    """Serves the app on listening unix sockets (see `listening.bind`), and to the network if it is given one, in a
    thread of its own.
    """
    server = Server(app, listeners, network)
    server.start()
    return server
