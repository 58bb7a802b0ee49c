"""What stands before every request: who may ask, how much they may send, and a log line for each write."""

from __future__ import annotations

import logging

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api import problems
from orchestrator.api.peers import Admission, Peer
from orchestrator.errors import Denied, InvalidInput

BODY_MAX_BYTES = (
    1 << 20
)  # a service document of 100 roles is a tenth of it; images are streamed and have a cap of their own
_READS = ("GET", "HEAD", "OPTIONS")
_UNCAPPED = ("POST", "/v1/images")

log = logging.getLogger(__name__)


class Guard:
    """ASGI middleware. Without a peer in the connection's state (an app in a test) nobody is refused."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        peer: Peer | None = scope.get("state", {}).get("peer")
        if peer is not None and not self._admission.allows(peer):
            log.warning("%s %s by uid %d (pid %d): refused", scope["method"], _path(scope), peer.uid, peer.pid)
            hint = "be root or a member of the daemon's group"
            await problems.answer(Denied(f"uid {peer.uid} may not use this daemon", hint=hint))(scope, receive, send)
            return
        if scope["method"] not in _READS:
            send = _logging(scope, send, peer)
        if (scope["method"], scope["path"]) != _UNCAPPED:
            length = dict(scope["headers"]).get(b"content-length", b"0")
            if not length.isdigit() or int(length) > BODY_MAX_BYTES:
                await _too_large()(scope, receive, send)
                return
            receive = _capped(receive)
        await self._app(scope, receive, send)


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


def _logging(scope: Scope, send: Send, peer: Peer | None) -> Send:
    who = f"uid {peer.uid} (pid {peer.pid})" if peer else "an unknown peer"

    async def logged(message: Message) -> None:
        if message["type"] == "http.response.start":
            log.info("%s %s by %s: %d", scope["method"], _path(scope), who, message["status"])
        await send(message)

    return logged
