"""Watching: one thread reads what each commit has changed, and hands every watch its part.

A watch costs nothing while nothing of its subject changes, and holds no thread. What its reader has yet to take is
bounded: who falls behind that starts over with how things stand.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

import anyio
import anyio.to_thread
from fastapi.responses import StreamingResponse

from orchestrator.api.frames import Frame, frame
from orchestrator.api.lookouts import Lookout, Topic, frame_of, frame_of_event, subjects_of, topics_of
from orchestrator.api.places import Places
from orchestrator.control.requests import Control
from orchestrator.control.touched import Touched
from orchestrator.errors import Busy, VmroleError
from orchestrator.model import Event, Instance, InstanceName, Operation, Progress

log = logging.getLogger(__name__)

ALIVE = Frame(b": still here\n\n")  # a comment

WATCHERS_MAX = 128  # a quarter of all connections: who asks has room beside those that watch
LOOK_EVERY_S = 1.0  # without a change: to see that nobody watches any more
SPACING_S = 0.05  # between two looks: a busy store must not make watchers eat a core
ALIVE_EVERY_S = 15.0  # between messages: keeps the connection, and finds out that it is gone
EVENTS_MAX = 1000  # of one look; as many messages of any kind wait for a reader


class Watch:
    """One reader: what he has yet to take. For the event loop, but for the lookout, which the feed's lock guards."""

    def __init__(self, lookout: Lookout) -> None:
        self.lookout = lookout
        self.loop = asyncio.get_running_loop()
        self.ready = asyncio.Event()
        self.behind = True  # He has to be told how things stand.
        self.taken = 0  # the number of the last event that he was given
        self.begun = 0  # how often, by the lock of the feed
        self._waiting: collections.deque[tuple[int, Frame]] = collections.deque()

    def put(self, frames: Iterable[Frame], begun: int) -> None:
        """More to take; too much of it is forgotten, and he starts over."""
        self._waiting.extend((begun, one) for one in frames)
        if len(self._waiting) > EVENTS_MAX:
            self.fall_behind()
        self.ready.set()

    def fall_behind(self) -> None:
        """What he has not taken is void."""
        self._waiting.clear()
        self.behind = True
        self.ready.set()

    def take(self) -> Frame | None:
        """The next one; what is from before his last beginning is void."""
        while self._waiting:
            begun, one = self._waiting.popleft()
            if begun == self.begun:
                return one
        self.ready.clear()
        return None


