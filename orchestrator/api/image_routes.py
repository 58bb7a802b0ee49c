"""Images: an upload is read by the repository straight from the connection; one that ends early leaves nothing."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, BinaryIO, Protocol, cast

import anyio
import anyio.from_thread
from fastapi import APIRouter, Body, Depends, Query, Request
from starlette.requests import ClientDisconnect

from orchestrator.api.guard import said
from orchestrator.api.peers import caller_of
from orchestrator.api.places import Places, Threads
from orchestrator.control.catalogue import Tagged
from orchestrator.errors import Busy, InvalidInput, WaitedTooLong
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import AnswerFormat, Deadlines, DiskBus, Firmware, Hardware, Image, Instance, Os, Tried
from orchestrator.model.arrivals import Arrival
from orchestrator.model.intake import Intake

UPLOADS_MAX = 8
CHECKS_MAX = 4  # each reads a disk from end to end
DAY_S = 24 * 3600.0
WHY_MOST = 500  # characters
SILENCE_S = 60.0  # an upload that brings nothing for so long is over
PACE_BYTES_PER_S = (
    32 * 1024
)  # and so is one that falls so far behind this: a place is not kept by a byte now and then
BYTES_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class Images(Protocol):
    """What the API asks of the image repository; `reference` is a name, a digest or name@sha256:digest."""

    def add(
        self,
        source: BinaryIO,
        intake: Intake,
        progress: Callable[[int], None],
    ) -> Image:
        """Copies, converts, checks and records an image; whatever goes wrong, nothing is left.

        `progress` is called all the while, and may raise to end it.
        """

    def capture(self, asked: Instance, name: str, progress: Callable[[int], None]) -> Image:
        """As `add`, of the system disk of an instance that is off."""

    def arrivals(self) -> Sequence[Arrival]:
        """What is being added just now."""

    def all(self) -> Sequence[Image]:
        """Every image."""

    def get(self, reference: str) -> Image:
        """The image; raises NotFound."""

    def verify(self, reference: str) -> Image:
        """Reads it again; raises ImageCorrupt when a byte differs."""

    def suggest(self, reference: str, deadlines: Deadlines) -> Image:
        """Keeps what the image's test measured."""

    def keep_tried(self, reference: str, tried: Tried | None) -> Image:
        """Keeps by which roads its reimages went."""

    def trust(self, reference: str) -> Image:
        """Takes back that it is suspect."""

    def tag(self, name: str, reference: str) -> Tagged:
        """Gives a name to an image, and takes it from the one that it meant."""

    def unused(self, *, older_than_s: float) -> Sequence[Image]:
        """Images that no service refers to, and that were added so long ago."""

    def prune(self, *, older_than_s: float) -> Sequence[Image]:
        """Removes them; returns what they were."""

    def remove(self, reference: str) -> Image:
        """Takes a name away, and with the last one the image; raises Conflict while a service refers to it."""


class Uploads:
    """All uploads of one app that wait for their client, so that the end of the API can end them. Event loop only."""

    def __init__(self) -> None:
        self.places = Places("uploads", UPLOADS_MAX)  # each holds a thread that requests need as well
        self._waiting: set[anyio.CancelScope] = set()
        self._stopping = False

    def go_on(self) -> None:
        """Raises Busy when the API ends."""
        if self._stopping:
            raise _stopping()

    def end(self) -> None:
        """Ends the waiting ones and those to come."""
        self._stopping = True
        for scope in self._waiting:
            scope.cancel()

    async def next_of(self, chunks: AsyncIterator[bytes]) -> bytes:
        """The next bytes, b"" at the end; raises ClientDisconnect, WaitedTooLong, or Busy when the API ends."""
        self.go_on()
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

    def __init__(self, uploads: Uploads, request: Request) -> None:
        self._uploads = uploads
        self._request = request
        self._chunks = request.stream().__aiter__()
        self._is_over = False
        self._rest = b""
        self._taken = 0
        self._waited_s = 0.0  # for the client, and for nothing of ours

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """Fills the buffer; raises InvalidInput when the client goes away before the end."""
        if not self._rest:
            self._rest = anyio.from_thread.run(self._next)
            self._taken += len(self._rest)
            self._is_over = not self._rest
        view = memoryview(cast("bytearray", buffer)).cast("B")
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def go_on(self, _count: int = 0) -> None:
        """Asked again and again while the host works on an upload, from its thread.

        Raises Busy when the API ends, and InvalidInput when nobody waits for the image any more.
        """
        self._uploads.go_on()
        # Before its end, the body is what comes next, and reading it says that the client is gone.
        if self._is_over and anyio.from_thread.run(self._request.is_disconnected):
            raise InvalidInput("the client went away before the image was ready", hint="add it again")

    async def _next(self) -> bytes:
        began_s = anyio.current_time()
        try:
            chunk = await self._uploads.next_of(self._chunks)
        except ClientDisconnect as error:
            raise InvalidInput(f"the upload ended after {self._taken} bytes", hint="try again") from error
        self._waited_s += anyio.current_time() - began_s
        if chunk and self._taken < (self._waited_s - SILENCE_S) * PACE_BYTES_PER_S:
            told = f"the upload brought {self._taken} bytes in {self._waited_s:.0f} s"
            raise WaitedTooLong(told, hint=f"send at least {PACE_BYTES_PER_S // 1024} KiB a second")
        return chunk


