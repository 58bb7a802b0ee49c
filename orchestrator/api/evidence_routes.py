"""Evidence: what was kept of instances that failed, before anything was repaired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from orchestrator.api.guard import said
from orchestrator.api.sending import Sending
from orchestrator.control.requests import Control
from orchestrator.model import InstanceName
from orchestrator.model.evidence import Capsule

_PACKED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/zstd": {"schema": {"type": "string", "format": "binary"}}}}
}


class Kept(Protocol):
    """What the API asks of who keeps it."""

    def all(self) -> Sequence[Capsule]:
        """All that is kept on this host, the oldest first."""

    def packed(self, name: InstanceName, mark: str) -> IO[bytes]:
        """All files of one failure as a .tar.zst, at its beginning; raises NotFound."""

    def remove(self, name: InstanceName, mark: str) -> Capsule:
        """Removes one failure's, and returns what it was; raises NotFound."""


def evidence_routes(control: Control, kept: Kept) -> APIRouter:
    """The routes under /v1/evidence."""
    router = APIRouter(prefix="/v1/evidence", tags=["evidence"])

    @router.get("")
    def list_evidence(
        instance: Annotated[str, Query(description="of that instance alone")] = "",
    ) -> list[Capsule]:
        """What is kept of failures, the oldest first."""
        name = control.instance(instance).name if instance else ""
        return [one for one in kept.all() if name in ("", one.instance)]

    @router.get("/{name}/{mark}", response_class=StreamingResponse, responses=_PACKED)
    def get_evidence(request: Request, name: str, mark: str) -> StreamingResponse:
        """All files of one failure as a .tar.zst: its manifest says what they are, and what could not be had."""
        said(request, "evidence-get", name, mark)
        return Sending(kept.packed(InstanceName(control.in_ledger(name)), mark), "application/zstd")

    @router.delete("/{name}/{mark}")
    def remove_evidence(request: Request, name: str, mark: str) -> Capsule:
        """Removes what is kept of one failure, and answers with what it was."""
        said(request, "evidence-rm", name, mark)
        return kept.remove(InstanceName(control.in_ledger(name)), mark)

    return router
