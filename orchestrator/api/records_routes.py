"""All records at once: a backup of them, and restoring one, for which the daemon begins anew."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Annotated, Any, BinaryIO, Protocol

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from orchestrator.api.guard import said
from orchestrator.api.image_routes import BYTES_BODY, Upload, upload
from orchestrator.api.peers import caller_of
from orchestrator.api.places import Places
from orchestrator.api.sending import Sending
from orchestrator.errors import InvalidInput
from orchestrator.model.restoring import Restoring

BACKUPS_MAX = 2  # under way at once, of different parties
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}


class Restores(Protocol):
    """What the API asks of who keeps a backup for the next start of the daemon."""

    waits: bool  # whether there is one: what was accepted now would be gone in a moment

    def stage(self, source: BinaryIO, size_bytes: int) -> Restoring:
        """Takes one, whole and checked, and has the daemon begin anew; raises InvalidInput, NoSpace or Busy."""

    def last(self) -> Restoring:
        """How far the last one is."""


def records_routes(backup: Callable[[], BinaryIO], restores: Restores) -> APIRouter:
    """The routes /v1/backup and /v1/restore; see `create_app`."""
    router = APIRouter(prefix="/v1", tags=["daemon"])
    places = Places("backups", BACKUPS_MAX, each=1)

    @router.post("/backup", response_class=StreamingResponse, responses=_BYTES)
    async def back_up(request: Request) -> StreamingResponse:
        """All records and the ledger as of now: a line with the SHA-256 and the length of what follows, and that.

        Each is a copy on the daemon's disk until it has been taken: there are few at once, and one for each who asks.
        """
        said(request, "backup")
        with contextlib.ExitStack() as undo:
            undo.enter_context(places.place(caller_of(request).party))
            copy = undo.enter_context(await anyio.to_thread.run_sync(backup))
            return Sending(copy, "application/octet-stream", undo.pop_all())

    @router.post("/restore", status_code=202, openapi_extra=BYTES_BODY)
    def restore(request: Request, source: Annotated[Upload, Depends(upload)]) -> Restoring:
        """Takes what POST /v1/backup gave, checks all of it, and has the daemon begin anew with it.

        One that is damaged or of a newer vmrole is refused, and changes nothing. With the answer it is on disk, and
        will be restored whatever happens to the daemon; VMs and VIPs go on meanwhile. Then GET /v1/restore tells how
        it ended. By root alone, at the host's own socket.
        """
        said(request, "restore")
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            raise InvalidInput("it is not said how long the backup is", hint="send a content-length")
        return restores.stage(io.BufferedReader(source, buffer_size=1 << 20), int(length))

    @router.get("/restore")
    def last_restore() -> Restoring:
        """How far the last backup is that was given to be restored."""
        return restores.last()

    return router