async def upload(request: Request) -> AsyncIterator[Upload]:
    """The body of the request; raises Busy when there are too many."""
    uploads: Uploads = request.app.state.uploads
    with uploads.places.place(caller_of(request).party):
        yield Upload(uploads, request)


def intake_of(
    request: Request,
    name: str,
    os: Os = Os.LINUX,
    format: SourceFormat | None = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
    convert: bool = False,
    parts: Annotated[str, Query(pattern="^([0-9]{1,16}(,[0-9]{1,16})*)?$", max_length=300)] = "",
    answers: AnswerFormat | None = None,
    firmware: Firmware = Firmware.BIOS,
    disk: DiskBus = DiskBus.VIRTIO,
    tpm: bool = False,
) -> Intake:
    """The query as one value; raises InvalidInput."""
    length = request.headers.get("content-length", "")
    return Intake(
        name=name,
        os=os,
        format=format,
        sha256=sha256,
        convert=convert,
        parts=tuple(int(part) for part in parts.split(",") if part),
        answers=answers,
        hardware=Hardware(firmware=firmware, disk_bus=disk, tpm=tpm),
        size_bytes=int(length) if length.isdecimal() else None,
    )


def image_routes(images: Images) -> APIRouter:
    """The routes under /v1/images, and /v1/incoming: any word may be the name of an image."""
    router = APIRouter(prefix="/v1", tags=["images"])
    checks = Threads("checks of images", CHECKS_MAX)

    @router.get("/images")
    def list_images() -> list[Image]:
        """All images."""
        return list(images.all())

    @router.get("/incoming")
    def list_arrivals() -> list[Arrival]:
        """Images that are being added at this moment, and how far they are."""
        return list(images.arrivals())

    @router.post("/images", status_code=201, openapi_extra=BYTES_BODY)
    def add_image(
        request: Request,
        intake: Annotated[Intake, Depends(intake_of)],
        source: Annotated[Upload, Depends(upload)],
    ) -> Image:
        """Copies the body into the repository. The same bytes twice are one image with both names.

        To be converted, a differencing VHD is followed by its parents in the same body, the nearest first; `parts`
        then says how many bytes each has, the disk itself included, with commas between. `answers` is what the
        system itself reads unless it is given; `firmware`, `disk` and `tpm` are the machine that the image wants.

        A client that hangs up before the answer gets no image.
        """
        said(request, "image-add", intake.name)
        return images.add(io.BufferedReader(source, buffer_size=1 << 20), intake, source.go_on)

    @router.get("/images/{ref}")
    def get_image(ref: str) -> Image:
        """One image, by name, digest or name@sha256:digest."""
        return images.get(ref)

    @router.post("/images/{ref}/verify")
    async def verify_image(request: Request, ref: str) -> Image:
        """Reads every byte again; 503 when one differs."""
        said(request, "image-verify", ref)
        return await checks.run(caller_of(request).party, lambda: images.verify(ref))

    @router.delete("/images/{ref}", status_code=204)
    def remove_image(request: Request, ref: str) -> None:
        """Removes an image that no service refers to."""
        said(request, "image-rm", ref)
        images.remove(ref)

    _suggestions(router, images)
    _order(router, images)
    return router


def _order(router: APIRouter, images: Images) -> None:
    @router.put("/images/{ref}/names/{name}")
    def tag_image(request: Request, ref: str, name: str) -> Tagged:
        """Gives the image a name, and takes it from the one that it meant; services go on with what they have."""
        said(request, "image-tag", name)
        return images.tag(name, ref)

    @router.post("/images/{ref}/trust")
    def trust_image(request: Request, ref: str) -> Image:
        """Takes back that the image is suspect, which healing has said of it: what failed by it is tried again."""
        said(request, "image-trust", ref)
        return images.trust(ref)

    @router.get("/unused-images")
    def list_unused(older_than_s: Annotated[float, Query(ge=0)] = 0.0) -> list[Image]:
        """Images that no service refers to, and that were added more than so many seconds ago."""
        return list(images.unused(older_than_s=older_than_s))

    @router.delete("/unused-images")
    def prune_images(request: Request, older_than_s: Annotated[float, Query(ge=0)] = 0.0) -> list[Image]:
        """Removes them, with all their names; returns what they were."""
        said(request, "image-prune", "")
        return list(images.prune(older_than_s=older_than_s))


def _suggestions(router: APIRouter, images: Images) -> None:
    @router.put("/images/{ref}/suggested")
    def suggest_deadlines(request: Request, ref: str, deadlines: Deadlines) -> Image:
        """Keeps what the image's test measured: the deadlines (seconds) of roles that say none."""
        said(request, "image-suggest", ref)
        if not (0 < deadlines.setup_s <= DAY_S and 0 < deadlines.ready_s <= DAY_S):
            raise InvalidInput(
                "a deadline is more than nothing and at most a day", hint=f"seconds, up to {DAY_S:.0f}"
            )
        return images.suggest(ref, deadlines)

    @router.put("/images/{ref}/tried")
    def keep_tried(request: Request, ref: str, tried: Annotated[Tried | None, Body()] = None) -> Image:
        """Keeps by which roads the image's reimages went, or that nobody knows; with which QEMU says the host."""
        said(request, "image-tried", ref)
        for found in filter(None, (tried.plain, tried.storage) if tried else ()):
            if len(found.why) > WHY_MOST or not found.why.isprintable():
                raise InvalidInput(
                    "why there is no warmer road is not a line of text", hint=f"at most {WHY_MOST} characters"
                )
        return images.keep_tried(ref, tried)
