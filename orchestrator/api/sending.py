"""Files that are answers: sent in pieces, with what they hold given back however that ends.

Who takes one has a pace to keep, as who sends one: what lies on the daemon's disk meanwhile is few at a time, and a
byte now and then would keep all others out for days.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from typing import IO, Final

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from orchestrator.api.image_routes import PACE_BYTES_PER_S
from orchestrator.log import Seldom

SLOW_S = 60.0  # so long in all a reader may keep us waiting before his pace counts
HANG_UP: Final = "hang_up"  # in the state of a connection: how it is ended at once
_CHUNK_BYTES: Final = 1 << 18

_log = Seldom(logging.getLogger(__name__), 60.0)


class Sending(StreamingResponse):
    """A whole file, which is closed, and what goes with it, when it has been sent or nobody takes it any more."""

    def __init__(self, file: IO[bytes], media_type: str, held: contextlib.ExitStack | None = None) -> None:
        """`held`: what is to be given back then, the file among it; else the file alone."""
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        super().__init__(_chunks(file), media_type=media_type, headers={"content-length": str(size_bytes)})
        self._held: contextlib.AbstractContextManager[object] = file if held is None else held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See Starlette."""
        with self._held:
            await super().__call__(scope, receive, _Paced(send, scope["state"][HANG_UP]))


class _Paced:
    """Hangs up on who takes less than PACE_BYTES_PER_S for longer than SLOW_S: nothing more is sent to him then."""

    def __init__(self, send: Send, hang_up: Callable[[], object]) -> None:
        self._send, self._hang_up = send, hang_up
        self._waited_s, self._taken = 0.0, 0

    async def __call__(self, message: Message) -> None:
        """See ASGI."""
        began_s = anyio.current_time()
        await self._send(message)
        self._waited_s += anyio.current_time() - began_s
        self._taken += len(message.get("body", b""))
        if self._taken < (self._waited_s - SLOW_S) * PACE_BYTES_PER_S:
            _log.warning("a reader took %s bytes in %.0f s, and was hung up on", self._taken, self._waited_s)
            self._hang_up()


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
