"""The app: which parts it is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import anyio.to_thread
from fastapi import Depends, FastAPI, Request

from orchestrator import __version__
from orchestrator.api import heeded, problems
from orchestrator.api.automation_routes import Told, automation_routes
from orchestrator.api.blob_routes import blob_routes
from orchestrator.api.capture_routes import capture_routes
from orchestrator.api.drive_routes import drive_routes
from orchestrator.api.evidence_routes import Kept, evidence_routes
from orchestrator.api.guard import Guard, said
from orchestrator.api.image_routes import Images, Uploads, image_routes
from orchestrator.api.inside_routes import inside_routes
from orchestrator.api.instance_routes import instance_routes
from orchestrator.api.lease_routes import lease_routes
from orchestrator.api.records_routes import Restores, records_routes
from orchestrator.api.service_routes import service_routes
from orchestrator.api.sse import Watchers
from orchestrator.api.token_routes import token_routes
from orchestrator.api.views import Health
from orchestrator.control.attaching import Attaching
from orchestrator.control.requests import Control
from orchestrator.control.tokens import Tokens
from orchestrator.control.verify import Finding
from orchestrator.model import InstanceName
from orchestrator.ports import BlobFiles

_SUMMARY = "Named instances from read-only images: services, instances, images, long work and its events."


def create_app(
    control: Control,
    images: Images,
    *,
    tokens: Tokens,
    attaching: Attaching,
    blobs: BlobFiles,
    console: Callable[[InstanceName], Path],
    findings: Callable[[], Sequence[Finding]],
    repair: Callable[[], Sequence[Finding]],
    evidence: Kept,
    backup: Callable[[], BinaryIO],
    restores: Restores,
) -> FastAPI:
    """The API over the core.

    `tokens`, `blobs` and the drives of `attaching` are those that the API makes and takes away. `console` says where
    the console log of an instance lies, `evidence` keeps what explains failures, `findings` compares the host with
    the records, and `repair` removes what no record knows and tells what that was. `backup` is all records as they
    are now; `restores` takes one, and has the daemon begin anew with it. Who may ask, `serve` knows.
    """
    app = FastAPI(
        title="vmrole",
        version=__version__,
        summary=_SUMMARY,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": {"model": problems.ProblemBody}, "5XX": {"model": problems.ProblemBody}},
        dependencies=[Depends(heeded.query_is_heeded), Depends(heeded.body_is_heeded)],
        generate_unique_id_function=lambda route: route.name,
    )
    watchers = app.state.watchers = Watchers(control)
    app.state.uploads = Uploads()
    app.state.restores = restores
    problems.install(app)
    app.add_middleware(Told, control=control)
    app.add_middleware(Guard)

    own_thread = anyio.CapacityLimiter(1)  # Whatever all other requests wait for, this one is answered.

    @app.get("/healthz", tags=["daemon"])
    async def health() -> Health:
        """Whether the daemon answers, and its store."""
        revision = await anyio.to_thread.run_sync(control.wait, 0, 0.0, limiter=own_thread)
        return Health(status="ok", version=__version__, revision=revision)

    @app.get("/v1/verify", tags=["daemon"])
    def verify() -> list[Finding]:
        """What on this host contradicts the records; an empty list is health."""
        return list(findings())

    @app.post("/v1/verify/repair", tags=["daemon"])
    def repair_strays(request: Request) -> list[Finding]:
        """Removes what no record knows; local storage stays. Answers with what was removed."""
        said(request, "verify", "--repair")
        return list(repair())

    app.include_router(service_routes(control))
    app.include_router(instance_routes(control, watchers, console))
    app.include_router(inside_routes(control))
    app.include_router(automation_routes(control))
    app.include_router(lease_routes(control))
    app.include_router(evidence_routes(control, evidence))
    app.include_router(drive_routes(attaching.drives, attaching))
    app.include_router(blob_routes(control, blobs))
    app.include_router(image_routes(images))
    app.include_router(capture_routes(control, images, app.state.uploads.go_on))
    app.include_router(token_routes(tokens))
    app.include_router(records_routes(backup, restores))
    return app


def description(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 description, as docs/openapi.json keeps it."""
    found = app.openapi()
    found["info"]["version"] = "v1"  # of the API: the program's version would change the file at each release
    return found
