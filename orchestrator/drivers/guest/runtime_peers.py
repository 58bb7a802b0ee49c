"""What a guest is told of its peers by its channel: when it asks, and, once it has subscribed, as they change.

All subscribers have one task, which waits for the next change of the records. A guest has one subscription, however
often it asks for one, and of it one number and at most one line that it has not taken yet: who never reads is told
nothing more, and what it has missed is one line when it reads again.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import socket
from collections.abc import Iterator, Mapping
from typing import Final

from orchestrator.drivers.guest.runtime_requests import NO_PARAMS, NOT_NOW, Refused, Request, only, text
from orchestrator.errors import VmroleError
from orchestrator.model import InstanceName
from orchestrator.ports import Peers

log = logging.getLogger(__name__)
METHODS: Final = ("peers", "subscribe")
ASKS: Final = (20.0, 0.2)  # at once, and one more in so many seconds
TOPICS: Final = ("peers", "stopping")
NAME_MAX_CHARS: Final = 253
NUMBER_MAX: Final = 2**62
WAIT_S: Final = 1.0  # for the next change of the records
PAUSE_S: Final = 0.1  # between two looks at what has changed


class Outlet:
    """A connection to which two may send: whole lines, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        self._loop = loop
        self._connection = connection
        self._lock = asyncio.Lock()

    async def send(self, line: bytes) -> None:
        """Ends when the guest's kernel has room for it; raises OSError when it has hung up."""
        async with self._lock:
            await self._loop.sock_sendall(self._connection, line)


@dataclasses.dataclass(slots=True)
class _Subscriber:
    outlet: Outlet
    number: int | None  # what it was told last of its peers; None: it wants to hear nothing of them
    of_its_end: bool = False
    end_told: str = ""  # why it is being stopped, as it was told last
    sends: asyncio.Task[None] | None = None

    @property
    def is_free(self) -> bool:
        """Whether it has taken what it was sent."""
        return self.sends is None or self.sends.done()


class RuntimePeers:
    """On the event loop alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, desk: Peers) -> None:
        self._loop = loop
        self._desk = desk
        self._subscribers: dict[InstanceName, _Subscriber] = {}
        self._telling: asyncio.Task[None] | None = None

    async def do(self, name: InstanceName, outlet: Outlet, request: Request) -> object:
        """The result of one of METHODS. Raises Refused."""
        if request.method == "peers":
            only(request, ("after", "past"))
            past = text(request, "past", NAME_MAX_CHARS)
            return await self._changes(name, _number(request), past, request)
        only(request, ("to", "after", "boot"))
        topics = topics_of(request)
        before = self._subscribers.get(name)
        if not topics:
            if before is not None and not before.is_free:  # What is half sent goes on, and ends with the connection.
                before.number, before.of_its_end = None, False
            else:
                self._subscribers.pop(name, None)
            return {"to": []}
        result: dict[str, object] = {"to": list(topics)}
        after: int | None = None
        if "peers" in topics:
            now = await self._changes(name, _number(request), "", request)
            after = int(str(now["number"]))
            result |= now
        sends = before.sends if before else None
        self._subscribers[name] = _Subscriber(outlet, after, "stopping" in topics, sends=sends)
        if self._telling is None or self._telling.done():
            self._telling = self._loop.create_task(self._tell(), name="peers of guests")
        return result

    def leave(self, name: InstanceName) -> None:
        """Its connection is over, and its subscription with it. Absent is fine."""
        subscriber = self._subscribers.pop(name, None)
        if subscriber is not None and subscriber.sends is not None:
            subscriber.sends.cancel()

    @contextlib.contextmanager
    def until_over(self, name: InstanceName, outlet: Outlet) -> Iterator[None]:
        """While the connection lasts."""
        try:
            yield
        finally:
            if (subscriber := self._subscribers.get(name)) is not None and subscriber.outlet is outlet:
                self.leave(name)

    async def close(self) -> None:
        """Ends all of them."""
        for name in list(self._subscribers):
            self.leave(name)
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    async def _changes(self, name: InstanceName, after: int, past: str, request: Request) -> Mapping[str, object]:
        found = await asyncio.to_thread(self._desk.changes, name, after, past)
        if found is None:
            raise Refused(NOT_NOW, "nothing is recorded of this instance", request.request_id)
        return found

    async def _tell(self) -> None:
        """As long as anybody is to be told."""
        at = -1
        while self._subscribers:
            try:
                at = await asyncio.to_thread(self._desk.wait, at, WAIT_S)
                await self._look(at)
            except VmroleError as error:
                log.info("runtime channel: peers: %s", error)
            await asyncio.sleep(PAUSE_S)

    async def _look(self, at: int) -> None:
        """Sends to each who has taken the last line what is new for it."""
        free = {name: one for name, one in self._subscribers.items() if one.is_free}
        told = {name: one.number for name, one in free.items() if one.number is not None and one.number < at}
        news = await asyncio.to_thread(self._desk.news, told) if told else {}
        ends = await asyncio.to_thread(self._ends, [name for name, one in free.items() if one.of_its_end])
        for name, one in free.items():
            if self._subscribers.get(name) is not one:
                continue
            lines = []
            if (new := news.get(name)) is not None:
                one.number = int(str(new["number"]))
                lines.append(_message("peers", new))
            if one.of_its_end:
                end = ends.get(name)
                why = str(end["why"]) if end else ""
                if end and why != one.end_told:
                    lines.append(_message("stopping", end))
                one.end_told = why
            if lines:
                one.sends = self._loop.create_task(_send(one.outlet, b"".join(lines)))

    def _ends(self, names: list[InstanceName]) -> dict[InstanceName, Mapping[str, object]]:
        return {name: end for name in names if (end := self._desk.stopping(name)) is not None}


def _message(method: str, params: Mapping[str, object]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n"


async def _send(outlet: Outlet, line: bytes) -> None:
    with contextlib.suppress(OSError):  # Who listens to it sees it, too.
        await outlet.send(line)


def _number(request: Request) -> int:
    value = request.params.get("after", -1)
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < NUMBER_MAX:
        raise Refused(NO_PARAMS, "after: the number of an answer", request.request_id)
    return value


def topics_of(request: Request) -> tuple[str, ...]:
    """What `subscribe` wants to hear of. Raises Refused."""
    value = request.params.get("to")
    if not isinstance(value, list) or not all(isinstance(one, str) and one in TOPICS for one in value):
        raise Refused(NO_PARAMS, f"to: a list of {', '.join(TOPICS)}; empty: no more", request.request_id)
    return tuple(one for one in TOPICS if one in value)
