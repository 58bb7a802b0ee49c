"""Images that are made of instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request

from orchestrator.api.guard import said
from orchestrator.api.image_routes import Images
from orchestrator.api.peers import caller_of
from orchestrator.api.places import Threads
from orchestrator.control.requests import Control
from orchestrator.model import Image

CAPTURES_MAX = 2  # each reads a disk from end to end, and writes another


def capture_routes(control: Control, images: Images, go_on: Callable[[], None]) -> APIRouter:
    """The route under /v1/instances/NAME/image. `go_on` is asked all the while, and raises when the API ends."""
    router = APIRouter(prefix="/v1/instances/{name}", tags=["images"])
    work = Threads("captures", CAPTURES_MAX)

    @router.post("/image", status_code=201)
    async def capture_image(
        request: Request, name: str, called: Annotated[str, Query(description="the image's name")]
    ) -> Image:
        """Makes an image of the system disk of an instance that is off: a copy of it and of what it lies on.

        Local storage is no part of it, and nothing in it is changed: whose machine it was stands in it, unless the
        guest has forgotten that before. 409 while the instance is not off, or when somebody starts it meanwhile.
        """
        said(request, "image-capture", name, called)

        def make() -> Image:
            return images.capture(control.instance(name), called, lambda _count: go_on())

        return await work.run(caller_of(request).party, make)

    return router
