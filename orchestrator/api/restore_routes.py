"""Restoring a backup while the daemon runs: it is taken and checked, and the daemon begins anew with it."""

from __future__ import annotations

import io
from typing import Annotated, BinaryIO, Protocol

from fastapi import APIRouter, Depends, Request

from orchestrator.api.guard import said
from orchestrator.api.image_routes import BYTES_BODY, Upload, upload
from orchestrator.errors import InvalidInput
from orchestrator.model.restoring import Restoring


class Restores(Protocol):
    """What the API asks of who keeps a backup for the next start of the daemon."""

    waits: bool  # whether there is one: what was accepted now would be gone in a moment

    def stage(self, source: BinaryIO, size_bytes: int) -> Restoring:
        """Takes one, whole and checked, and has the daemon begin anew; raises InvalidInput, NoSpace or Busy."""

    def last(self) -> Restoring:
        """How far the last one is."""


def restore_routes(restores: Restores) -> APIRouter:
    """The routes under /v1/restore."""
    router = APIRouter(prefix="/v1/restore", tags=["daemon"])

    @router.post("", status_code=202, openapi_extra=BYTES_BODY)
    def restore(request: Request, source: Annotated[Upload, Depends(upload)]) -> Restoring:
        """Takes what POST /v1/backup gave, checks all of it, and has the daemon begin anew with it.

        One that is damaged or of a newer vmrole is refused, and changes nothing. With the answer it is on disk, and
        will be restored whatever happens to the daemon; VMs and VIPs go on meanwhile. Then GET /v1/restore tells how
        it ended. By the host's own socket alone.
        """
        said(request, "restore")
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            raise InvalidInput("it is not said how long the backup is", hint="send a content-length")
        return restores.stage(io.BufferedReader(source, buffer_size=1 << 20), int(length))

    @router.get("")
    def last_restore() -> Restoring:
        """How far the last backup is that was given to be restored."""
        return restores.last()

    return router
