"""Services: the documents come as text, so that line numbers are those of the user's file."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from orchestrator.api.comparison import (
    Compared,
    EndpointView,
    probed_of,
    seats_of,
    traffic_of,
    view_compared,
    view_endpoints,
)
from orchestrator.api.guard import said
from orchestrator.api.peers import caller_of
from orchestrator.api.revision_views import RevisionView, RolloutView, view_revisions, view_rollout
from orchestrator.api.views import (
    AppliedView,
    CheckedView,
    Counts,
    Documents,
    Pause,
    Selector,
    ServiceFile,
    ServiceView,
    Swap,
    Undo,
    view_applied,
    view_checked,
    view_service,
)
from orchestrator.control.asking import labelled
from orchestrator.control.requests import Control
from orchestrator.errors import InvalidInput
from orchestrator.model import Progress, Slot

_DOCUMENT = {
    "requestBody": {
        "required": True,
        "content": {"application/yaml": {"schema": {"type": "string", "description": "one service"}}},
    }
}
_NAMES_LOGGED = 10  # of documents that are checked together
_SERVICE = re.compile(r"^service:[ \t]*(\S.*)", re.MULTILINE)
IfMatch = Annotated[str | None, Header(description="the revision that was read, as the ETag told; 409 when stale")]
IfNoneMatch = Annotated[str | None, Header(description="`*`: only when there is no such service yet")]


async def document(request: Request) -> str:
    """The body as text; raises InvalidInput when it is not UTF-8."""
    body = await request.body()
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"line {line}: byte {body[error.start]:#04x} is not UTF-8") from error


def _name_in(text: str) -> str:
    """The service that a document seems to be about, for the log: also one that turns out to be none."""
    found = _SERVICE.search(text)
    return found[1].rstrip() if found else "?"


DocumentText = Annotated[str, Depends(document)]


def expected_revision(if_match: IfMatch = None, if_none_match: IfNoneMatch = None) -> int | None:
    """The revision that the caller has read: 0 for "there must be none", None for "whatever it is"."""
    if if_none_match == "*":
        return 0
    if if_match is None or if_match == "*":
        return None
    digits = if_match.removeprefix("W/").strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise InvalidInput(f"If-Match {if_match[:40]!r} is no revision", hint="send the ETag as it came")
    return int(digits)


Expected = Annotated[int | None, Depends(expected_revision)]


def service_routes(control: Control) -> APIRouter:
    """The routes under /v1/services."""
    router = APIRouter(prefix="/v1/services", tags=["services"])

    @router.get("")
    def list_services(seats: bool = False, labels: Selector = "") -> list[ServiceView]:
        """Services, by name; with `seats`, how many members the balancer has up. User data is never shown."""
        found = labelled(control.services(), labels)
        taken = seats_of(control) if seats else None
        return [view_service(one, control.instances(one.address), taken, control.held_up(one)) for one in found]

    @router.post("", openapi_extra=_DOCUMENT)
    def apply_service(
        request: Request,
        text: DocumentText,
        expected: Expected,
        response: Response,
        dry_run: bool = False,
        slot: Slot = Slot.PRODUCTION,
    ) -> AppliedView:
        """Makes the service as the document says: new, changed, or nothing at all. A dry run only tells.

        In the staging slot it is a deployment of its own, beside what is in production.
        """
        where = () if slot is Slot.PRODUCTION else ("--slot", slot)
        said(request, "dry-run" if dry_run else "apply", _name_in(text), *where)
        applied = control.apply(text, slot=slot, dry_run=dry_run, expected=expected, by=caller_of(request).uid)
        if applied.service is not None:
            response.headers["etag"] = f'"{applied.service.revision}"'
        return view_applied(applied, control.instances)

    @router.post("/check")
    def check_services(request: Request, wish: Documents) -> list[CheckedView]:
        """What applying the documents one after the other would do, each to what those before it leave."""
        said(request, "check", *(_name_in(text) for text in wish.documents[:_NAMES_LOGGED]))
        return [view_checked(one) for one in control.check(wish.documents, wish.slot)]

    @router.get("/{name}")
    def get_service(name: str, response: Response, seats: bool = False) -> ServiceView:
        """One service: what is in production of it, or SERVICE@staging; its ETag is its revision."""
        service = control.service(name)
        response.headers["etag"] = f'"{service.revision}"'
        taken = seats_of(control) if seats else None
        return view_service(service, control.instances(service.address), taken, control.held_up(service))

    @router.get("/{name}/endpoints")
    def list_endpoints(name: str) -> list[EndpointView]:
        """What the service's endpoints carry, and have carried since the balancer was loaded last; and how the last
        checks of their members went.
        """
        return view_endpoints(control.service(name), traffic_of(control), probed_of(control))

    @router.get("/{name}/file")
    def get_service_file(name: str) -> ServiceFile:
        """The service as a file that applying finds nothing to do for. User data is never shown: it is `kept`."""
        return ServiceFile(name=name, text=control.file_of(name))

    @router.put("/{name}/instances")
    def scale_service(request: Request, name: str, counts: Counts, expected: Expected) -> ServiceView:
        """Changes how many instances roles have: all that are named, or none."""
        said(request, "scale", name, *(f"{role}={count}" for role, count in counts.roles.items()))
        service = control.scale(name, counts.roles, expected=expected)
        return view_service(service, control.instances(service.address))

    _slots(router, control)
    _rollouts(router, control)

    return router


def _slots(router: APIRouter, control: Control) -> None:
    @router.post("/{name}/swap")
    def swap_service(request: Request, name: str, wish: Swap) -> list[ServiceView]:
        """Exchanges what is in production and what is in staging, and with it their VIPs; what is open stays.

        409 where clients would notice, unless it is forced: nothing in staging, or nobody there who serves.
        """
        said(request, "swap", name, *(("--force",) if wish.force else ()))
        swapped = control.swap(name, force=wish.force)
        return [view_service(one, control.instances(one.address)) for one in swapped]

    @router.delete("/{name}", status_code=202)
    def delete_service(
        request: Request, name: str, expected: Expected, forget_unreadable: bool = False
    ) -> ServiceView:
        """Asks for the removal of the service with all its instances; watch them go, or ask until it is gone.

        What is in staging goes as well; SERVICE@staging and SERVICE@production are one of them alone. An instance
        whose record cannot be read keeps the service (see `held_up`), unless such records are to be forgotten.
        """
        said(request, "delete", name, *(("--forget-unreadable",) if forget_unreadable else ()))
        service = control.remove(name, expected=expected, forgets=forget_unreadable)
        return view_service(service, control.instances(service.address), held_up=control.held_up(service))


def _rollouts(router: APIRouter, control: Control) -> None:
    def standing(name: str) -> RolloutView:
        service, known, rollouts = control.service(name), control.revisions(name), control.rollouts(name)
        instances, running = control.instances(name), rollouts[-1] if rollouts else None
        compared: tuple[Compared, ...] = ()
        if running is not None and running.progress is Progress.RUNNING:
            compared = view_compared(running, instances, seats_of(control), traffic_of(control))
        return view_rollout(service, known, rollouts, instances, compared)

    @router.get("/{name}/revisions", tags=["rollouts"])
    def list_revisions(name: str) -> list[RevisionView]:
        """The last versions of the service's file, the oldest first: what changed, and who has it."""
        return view_revisions(control.revisions(name), control.instances(name))

    @router.get("/{name}/rollout", tags=["rollouts"])
    def get_rollout(name: str) -> RolloutView:
        """The rollout that runs, or the last one, and of which revision each instance is."""
        return standing(name)

    @router.put("/{name}/rollout", tags=["rollouts"])
    def pause_rollout(request: Request, name: str, wish: Pause) -> RolloutView:
        """Pauses the rollout that runs, or goes on with it: with what a halted one has left to do as well."""
        said(request, "rollout", "pause" if wish.paused else "resume", name)
        if wish.paused:
            control.pause(name)
        else:
            control.resume(name, by=caller_of(request).uid)
        return standing(name)

    @router.post("/{name}/rollout/next", tags=["rollouts"])
    def next_domain(request: Request, name: str) -> RolloutView:
        """Lets the next domain of a rollout go that waits for that: upgrade.mode is manual; 409 where none waits."""
        said(request, "rollout", "next", name)
        control.next_domain(name)
        return standing(name)

    @router.post("/{name}/rollout/undo", tags=["rollouts"])
    def undo_rollout(
        request: Request, name: str, wish: Undo, expected: Expected, response: Response, dry_run: bool = False
    ) -> AppliedView:
        """Applies an old revision again, as a new one; a rollout that runs is superseded. A dry run only tells."""
        back = () if wish.to is None else ("--to", str(wish.to))
        said(request, "rollout", "undo", name, *back, *(("--dry-run",) if dry_run else ()))
        by = caller_of(request).uid
        applied = control.undo(name, to=wish.to, dry_run=dry_run, expected=expected, by=by)
        if applied.service is not None:
            response.headers["etag"] = f'"{applied.service.revision}"'
        return view_applied(applied, control.instances)