class Watchers:
    """All watches of one app, and the thread that feeds them while there are any."""

    def __init__(self, control: Control) -> None:
        self.places = Places("watches", WATCHERS_MAX)
        self._control = control
        self._stopping = threading.Event()
        self._begins = anyio.CapacityLimiter(1)  # They take turns at the lock; requests keep their threads.
        self._open: set[Watch] = set()  # for the event loop
        self._left: collections.deque[Watch] = collections.deque()  # whose readers have gone: nobody waits for a lock
        self._lock = threading.Lock()  # guards what follows
        self._fed: dict[Topic, set[Watch]] = {}
        self._known: dict[InstanceName, Instance] = {}  # as every watch has been told of them
        self._seen = -1  # the revision up to which every watch has been told; -1: nobody is fed
        self._event = 0  # likewise, the number of an event
        self._astray = False  # something was not told

    def respond(self, lookout: Lookout, party: str) -> StreamingResponse:
        """The watch as a response; raises Busy when there are too many. Called in the event loop."""
        self.places.check(party)
        headers = {"cache-control": "no-store"}
        return StreamingResponse(self._frames(lookout, party), media_type="text/event-stream", headers=headers)

    def end(self) -> None:
        """Ends them all. Called in the event loop."""
        self._stopping.set()
        for watch in self._open:
            watch.ready.set()

    # In the event loop

    async def _frames(self, lookout: Lookout, party: str) -> AsyncIterator[bytes]:
        watch = Watch(lookout)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self.places.place(party))
            except Busy:  # Somebody took the last one since `respond`; the client tries again and hears why.
                return
            self._open.add(watch)
            held.callback(self._leave, watch)
            async for one in self._messages(watch):
                watch.taken = one.number or watch.taken
                yield one.data
                if one.last or self._stopping.is_set():
                    return

    async def _messages(self, watch: Watch) -> AsyncIterator[Frame]:
        while not self._stopping.is_set():
            if watch.behind:
                watch.behind = False
                begin = functools.partial(self._begin, watch, watch.taken)
                try:
                    beginning = await anyio.to_thread.run_sync(begin, abandon_on_cancel=True, limiter=self._begins)
                except VmroleError as error:  # He comes again, and hears why if it lasts.
                    log.warning("a watch cannot begin: %s", error)
                    return
                for one in beginning:
                    yield one
            elif (one_more := watch.take()) is not None:
                yield one_more
            elif not await _happens(watch.ready, ALIVE_EVERY_S):
                yield ALIVE

    def _leave(self, watch: Watch) -> None:
        self._open.discard(watch)
        self._left.append(watch)

    # In threads

    def _begin(self, watch: Watch, taken: int) -> Iterable[Frame]:
        """How things stand for the watch, which is fed from here on: no change is left out, none told twice."""
        with self._lock:
            if self._seen < 0:
                self._start_over()
                threading.Thread(target=self._feed, name="watches", daemon=True).start()
            else:
                self._catch_up()
            if not self._events_are_watched():
                self._event = self._newest_event()
            self._remove(watch)
            frames = watch.lookout.begin(self._control, self._known, taken)
            for topic in watch.lookout.topics:
                self._fed.setdefault(topic, set()).add(watch)
            watch.begun += 1
            return frames

    def _feed(self) -> None:
        """Reads each change as it comes, until nobody watches any more."""
        while not self._stopping.is_set():
            try:
                self._control.wait(self._seen, LOOK_EVERY_S)
                with self._lock:
                    while self._left:
                        self._remove(self._left.popleft())
                    if not self._fed:
                        self._seen, self._known = -1, {}
                        return
                    self._catch_up()
            except VmroleError as error:
                log.warning("what has changed cannot be read: %s", error)
                self._stopping.wait(LOOK_EVERY_S)
            except Exception:  # A bug in one message must not end all watches.
                log.exception("a bug: what has changed cannot be told")
                self._astray = True
                self._stopping.wait(LOOK_EVERY_S)
            self._stopping.wait(SPACING_S)

    def _remove(self, watch: Watch) -> None:
        for topic in watch.lookout.topics:
            fed = self._fed.get(topic, set())
            fed.discard(watch)
            if not fed:
                self._fed.pop(topic, None)

    def _start_over(self) -> None:
        """Reads everything; who is fed has missed something."""
        seen, event = self._control.wait(0, 0.0), self._newest_event()
        self._known = self._control.by_name()
        self._seen, self._event, self._astray = seen, event, False
        for watch in {watch for fed in self._fed.values() for watch in fed}:
            _in_loop(watch, watch.fall_behind)

    def _catch_up(self) -> None:
        """Tells every watch what has changed since the last look: costs what has changed."""
        touched = self._control.touched(self._seen)
        events = self._control.events("", self._event, EVENTS_MAX) if self._events_are_watched() else []
        if touched is None or len(events) == EVENTS_MAX or self._astray:
            self._start_over()
            return
        parcels: dict[Watch, list[Frame]] = {}
        self._tell_events(events, parcels)
        self._tell_operations(touched.operations, parcels)
        self._tell_instances(touched, parcels)
        self._seen = touched.revision
        for watch, frames in parcels.items():
            frames.sort(key=lambda one: one.last)  # What ends a watch comes last.
            _in_loop(watch, functools.partial(watch.put, frames, watch.begun))

    def _newest_event(self) -> int:
        newest = self._control.events(limit=1)
        return newest[-1].number if newest else 0

    def _events_are_watched(self) -> bool:
        return any(kind == "events" for kind, _ in self._fed)

    def _tell_operations(self, operations: Mapping[str, Operation | None], parcels: dict[Watch, list[Frame]]) -> None:
        for of, operation in operations.items():
            watches = self._fed.get(("operation", of), set())
            if not watches:
                continue
            if operation is None:
                frames = [frame("end", f"there is no operation {of!r} any more")]
            elif operation.progress is Progress.RUNNING:
                frames = [frame("operation", operation)]
            else:
                frames = [frame("operation", operation), frame("end", operation)]
            for watch in watches:
                parcels.setdefault(watch, []).extend(frames)

    def _tell_instances(self, touched: Touched, parcels: dict[Watch, list[Frame]]) -> None:
        for name, after in touched.instances.items():
            before = self._known.pop(name, None)
            before = touched.departed.get(name, before)  # It may have changed and gone since the last look.
            if after is not None:
                self._known[name] = after
            present = after or before
            if present is None or after == before:
                continue
            frames: dict[str, Frame] = {}
            for watch in {watch for topic in topics_of(present) for watch in self._fed.get(topic, ())}:
                if kind := watch.lookout.tells(before, after):
                    if kind not in frames:  # Encoded once, however many watch.
                        frames[kind] = frame_of(present, self._control, kind)
                    parcels.setdefault(watch, []).append(frames[kind])

    def _tell_events(self, events: Sequence[Event], parcels: dict[Watch, list[Frame]]) -> None:
        for event in events:
            subjects = subjects_of(event)
            watched = [subject for subject in subjects if ("events", subject) in self._fed]
            watches = {
                watch
                for subject in watched
                if self._control.in_ledger(subject) in subjects
                for watch in self._fed["events", subject]
                if watch.lookout.wants(event)
            }
            if watches:
                told = frame_of_event(event)
                for watch in watches:
                    parcels.setdefault(watch, []).append(told)
        self._event = events[-1].number if events else self._event


def _in_loop(watch: Watch, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # The loop has ended, and the reader with it.
        watch.loop.call_soon_threadsafe(call)


async def _happens(event: asyncio.Event, within_s: float) -> bool:
    """Whether it does within that time."""
    with anyio.move_on_after(within_s):
        await event.wait()
        return True
    return False
