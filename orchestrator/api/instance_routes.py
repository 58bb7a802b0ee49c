"""Instances, long work over them, and the ledger; each can be watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from orchestrator.api import console_log, sse
from orchestrator.api.comparison import seats_of
from orchestrator.api.guard import said
from orchestrator.api.lookouts import EventLookout, InstanceLookout, OperationLookout
from orchestrator.api.peers import caller_of
from orchestrator.api.places import Threads
from orchestrator.api.shown import Shown
from orchestrator.api.sse import EVENTS_MAX, Watchers
from orchestrator.api.views import InstanceView, Protection, Selector, Why, Wish, view_instance
from orchestrator.control import host_keys
from orchestrator.control.asking import selected
from orchestrator.control.requests import Control
from orchestrator.errors import InvalidInput, NotFound, Transient
from orchestrator.model import Agent, Event, InstanceName, Operation, Silence

QUESTIONS_MAX = 16  # a silent guest keeps each waiting for seconds
CONSOLE_MAX_BYTES = 1 << 20
_AFTER = "the console-place of an earlier answer: instead of the end, what comes first behind it"
_NUMBER_MAX = (1 << 63) - 1  # what SQLite can compare
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "server-sent events"}
}
_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
LastEventId = Annotated[str | None, Header(description="go on after this event")]
Subject = Annotated[str, Query(description='an instance, a role ("web.shop") or a service; "" for all')]


def instance_routes(control: Control, watchers: Watchers, console: Callable[[InstanceName], Path]) -> APIRouter:
    """The routes under /v1/instances, /v1/operations and /v1/events."""
    router = APIRouter(prefix="/v1")
    _instances(router, control, watchers)
    _console(router, control, console)
    _operations(router, control, watchers)
    _events(router, control, watchers)
    return router


def _agent(control: Control, name: str) -> Agent:
    instance = control.instance(name)
    answer = control.agent(instance)
    if isinstance(answer, Silence):
        raise Transient(f"the agent of {instance.name} is silent: {answer.reason}", hint="try again when it is up")
    return answer


def _host_keys(control: Control, name: str) -> host_keys.HostKeys:
    instance = control.instance(name)
    return host_keys.asked(instance, control.service_of(instance), control.kept_keys, control.inside)


def _instances(router: APIRouter, control: Control, watchers: Watchers) -> None:
    questions = Threads("questions to guests", QUESTIONS_MAX)

    shown = Shown()

    @router.get("/instances", tags=["instances"], response_model=list[InstanceView])
    def list_instances(subject: Subject = "", seats: bool = False, labels: Selector = "") -> Response:
        """Instances by service, role and number; with `seats`, how the balancer sees each."""
        found = selected(control.chosen(subject), labels)
        taken = (seats_of(control) if seats else None) or {}
        return Response(shown.listed(found, control, taken), media_type="application/json")

    @router.put("/protection", tags=["instances"])
    def protect(request: Request, wish: Protection) -> list[InstanceView]:
        """Protects instances from every verb and from healing, or ends that."""
        said(request, "protect" if wish.protected else "unprotect", wish.subject)
        if not wish.subject:
            raise InvalidInput("no instance, role or service is named", hint="write web-0, web.shop or shop")
        changed = control.protect(wish.subject, on=wish.protected, labels=wish.labels)
        return [view_instance(one, control.service_of(one)) for one in changed]

    @router.get("/instances/watch", tags=["instances"], response_class=Response, responses=_STREAM)
    async def watch_instances(request: Request, subject: Subject = "", labels: Selector = "") -> Response:
        """All there are as `instance`, then `current`, then each change; `gone` with the last view of a removed one.

        The subject need not exist (yet, or any more). Whose labels come to be others goes, or comes, as well.
        """
        return watchers.respond(InstanceLookout(subject, labels), caller_of(request).party)

    @router.get("/instances/{name}", tags=["instances"])
    def get_instance(name: str) -> InstanceView:
        """One instance, "web-0.shop" or "web-0" when that is unique."""
        instance = control.instance(name)
        seat = (seats_of(control) or {}).get(instance.name)
        return view_instance(instance, control.service_of(instance), seat)

    @router.get("/instances/{name}/why", tags=["instances"])
    def get_why(name: str) -> Why:
        """In sentences: what the instance waits for, since when, until when, and what came before."""
        return Why(name=control.instance(name).name, sentences=control.why(name))

    @router.get("/instances/{name}/agent", tags=["instances"])
    async def get_agent(request: Request, name: str) -> Agent:
        """What the guest's agent says of itself and of its system, asked now; 503 while it is silent."""
        return await questions.run(caller_of(request).party, lambda: _agent(control, name))

    @router.get("/instances/{name}/host-keys", tags=["instances"])
    async def get_host_keys(request: Request, name: str) -> host_keys.HostKeys:
        """The public keys of the guest's sshd: those that the instance keeps, else what its agent shows now."""
        return await questions.run(caller_of(request).party, lambda: _host_keys(control, name))


