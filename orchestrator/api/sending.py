"""Files that are answers: sent in pieces, with what they hold given back however that ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Final

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_CHUNK_BYTES: Final = 1 << 18


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
            await super().__call__(scope, receive, send)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
