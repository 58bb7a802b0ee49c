"""Watching: server-sent events made by looking again whenever the store's revision rises.

A watcher holds one batch at a time and is not looked for again before the last one is written, so a reader that is
slow costs what its last look found and nothing more. Format: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter

from orchestrator.api.places import Places
from orchestrator.api.views import InstanceView, view_instance
from orchestrator.control.requests import Control
from orchestrator.errors import Busy, NotFound
from orchestrator.model import Event, Instance, Progress

T = TypeVar("T")

WATCHERS_MAX = 64  # each holds a thread while it waits
LOOK_EVERY_S = 1.0  # without a change: to see that the server stops
SPACING_S = 0.05  # between two looks: a busy store must not make watchers eat a core
ALIVE_EVERY_S = 15.0  # a comment that keeps the connection, and finds out that it is gone
EVENTS_MAX = 1000  # of one look

_JSON: dict[type[Any], TypeAdapter[Any]] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """One message: its kind, a value to be shown as JSON, and where to go on after a broken connection."""

    kind: str
    value: object
    id: str = ""

    def encoded(self) -> bytes:
        """The bytes on the wire; JSON holds no line ends."""
        if type(self.value) not in _JSON:
            _JSON[type(self.value)] = TypeAdapter(type(self.value))
        told = f"id: {self.id}\n" if self.id else ""
        return f"{told}event: {self.kind}\ndata: ".encode() + _JSON[type(self.value)].dump_json(self.value) + b"\n\n"


class Lookout(Protocol):
    """Something to watch. It remembers what it has told."""

    def look(self) -> Sequence[Frame]:
        """What is new since the last look; a frame of kind "end" is the last."""


class Watchers:
    """All watches of one app."""

    def __init__(self, wait: Callable[[int, float], int]) -> None:
        self.stopping = threading.Event()
        self._wait = wait
        self.places = Places("watches", WATCHERS_MAX)
        self._threads = anyio.CapacityLimiter(WATCHERS_MAX)

    def respond(self, lookout: Lookout, uid: int) -> StreamingResponse:
        """The watch as a response; raises Busy when there are too many. Called in the event loop."""
        self.places.check(uid)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(self._frames(lookout, uid), media_type="text/event-stream", headers=headers)

    async def _frames(self, lookout: Lookout, uid: int) -> AsyncIterator[bytes]:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.places.place(uid))
            except Busy:  # Somebody took the last one since `respond`; the client tries again and hears why.
                return
            seen, quiet_s = -1, 0.0
            while not self.stopping.is_set():
                now = await self._in_thread(functools.partial(self._wait, seen, LOOK_EVERY_S))
                if now > seen:
                    seen = now
                    frames = await self._in_thread(lookout.look)
                    for frame in frames:
                        yield frame.encoded()
                    if frames and frames[-1].kind == "end":
                        return
                    quiet_s = 0.0 if frames else quiet_s
                    await asyncio.sleep(SPACING_S)
                else:
                    quiet_s += LOOK_EVERY_S
                if quiet_s >= ALIVE_EVERY_S:
                    quiet_s = 0.0
                    yield b": still here\n\n"

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)


class EventLookout:
    """The ledger from a number on. A reader that falls more than EVENTS_MAX behind is told of the gap."""

    def __init__(self, control: Control, subject: str, after: int) -> None:
        self._control = control
        self._subject = subject
        self._after = after

    def look(self) -> Sequence[Frame]:
        """See Lookout."""
        found = self._control.events(self._subject, self._after, EVENTS_MAX)
        frames = [Frame("event", event, str(event.number)) for event in found]
        if self._after and len(found) == EVENTS_MAX:
            told = "older events are left out here; read them with GET /v1/events"
            gap = Event(at_s=found[0].at_s, subject=self._subject, message=told)
            frames.insert(0, Frame("gap", gap))
        if found:
            self._after = found[-1].number
        return frames


class InstanceLookout:
    """Instances as they change: first all there are, then "current", then each change; "gone" for removed ones."""

    def __init__(self, choose: Callable[[], Sequence[Instance]]) -> None:
        self._choose = choose
        self._told: dict[str, InstanceView] = {}
        self._first = True

    def look(self) -> Sequence[Frame]:
        """See Lookout."""
        views = {str(one.name): view_instance(one) for one in self._choose()}
        frames = [Frame("instance", view) for name, view in views.items() if self._told.get(name) != view]
        frames += [Frame("gone", view) for name, view in self._told.items() if name not in views]
        if self._first:
            frames.append(Frame("current", len(views)))
        self._told, self._first = views, False
        return frames


class OperationLookout:
    """An operation and the instances that it is about, until it is over."""

    def __init__(self, control: Control, operation_id: str) -> None:
        self._control = control
        self._id = operation_id
        self._revision = -1
        self._targets = InstanceLookout(self._chosen)
        self._names: frozenset[str] = frozenset()
        self._service = ""

    def look(self) -> Sequence[Frame]:
        """See Lookout."""
        try:
            operation = self._control.operation(self._id)
        except NotFound as error:
            return [Frame("end", str(error))]
        self._names = frozenset(name for name, _ in operation.targets)
        self._service = operation.service
        frames: list[Frame] = []
        if operation.revision != self._revision:
            self._revision = operation.revision
            frames.append(Frame("operation", operation))
        frames += self._targets.look()
        if operation.progress is not Progress.RUNNING:
            frames.append(Frame("end", operation))
        return frames

    def _chosen(self) -> list[Instance]:
        return [one for one in self._control.instances(self._service) if one.name in self._names]