def _console(router: APIRouter, control: Control, console: Callable[[InstanceName], Path]) -> None:
    @router.get("/instances/{name}/console", tags=["instances"], response_class=Response, responses=_TEXT)
    def get_console(
        name: str,
        tail_bytes: Annotated[int, Query(ge=1, le=CONSOLE_MAX_BYTES)] = 65_536,
        after: Annotated[str | None, Query(pattern=console_log.PLACE_PATTERN, description=_AFTER)] = None,
    ) -> Response:
        """The last bytes of the console's log as the guest wrote them: they may hold terminal escapes.

        The header console-place says where they end.
        """
        instance = control.instance(name)
        log = console(instance.name)
        try:
            part = console_log.end(log, tail_bytes) if after is None else console_log.after(log, after, tail_bytes)
        except FileNotFoundError as error:
            raise NotFound(f"{instance.name} has no console log yet", hint="its VM has not started") from error
        return Response(part.text, media_type="text/plain; charset=utf-8", headers={"console-place": part.place})


def _operations(router: APIRouter, control: Control, watchers: Watchers) -> None:
    @router.get("/operations", tags=["operations"])
    def list_operations() -> list[Operation]:
        """Running operations and the last finished ones, oldest first."""
        return control.operations()

    @router.post("/operations", tags=["operations"], status_code=202)
    def begin_operation(request: Request, wish: Wish, response: Response) -> Operation:
        """Asks for a restart, reimage, rebuild, stop or start; the answer is the operation that does it."""
        said(request, wish.verb, wish.subject)
        operation = control.act(wish.verb, wish.subject, together=wish.together, labels=wish.labels, cold=wish.cold)
        response.headers["location"] = f"/v1/operations/{operation.id}"
        return operation

    @router.get("/operations/{operation_id}", tags=["operations"])
    def get_operation(operation_id: str) -> Operation:
        """One operation."""
        return control.operation(operation_id)

    @router.get("/operations/{operation_id}/watch", tags=["operations"], response_class=Response, responses=_STREAM)
    async def watch_operation(request: Request, operation_id: str) -> Response:
        """`operation` and `instance` at each change, and `end` when it is over."""
        return watchers.respond(OperationLookout(operation_id), caller_of(request).party)


def _events(router: APIRouter, control: Control, watchers: Watchers) -> None:
    @router.get("/events", tags=["events"])
    def list_events(
        subject: Subject = "",
        after: Annotated[int, Query(ge=0, le=_NUMBER_MAX)] = 0,
        limit: Annotated[int, Query(ge=1, le=EVENTS_MAX)] = EVENTS_MAX,
    ) -> list[Event]:
        """The newest events after a number, oldest first."""
        return list(control.events(subject, after, limit))

    @router.get("/events/watch", tags=["events"], response_class=Response, responses=_STREAM)
    async def watch_events(
        request: Request,
        subject: Subject = "",
        after: Annotated[int, Query(ge=0, le=_NUMBER_MAX)] = 0,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Each event as it is told; `gap` to a reader that has fallen too far behind."""
        lookout = EventLookout(subject, max(after, _number(last_event_id)), sse.EVENTS_MAX)
        return watchers.respond(lookout, caller_of(request).party)


def _number(last_event_id: str | None) -> int:
    if last_event_id is None:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < len(str(_NUMBER_MAX))):
        raise InvalidInput(f"Last-Event-ID {last_event_id[:40]!r} is no number of an event")
    return int(last_event_id)
