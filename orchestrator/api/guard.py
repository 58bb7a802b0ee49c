"""What stands before every request: who may ask for it, how much they may send, and a log line for each write."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import problems, rights
from orchestrator.api.gate import Visitor
from orchestrator.api.peers import Caller, is_owner
from orchestrator.api.places import Places
from orchestrator.errors import Busy, Denied, InvalidInput, NotFound
from orchestrator.log import Seldom
from orchestrator.model.right import Right

BODY_MAX_BYTES = (
    1 << 20
)  # a service document of 100 roles is a tenth of it; images are streamed and have a cap of their own
WRITES_MAX = 64  # each may hold a whole body in memory
_REFUSALS_TOLD_EVERY_S = 1.0
_LAST = "gets_a_last_answer"
_READS = ("GET", "HEAD", "OPTIONS")
_UNCAPPED = (("POST", "/v1/images"), ("POST", "/v1/restore"))

_PLAIN = re.compile(r"[A-Za-z0-9._@:=,-]{1,80}")
_WORD_MAX_CHARS = 80

_CHANGING = Busy(
    "the records of a backup take the place of these: nothing is changed now", hint="try again in a moment"
)

_NOTHING = NotFound("there is nothing at this path", hint="docs/openapi.json has what there is")

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware. A request whose connection does not say who asks is refused."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._writes = Places("changes", WRITES_MAX)
        self._refusals = Seldom(log, _REFUSALS_TOLD_EVERY_S)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        caller: Caller | None = state.get("caller")
        visitor: Visitor | None = state.get("visitor")
        try:
            if visitor is not None:
                caller = state["caller"] = visitor.caller(scope["headers"])
                receive, send = _while_he_stands(caller, visitor, state, receive, send)
            caller = _admitted(scope, caller)
        except (Denied, Busy) as refused:
            who = caller or visitor or "an unknown peer"
            self._refusals.warning("%s %s by %s: refused", scope["method"], _path(scope), who)
            await _refusal(refused, known=caller is not None or visitor is None)(scope, receive, send)
            return
        writes = scope["method"] not in _READS
        if writes:
            send = _logging(scope, send, str(caller))
            if scope["app"].state.restores.waits:
                await problems.answer(_CHANGING)(scope, receive, send)
                return
        if not rights.is_known(scope["path"]):
            await problems.answer(_NOTHING)(scope, receive, send)
            return
        if is_upload(scope):
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > BODY_MAX_BYTES:
            await _too_large()(scope, receive, send)
            return
        with contextlib.ExitStack() as held:
            try:
                if writes:
                    held.enter_context(self._writes.place(caller.party))
            except Busy as busy:
                await problems.answer(busy)(scope, receive, send)
                return
            await self._app(scope, _capped(receive), send)


def _while_he_stands(
    caller: Caller, visitor: Visitor, state: Mapping[str, Any], receive: Receive, send: Send
) -> tuple[Receive, Send]:
    """Nothing more goes to a caller whose token was taken away or has expired, or comes from him: a watch and an
    upload would outlast it. Whose request has taken his own away hears that it has.
    """

    def stands() -> bool:
        return caller.stands() or _LAST in state

    async def take() -> Message:
        message = await receive()
        if stands():
            return message
        visitor.hang_up()
        return {"type": "http.disconnect"}

    async def give(message: Message) -> None:
        if stands():
            await send(message)
        else:
            visitor.hang_up()

    return take, give


def _refusal(error: Denied | Busy, *, known: bool) -> ASGIApp:
    """403 for somebody who may not; 401 and 429 for nobody knows whom, who goes on sending for nothing."""
    if known:
        return problems.answer(error)
    answer = problems.answer(error, 401 if isinstance(error, Denied) else 429)
    if isinstance(error, Denied):
        answer.headers["www-authenticate"] = "Bearer"
    answer.headers["connection"] = "close"
    return answer


def is_upload(scope: Mapping[str, Any]) -> bool:
    """Whether the request brings an image or records, which are streamed, and not a document."""
    return (scope["method"], scope["path"]) in _UNCAPPED


def _admitted(scope: Scope, caller: Caller | None) -> Caller:
    """The caller, who may ask this; raises Denied when he may not, or when nobody says who he is."""
    if caller is None:
        raise Denied("this connection does not say who asks", hint="use the daemon's socket")
    at_socket = "be root or a member of the daemon's group"
    if caller.right is None:
        raise Denied(f"{caller.party} may not use this daemon", hint=at_socket)
    if caller.uid is None and rights.is_local(scope["method"], scope["path"]):
        raise Denied("this is done on the host itself", hint="go there, and use the daemon's socket")
    if not is_owner(caller.uid) and rights.is_of_the_owner(scope["method"], scope["path"]):
        raise Denied("this is for root of the daemon's host alone", hint="sudo, on that host")
    needed = rights.needed(scope["method"], scope["path"])
    if caller.right.holds(needed):
        return caller
    hint = at_socket if caller.uid is not None else f"come with the right of an {needed}"
    match caller.right:
        case Right.VIEWER:
            raise Denied("here one may only look", hint=hint)
        case Right.OPERATOR | Right.ADMIN:
            raise Denied(f"this is for an {needed} alone, and {caller.party} is an {caller.right}", hint=hint)


def _path(scope: Scope) -> str:
    return repr(scope["path"])  # as data: a path may hold anything


def _too_large() -> ASGIApp:
    error = InvalidInput(f"the body is larger than {BODY_MAX_BYTES} bytes", hint="send a smaller document")
    answer = problems.answer(error, 413)
    answer.headers["connection"] = "close"  # what is still being sent is no request
    return answer


def _capped(receive: Receive) -> Receive:
    taken = 0

    async def capped() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > BODY_MAX_BYTES:
            raise HTTPException(413, f"the body is larger than {BODY_MAX_BYTES} bytes")
        return message

    return capped


def said(request: Request, *words: str) -> None:
    """What the request asks for, in the words of the command line, for the log line of a write."""
    request.state.asked = " ".join(word if _PLAIN.fullmatch(word) else repr(word[:_WORD_MAX_CHARS]) for word in words)


def repeated(request: Request) -> None:
    """The request is one of many that say the same: it has no line in the log."""
    request.state.is_repeated = True


def let_answer(request: Request) -> None:
    """The request's own answer goes to its caller also when he may ask nothing more."""
    setattr(request.state, _LAST, True)


def _logging(scope: Scope, send: Send, who: str) -> Send:
    async def logged(message: Message) -> None:
        if message["type"] == "http.response.start":
            asked = scope["state"].get("asked", "")
            what = f" ({asked})" if asked else ""
            level = logging.DEBUG if scope["state"].get("is_repeated") else logging.INFO
            log.log(level, "%s %s%s by %s: %d", scope["method"], _path(scope), what, who, message["status"])
        await send(message)

    return logged
