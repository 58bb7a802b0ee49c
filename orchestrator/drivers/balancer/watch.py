"""A balancer's own watch: a thread that outlives its troubles, and what was seen last of everybody's seat."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from orchestrator.drivers.tools.patience import Event
from orchestrator.errors import Busy, Permanent, WorldError
from orchestrator.model import InstanceName, PoolName, Seat
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
ALIVE_EVERY_S: Final = 0.2  # Until a dead balancer is noticed, its clients are refused.
START_AGAIN_S: Final = 2.0  # After a start that failed: something on the host must change first.
LOOK_EVERY_S: Final = 1.0  # How late a failed health check is seen; the balancer has acted on it by then.
# How long what was seen is good for: a look at everybody takes some 6 us a member, so that whoever asks all the time
# costs half a hundredth of a core, be they three or a thousand; of a thousand nobody looks beside the watch.
FRESH_S_A_MEMBER: Final = 0.002
STALE_S: Final = 3.0  # As long at most: the watch has trouble then.
# Between two looks of the watch, where this is more than usual: HAProxy, whose one thread carries the traffic, pays
# some 10 us a member for each, so that it costs either side a hundredth of a core at most, be they 500 or 10,000.
LOOK_S_A_MEMBER: Final = 0.002


@contextlib.contextmanager
def watching(
    what: str, revive: Callable[[], None], look: Callable[[], object], *, clock: Clock, join_s: float
) -> Iterator[None]:
    """Calls `revive` five times a second and `look` once, on a thread that goes on whatever they raise.

    At the end it is waited for, `join_s` seconds at most.
    """
    ending = Event(clock)

    def watch() -> None:
        look_at = start_at = -math.inf
        while not ending.within(ALIVE_EVERY_S):
            try:
                if clock.monotonic_s() >= start_at:
                    revive()
                if clock.monotonic_s() >= look_at:
                    look_at = clock.monotonic_s() + LOOK_EVERY_S
                    look()
            except Permanent as error:
                start_at = clock.monotonic_s() + START_AGAIN_S
                log.warning("%s", error)
            except Busy as error:  # Somebody else is at it.
                log.debug("%s", error)
            except (WorldError, OSError) as error:
                log.warning("%s", error)
            except Exception:  # Without this thread nobody would revive it.
                log.exception("the watch over %s goes on after an error of its own", what)

    thread = threading.Thread(target=watch, name=what.lower(), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(join_s)


class Snapshot:
    """Everybody's seat as it was seen last. Thread-safe."""

    def __init__(self, wake: Callable[[InstanceName, str], None], clock: Clock) -> None:
        self._wake = wake
        self._clock = clock
        self._lock = threading.Lock()
        self._seats: dict[InstanceName, Seat] | None = None  # None: nobody has looked yet
        self._seen_at = 0.0
        self._maybe: dict[InstanceName, set[PoolName]] = {}  # who may have come since

    def fresh(self) -> Mapping[InstanceName, Seat] | None:
        """What was seen, when that was not long ago."""
        with self._lock:
            if self._seats is None:
                return None
            good_s = min(STALE_S, FRESH_S_A_MEMBER * len(self._seats))
            return self._seats if self._clock.monotonic_s() - self._seen_at < good_s else None

    def is_due(self) -> bool:
        """Whether the watch has to look again: the more there are, the less often."""
        with self._lock:
            between_s = LOOK_S_A_MEMBER * len(self._seats or ())
            return between_s <= LOOK_EVERY_S or self._clock.monotonic_s() - self._seen_at >= between_s

    def recent(self) -> Mapping[InstanceName, Seat] | None:
        """What the watch has seen, unless it is in trouble."""
        with self._lock:
            if self._seats is None:
                return None
            good_s = max(LOOK_EVERY_S, LOOK_S_A_MEMBER * len(self._seats)) + STALE_S
            return self._seats if self._clock.monotonic_s() - self._seen_at < good_s else None

    def last(self) -> Mapping[InstanceName, Seat] | None:
        """What was seen, however long ago."""
        with self._lock:
            return self._seats

    def pools_of(self, name: InstanceName, look: Callable[[], Mapping[InstanceName, Seat]]) -> set[PoolName]:
        """Where the member was seen or may be by now. `look` is asked when nobody has looked yet."""
        if self._seats is None:
            self.take(look())
        with self._lock:
            seat = (self._seats or {}).get(name)
            return self._maybe.get(name, set()) | (set(seat.pools) if seat else set())

    def knows(self, name: InstanceName) -> bool:
        """Whether the member was seen, or may have come since."""
        with self._lock:
            return name in self._maybe or name in (self._seats or {})

    def expect(self, name: InstanceName, pools: Iterable[PoolName]) -> None:
        """The member may be in these from now on, whatever becomes of the attempt."""
        with self._lock:
            self._maybe[name] = {*self._maybe.get(name, ()), *pools}

    def note(self, name: InstanceName, seat: Seat | None) -> None:
        """One member's seat has just been read; None: it is nowhere."""
        with self._lock:
            seats = dict(self._seats or {})
            if seat is None:
                seats.pop(name, None)
                self._maybe.pop(name, None)
            else:
                seats[name] = seat
            self._seats = seats

    def take(self, seats: Mapping[InstanceName, Seat]) -> Mapping[InstanceName, Seat]:
        """Everybody has been looked at: wakes those whose standing has changed, and returns the seats."""
        with self._lock:
            before, self._seats = self._seats or {}, dict(seats)
            self._seen_at = self._clock.monotonic_s()
            self._maybe = {}
        for name, seat in seats.items():
            if name in before and before[name].standing is not seat.standing:
                self._wake(name, f"the balancer's check: {seat.standing}")
        for name in before.keys() - seats.keys():
            self._wake(name, "no longer in the pool")
        return seats

    def clear(self) -> None:
        """Nothing of what was seen holds: the endpoints have changed."""
        with self._lock:
            self._seen_at = -math.inf
