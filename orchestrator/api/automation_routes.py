"""Automation: that what vmrole does by itself stands still, of a service or of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from fastapi import APIRouter, Request
from pydantic import StrictBool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.guard import said
from orchestrator.api.heeded import WHOLE_BODY
from orchestrator.api.peers import caller_of
from orchestrator.control.requests import Control
from orchestrator.model.standstill import Standstill

AUTOMATION: Final = b"vmrole-automation"  # a header; absent: none is paused, or the daemon is too old to say


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StandstillView:
    """That automation is paused: no healing, no step of a rollout, no other try."""

    service: str  # "": of all services
    since_s: float  # seconds since the epoch
    by: int | None  # uid
    says: str  # that it is so, in words
    until: str  # what that means, and what ends it


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AutomationWish:
    """The body that pauses automation of a service, with both its slots, or of all for "", or has it go on."""

    __pydantic_config__ = WHOLE_BODY

    service: str = ""
    paused: StrictBool


def automation_routes(control: Control) -> APIRouter:
    """The routes under /v1/automation."""
    router = APIRouter(prefix="/v1/automation", tags=["automation"])

    @router.get("")
    def list_standstills() -> list[StandstillView]:
        """Where automation is paused, the whole host first; nowhere, as a rule."""
        return _views(control.standstills())

    @router.put("")
    def pause_automation(request: Request, wish: AutomationWish) -> list[StandstillView]:
        """Pauses healing, steps of rollouts and other tries, or has them go on; answers as the list does.

        What has begun ends first; what somebody asks for by name is done all the same.
        """
        said(request, "pause" if wish.paused else "resume", *([wish.service] if wish.service else []))
        if wish.paused:
            return _views(control.stand_still(wish.service, by=caller_of(request).uid))
        return _views(control.go_on(wish.service))

    return router


def _views(found: Iterable[Standstill]) -> list[StandstillView]:
    return [
        StandstillView(service=one.service, since_s=one.since_s, by=one.by, says=one.says, until=one.until)
        for one in found
    ]


class Told:
    """ASGI middleware: each answer to a question says whether anything is paused, so that nobody asks twice."""

    def __init__(self, app: ASGIApp, control: Control) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start" and self._control.is_paused:
                message = {**message, "headers": [*message.get("headers", ()), (AUTOMATION, b"paused")]}
            await send(message)

        await self._app(scope, receive, telling if scope["type"] == "http" and scope["method"] == "GET" else send)
