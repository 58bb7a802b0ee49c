"""Blobs: what guests put by, as people list, fetch, put and remove it."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from orchestrator.api.guard import said
from orchestrator.api.peers import caller_of
from orchestrator.control.guest_blobs import owner_of
from orchestrator.control.requests import Control
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model.blob import Blob, BlobOwner, BlobPut, Of, check_version
from orchestrator.ports import BlobFiles

PART_BYTES = 512 * 1024  # of a blob, at most, in one request
OFFSET_MAX = 1 << 50
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
}
Offset = Annotated[int, Query(ge=0, le=OFFSET_MAX)]
Size = Annotated[int, Query(ge=0, le=OFFSET_MAX)]
IfVersion = Annotated[str | None, Query(description='if it has that version still; "none": if there is none')]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobView:
    """A blob. Times are seconds since the epoch. Without a version it is damaged."""

    name: str
    version: str
    size_bytes: int
    sha256: str
    put_at_s: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobTaken:
    """What is there of a blob that is being put; the blob itself when its last part was taken."""

    taken: int
    blob: BlobView | None


def blob_routes(control: Control, blobs: BlobFiles) -> APIRouter:
    """The routes under /v1/blobs: of an instance ("web-0.shop") or of a role ("web.shop")."""
    router = APIRouter(prefix="/v1/blobs/{of}/{owner}", tags=["blobs"])

    @router.get("")
    def list_blobs(of: Of, owner: str) -> list[BlobView]:
        """What an instance, or the instances of a role together, have put by, by name."""
        return [view_blob(one) for one in blobs.all(_owner(control, of, owner))]

    @router.get("/{name}", response_class=Response, responses=_BYTES)
    def get_blob(request: Request, of: Of, owner: str, name: str, offset: Offset = 0, version: str = "") -> Response:
        """A part of a blob, from a byte on, of this version if one is named."""
        said(request, "blob-get", owner, name)
        if version:
            check_version(version)
        _, data = blobs.read(_owner(control, of, owner), name, offset, PART_BYTES, version)
        return Response(data, media_type="application/octet-stream")

    @router.put("/{name}")
    async def put_blob(
        request: Request,
        of: Of,
        owner: str,
        name: str,
        put_id: str,
        sha256: str,
        size_bytes: Size = 0,
        offset: Offset = 0,
        if_version: IfVersion = None,
    ) -> BlobTaken:
        """Takes a part of a blob, the body, of at most 512 KiB; with the last one it is there.

        Every part says the same of the whole; one that comes again counts once.
        """
        said(request, "blob-put", owner, name)
        data = await request.body()
        if len(data) > PART_BYTES:
            raise InvalidInput(f"a part of a blob has at most {PART_BYTES} bytes", hint="send it in several")
        put = BlobPut(name=name, put_id=put_id, size_bytes=size_bytes, sha256=sha256, if_version=if_version)
        party = caller_of(request).party  # Nobody goes on with another's put, nor fills his places with it.
        done = await run_in_threadpool(
            lambda: blobs.part(_staying(control, of, owner), f"{party} {put_id}", put, offset, data, among=party)
        )
        return BlobTaken(taken=done, blob=None) if isinstance(done, int) else _whole(done)

    @router.delete("/{name}")
    def remove_blob(request: Request, of: Of, owner: str, name: str, if_version: IfVersion = None) -> BlobView:
        """Removes a blob, and answers with what it was."""
        said(request, "blob-rm", owner, name)
        return view_blob(blobs.remove(_owner(control, of, owner), name, if_version))

    return router


def view_blob(blob: Blob) -> BlobView:
    """As it is shown."""
    return BlobView(
        name=blob.name,
        version=blob.version,
        size_bytes=blob.size_bytes,
        sha256=blob.sha256,
        put_at_s=blob.put_at_s,
    )


def _whole(blob: Blob) -> BlobTaken:
    return BlobTaken(taken=blob.size_bytes, blob=view_blob(blob))


def _staying(control: Control, of: Of, name: str) -> BlobOwner:
    """The same of one that does not go: what is put into its store would go with it, or be left behind."""
    owner = _owner(control, of, name)
    if of is Of.INSTANCE:
        goes = not control.instance(name).goal.serve
    else:
        goes = control.service(owner.name.partition(".")[2]).removing
    if goes:
        raise Conflict(f"{owner} goes, and its blobs with it", hint="deploy it again first")
    return owner


def _owner(control: Control, of: Of, name: str) -> BlobOwner:
    """Whose store that is; raises NotFound."""
    if of is Of.INSTANCE:
        return owner_of(control.instance(name), of)
    role, _, service = control.named(name).rpartition(".")
    if not role or control.service(service).spec.role(role) is None:
        raise NotFound(f"there is no role {name[:80]!r}", hint="write ROLE.SERVICE; run: vmrole get services")
    return BlobOwner(of, f"{role}.{service}")
