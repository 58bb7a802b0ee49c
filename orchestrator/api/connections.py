"""One connection each: who is at the other end, how long he may take, and how many there may be.

A connection costs a file descriptor, and without free ones the daemon cannot run a command, talk to a guest or to the
balancer: healing comes before asking, so the last descriptors are not the API's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Sequence

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.api import problems
from orchestrator.api.gate import Visitor
from orchestrator.api.guard import is_upload
from orchestrator.api.listening import Listener
from orchestrator.api.peers import Caller, peer_of
from orchestrator.api.places import Places
from orchestrator.api.sending import HANG_UP
from orchestrator.errors import Busy, InvalidInput, Unreachable, VmroleError, WaitedTooLong
from orchestrator.log import Seldom

HEADERS_WITHIN_S = 10.0  # from connecting, or from the last answer, to the end of a request's headers
BODY_WITHIN_S = 60.0  # of a document; uploads have a pace to keep instead
TAKE_WITHIN_S = 60.0  # for a client that does not read its answer
CONNECTIONS_MAX = 512
DESCRIPTORS_KEPT = 128  # for what the daemon does by itself
TOLD_EVERY_S = 60.0
HEADERS_BYTES_MAX = 64 * 1024
CHUNKS_FREE = 1024  # of a request, however small; and then one for each so many bytes of it
CHUNK_BYTES = 256

log = logging.getLogger(__name__)


class Doors:
    """What all connections of one server share: who may come in by which listener, and how many. Event loop only."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._admissions = {str(listener.path): listener.admission for listener in listeners}
        self.places = Places("connections", CONNECTIONS_MAX)
        self.refusals = Seldom(log, TOLD_EVERY_S)
        self._ended = False

    def end(self) -> None:
        """The server stops: who was let in a moment ago and is met only now would be waited for by nobody."""
        self._ended = True

    def caller(self, transport: asyncio.Transport) -> Caller | None:
        """Who came; None by a listener that is none of ours. Raises Unreachable when he is gone already."""
        admission = self._admissions.get(transport.get_extra_info("sockname"))
        return None if admission is None else admission.caller(peer_of(transport.get_extra_info("socket")))

    def check_room(self, transport: asyncio.Transport) -> None:
        """Raises Busy when this connection has one of the last descriptors: it has got the lowest that was free.

        And when the server stops.
        """
        if self._ended:
            raise Busy("the daemon is being stopped", hint="ask again when it is back")
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        kept = min(DESCRIPTORS_KEPT, limit // 4)
        self.places.most = min(CONNECTIONS_MAX, max(2, (limit - kept) // 2))
        if transport.get_extra_info("socket").fileno() >= limit - kept:
            raise Busy("the daemon has no file descriptors left for this", hint="raise its limit: LimitNOFILE=65536")


class _Coarse(h11.Connection):
    """Takes a body in chunks as long as they are worth their while.

    Each costs the loop as much as a whole read, whatever is in it: of one byte each, a connection would have so many
    in every read that all others waited for seconds.
    """

    _chunks = _bytes = 0  # of the request that is being received

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """See h11. RemoteProtocolError for too many chunks with too little in them."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += event.chunk_start
            self._bytes += len(event.data)
            if self._chunks > CHUNKS_FREE + self._bytes // CHUNK_BYTES:
                raise h11.RemoteProtocolError("the chunks of its body are too small")
        return event


class Connection(H11Protocol):
    """HTTP/1.1 with the caller in the state of every request: the peer at a unix socket, and what the listener that
    he came by lets him do. From the network there is a visitor instead, whose requests say one by one who asks. A
    connection with neither is refused by the guard.
    """

    doors: Doors  # set by `connection_of`
    visitor: Visitor | None = None  # of a connection from the network, which has TLS by now
    place: contextlib.ExitStack | None = None  # what it has held since before the handshake

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Reads the credentials once: they are those of the moment of connect(2)."""
        super().connection_made(transport)
        self.conn = _Coarse(h11.SERVER, HEADERS_BYTES_MAX)
        self.app_state = {**self.app_state, HANG_UP: transport.abort}
        self._held = self.place or contextlib.ExitStack()
        self._waits_for = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        if self.visitor is not None:
            self.app_state = {**self.app_state, "visitor": self.visitor}
            self._set_deadline()
            return
        try:
            caller = self.doors.caller(transport)
            self.doors.check_room(transport)
            if caller is not None:
                self._held.enter_context(self.doors.places.place(caller.party))
                self.app_state = {**self.app_state, "caller": caller}
        except Unreachable:
            transport.abort()
        except Busy as busy:
            self.doors.refusals.warning("a connection is refused: %s", busy)
            self._end_with(busy)
        else:
            self._set_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives back what it held."""
        super().connection_lost(exc)
        self._held.close()
        for timer in (self._deadline, self._stuck):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """A piece of a request; what comes after the end is nobody's."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._set_deadline()

    def on_response_complete(self) -> None:
        """The next request of the connection has its own time."""
        super().on_response_complete()
        self._set_deadline()

    def pause_writing(self) -> None:
        """The client does not read: that has an end, too."""
        super().pause_writing()
        self._stuck = self.loop.call_later(TAKE_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """He reads again."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets an answer in the form of all others."""
        self._end_with(InvalidInput(f"this is no request: {msg}"), 400)

    def _set_deadline(self) -> None:
        """The time for headers, or for a body, begins when they do and is not made longer by what comes of them."""
        state = self.conn.their_state
        waits_for = ""
        if state is h11.IDLE:
            waits_for = "headers"
        elif state is h11.SEND_BODY and (self.cycle.response_complete or not is_upload(self.scope)):
            waits_for = "body"
        if waits_for == self._waits_for:
            return
        if self._deadline is not None:
            self._deadline.cancel()
        self._waits_for = waits_for
        if waits_for:
            within_s = HEADERS_WITHIN_S if waits_for == "headers" else BODY_WITHIN_S
            self._deadline = self.loop.call_later(within_s, self._late, waits_for, within_s)

    def _late(self, what: str, within_s: float) -> None:
        told = f"the {what} of the request did not come within {within_s:.0f} s"
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._end_with(WaitedTooLong(told, hint="send a request at once"))
        else:
            self.transport.abort()

    def _end_with(self, error: VmroleError, status: int | None = None) -> None:
        """Answers without being asked, and hangs up."""
        if not self.transport.is_closing():
            self.transport.write(problems.unasked(error, status))
            self.transport.close()


def connection_of(listeners: Sequence[Listener]) -> type[Connection]:
    """The protocol of a server with these listeners."""
    return type("Connection", (Connection,), {"doors": Doors(listeners)})
