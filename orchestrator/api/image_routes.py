"""Images: an upload is read by the repository straight from the connection; one that ends early leaves nothing."""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, BinaryIO, Protocol, cast

import anyio
import anyio.from_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.requests import ClientDisconnect

from orchestrator.errors import Busy, InvalidInput, WaitedTooLong
from orchestrator.model import DiskFormat, Image, Os

UPLOADS_MAX = 8
SILENCE_S = 60.0  # an upload that brings nothing for so long is over
_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Images(Protocol):
    """What the API asks of the image repository; `reference` is a name, a digest or name@sha256:digest."""

    def add(self, source: BinaryIO, *, name: str, os: Os, format: DiskFormat | None, sha256: str | None) -> Image:
        """Copies, checks and records an image; whatever goes wrong, nothing is left."""

    def all(self) -> Sequence[Image]:
        """Every image."""

    def get(self, reference: str) -> Image:
        """The image; raises NotFound."""

    def verify(self, reference: str) -> Image:
        """Reads it again; raises ImageCorrupt when a byte differs."""

    def remove(self, reference: str) -> Image:
        """Takes a name away, and with the last one the image; raises Conflict while a service refers to it."""


class Uploads:
    """All uploads of one app that wait for their client, so that the end of the API can end them. Event loop only."""

    def __init__(self) -> None:
        self._waiting: set[anyio.CancelScope] = set()
        self._open = 0
        self._stopping = False

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one upload; raises Busy when there is none: each holds a thread that requests need as well."""
        if self._open >= UPLOADS_MAX:
            raise Busy(f"{UPLOADS_MAX} uploads are under way", hint="try again when one of them has ended")
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def end(self) -> None:
        """Ends the waiting ones and those to come."""
        self._stopping = True
        for scope in self._waiting:
            scope.cancel()

    async def next_of(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The next bytes, b"" at the end; raises ClientDisconnect, WaitedTooLong, or Busy when the API ends."""
        if self._stopping:
            raise _stopping()
        with anyio.move_on_after(SILENCE_S) as scope:
            self._waiting.add(scope)
            try:
                async for chunk in chunks:
                    if chunk:
                        return chunk
            finally:
                self._waiting.discard(scope)
        if not scope.cancelled_caught:
            return b""
        if self._stopping:
            raise _stopping()
        raise WaitedTooLong(f"the upload brought nothing for {SILENCE_S:.0f} s", hint="try again")


def _stopping() -> Busy:
    return Busy("the daemon is being stopped", hint="try again when it is back")


class Upload(io.RawIOBase):
    """The request's body as a file that a thread may read: each read waits for the client, nothing is buffered."""

    def __init__(self, uploads: Uploads, chunks: AsyncIterator[bytes]) -> None:
        self._uploads = uploads
        self._chunks = chunks
        self._rest = b""
        self._taken = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Fills the buffer; raises InvalidInput when the client goes away before the end."""
        if not self._rest:
            self._rest = anyio.from_thread.run(self._next)
            self._taken += len(self._rest)
        view = memoryview(cast("bytearray", buffer)).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    async def _next(self) -> bytes:
        try:
            return await self._uploads.next_of(self._chunks)
        except ClientDisconnect as error:
            raise InvalidInput(f"the upload ended after {self._taken} bytes", hint="try again") from error


async def upload(request: Request) -> AsyncIterator[BinaryIO]:
    """The body of the request as a file; raises Busy when there are too many."""
    uploads: Uploads = request.app.state.uploads
    with uploads.place():
        yield io.BufferedReader(Upload(uploads, request.stream().__aiter__()), buffer_size=1 << 20)


def image_routes(images: Images) -> APIRouter:
    """The routes under /v1/images."""
    router = APIRouter(prefix="/v1/images", tags=["images"])

    @router.get("")
    def list_images() -> list[Image]:
        """All images."""
        return list(images.all())

    @router.post("", status_code=201, openapi_extra=_BODY)
    def add_image(
        source: Annotated[BinaryIO, Depends(upload)],
        name: str,
        os: Os = Os.LINUX,
        format: DiskFormat | None = None,
        sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
    ) -> Image:
        """Copies the body into the repository. The same bytes twice are one image with both names."""
        return images.add(source, name=name, os=os, format=format, sha256=sha256)

    @router.get("/{ref}")
    def get_image(ref: str) -> Image:
        """One image, by name, digest or name@sha256:digest."""
        return images.get(ref)

    @router.post("/{ref}/verify")
    def verify_image(ref: str) -> Image:
        """Reads every byte again; 503 when one differs."""
        return images.verify(ref)

    @router.delete("/{ref}", status_code=204)
    def remove_image(ref: str) -> None:
        """Removes an image that no service refers to."""
        images.remove(ref)

    return router
