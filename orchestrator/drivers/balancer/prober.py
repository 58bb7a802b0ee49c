"""Whether members are well: one thread that asks each of them, by TCP or HTTP, or has their agents asked, and says
when the answer has changed.

A check ends by a reset, so that the kernel does not remember it for two minutes. The member is hostile: of its answer
a few bytes are read, within the time of the check.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import math
import random
import re
import selectors
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.drivers.balancer.command_checks import Again, Answer, CommandChecks
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.pace import USUAL, Pace, again_s, pace_of
from orchestrator.drivers.tools.patience import Event
from orchestrator.model import (
    PROBES_KEPT,
    CommandProbe,
    EndpointProbe,
    Frontend,
    HttpProbe,
    InstanceName,
    Member,
    Mode,
    PoolName,
    Probed,
)
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
SICK_AGAIN_S: Final = 5.0  # at most, where those who are well are asked less often
IDLE_S: Final = 0.2  # How late a new member's first check may be, beside those of others.
TOGETHER_S: Final = 1.0  # Who can wait is asked together with others: to wake up costs more than to ask.
AT_A_TIME: Final = 256  # checks in flight: each holds a descriptor
_STATUS = re.compile(rb"HTTP/1\.[01] (\d\d\d)[ \r\n]")
_STATUS_BYTES: Final = 16
_PROXY: Final = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"  # version 2, LOCAL: a connection of the sender's own
_RESET: Final = struct.pack("ii", 1, 0)  # struct linger: on, 0 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where and how a member is asked."""

    address: str
    port: int
    probe: EndpointProbe | None
    pace: Pace = USUAL
    name: InstanceName | None = None  # whose agent is asked, where that is asked
    proxied: bool = False  # whether it waits for PROXY before anything else


class Targets:
    """Who is asked behind the endpoints of a shape, by pool and name, and how. As long as the endpoints are the same,
    nothing is made anew but what has changed. One of udp without a probe has nothing that could be asked.
    """

    def __init__(self) -> None:
        self._frontends: Sequence[Frontend] = ()
        self._asked: dict[PoolName, tuple[Frontend, Pace]] = {}
        self._of: dict[str, tuple[Member, Mapping[Hashable, Target]]] = {}

    def of(self, shape: Shape) -> dict[Hashable, Target]:
        """Of all members."""
        if shape.frontends != self._frontends:
            self._frontends, self._of = shape.frontends, {}
            self._asked = {
                one.pool: (one, pace_of(one.probe))
                for one in shape.frontends
                if one.mode is not Mode.UDP or one.probe is not None
            }
        known, targets = self._of, dict[Hashable, Target]()
        self._of = {}
        for name, member in shape.members.items():
            kept = known.get(name)
            if kept is None or kept[0] is not member:
                kept = member, self._targets(member)
            self._of[name] = kept
            targets.update(kept[1])
        return targets

    def _targets(self, member: Member) -> dict[Hashable, Target]:
        asked = [(*self._asked[pool], port) for pool, port in member.pools if pool in self._asked]
        return {
            (frontend.pool, member.name): Target(
                address=member.behind(frontend),
                port=port,
                probe=frontend.probe,
                pace=pace,
                name=member.name,
                proxied=frontend.probed_by_proxy,
            )
            for frontend, pace, port in asked
        }


def results_in(
    pools: Collection[PoolName], results: Mapping[Hashable, Sequence[Probed]]
) -> dict[PoolName, dict[InstanceName, Sequence[Probed]]]:
    """Those of the members of these pools, of a prober whose targets are as `Targets` makes them."""
    found: dict[PoolName, dict[InstanceName, Sequence[Probed]]] = {}
    for key, of_it in results.items():
        assert isinstance(key, tuple)
        pool, name = key
        if of_it and pool in pools:
            found.setdefault(PoolName(pool), {})[InstanceName(name)] = of_it
    return found


@dataclass(frozen=True, slots=True)
class Health:
    """What is thought of a member: up until a check has shown otherwise."""

    up: bool = True
    checked: bool = False
    why: str = ""  # what the last failed check met


@dataclass(slots=True, eq=False)
class _Watched:
    target: Target
    health: Health = field(default_factory=Health)
    run: int = 0  # checks in a row that contradict `health`
    began_at: float | None = None  # when the check that is under way began
    results: deque[Probed] = field(default_factory=lambda: deque(maxlen=PROBES_KEPT))
    gone: bool = False

    def is_for(self, target: Target | None) -> bool:
        """Whether it asks the same of the same."""
        return self.target is target or self.target == target


@dataclass(slots=True, eq=False)
class _Check:
    of: _Watched
    key: Hashable
    ends_at: float
    talk: socket.socket
    heard: bytes = b""
    asked: bool = False


class Prober:
    """See the module. `hear` is called for a member whose health has changed, when it is known who else's has."""

    def __init__(self, hear: Callable[[Hashable], None], clock: Clock, commands: CommandChecks | None = None) -> None:
        """`commands` has agents asked; without, a member that is to be asked so is not known to be well."""
        self._hear = hear
        self._clock = clock
        self._commands = commands
        self._lock = threading.Lock()
        self._watched: dict[Hashable, _Watched] = {}
        self._due: list[tuple[float, int, Hashable, _Watched]] = []
        self._number = 0
        self._spared_s = 0.0
        self._flying: set[_Check] = set()
        self._turned: list[Hashable] = []  # whose health has changed, and nobody has heard
        self._selector = selectors.DefaultSelector()
        self._ending = Event(clock)
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(IDLE_S * 10)

    def watch(self, targets: Mapping[Hashable, Target], *, spared_s: float = 0.0) -> None:
        """From now on exactly these are asked; what is thought of those that stay as they were stays.

        `spared_s`: at least so long between two checks of one that is well, however short its interval.
        """
        now = self._clock.monotonic_s()
        with self._lock:
            self._spared_s = spared_s
            others = {
                key: self._watched.pop(key)
                for key in [key for key, one in self._watched.items() if not one.is_for(targets.get(key))]
            }
            for key, one in others.items():
                one.gone = True
                if self._commands is not None:
                    self._commands.forget(key)
            for key, target in targets.items():
                if key in self._watched:
                    continue
                self._watched[key] = _Watched(target)
                before = others.get(key)  # Of the same at its place the delay is over, or was asked for since.
                fresh = before is None or before.target.address != target.address
                self._plan(now + (target.pace.initial_delay_s if fresh else 0.0), key, self._watched[key])

    def health(self, key: Hashable) -> Health:
        """What is thought of a member; of one that is not asked, that it is up."""
        with self._lock:
            watched = self._watched.get(key)
            return Health(checked=True) if watched is None else watched.health

    def has_checked(self, key: Hashable) -> bool:
        """Whether a check of it has said how it is."""
        with self._lock:
            watched = self._watched.get(key)
            return watched is not None and watched.health.checked

    def healths(self) -> dict[Hashable, Health]:
        """What is thought of everybody who is asked."""
        with self._lock:
            return {key: watched.health for key, watched in self._watched.items()}

    def results(self) -> dict[Hashable, tuple[Probed, ...]]:
        """The last results of everybody who is asked, oldest first."""
        with self._lock:
            return {key: tuple(watched.results) for key, watched in self._watched.items()}

    def _plan(self, at: float, key: Hashable, watched: _Watched) -> None:
        self._number += 1
        heapq.heappush(self._due, (at, self._number, key, watched))

    # The thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._begin_due()
                looked_at = self._clock.monotonic_s()
                for event, _ in self._selector.select(self._pause_s()):
                    self._go_on(event.data)
                self._end_late(looked_at)
                while self._turned:
                    self._hear(self._turned.pop(0))
            except Exception:  # Without this thread nobody would look after members.
                log.exception("checks of members go on after an error of their own")
                self._ending.within(IDLE_S)
        for check in list(self._flying):
            self._close(check)
        self._selector.close()

    def _pause_s(self) -> float:
        now = self._clock.monotonic_s()
        with self._lock:
            next_at = self._due[0][0] if self._due and len(self._flying) < AT_A_TIME else now + IDLE_S
        next_at = min([next_at, *(check.ends_at for check in self._flying)])
        return max(0.0, min(IDLE_S, next_at - now))

    def _begin_due(self) -> None:
        now = self._clock.monotonic_s()
        due: list[tuple[Hashable, _Watched]] = []
        with self._lock:
            while self._due and self._due[0][0] <= now and len(self._flying) + len(due) < AT_A_TIME:
                _, _, key, watched = heapq.heappop(self._due)
                if not watched.gone:
                    watched.began_at = now if watched.began_at is None else watched.began_at
                    due.append((key, watched))
        for key, watched in due:
            match watched.target.probe:
                case CommandProbe() as probe:
                    self._command(key, watched, probe)
                case _:
                    self._begin(key, watched)

    def _command(self, key: Hashable, watched: _Watched, probe: CommandProbe) -> None:
        """Has its agent asked; what comes of it is heard in another thread."""

        def tell(outcome: Again | Answer) -> None:
            match outcome:
                case Again(after_s):
                    with self._lock:
                        self._plan(self._clock.monotonic_s() + after_s, key, watched)
                case Answer(fault):
                    if self._note(key, watched, fault):
                        self._hear(key)

        target = watched.target
        if self._commands is None or target.name is None:
            tell(Answer("nobody here asks agents"))
        else:
            self._commands.step(key, target.name, probe.command, target.pace.timeout_s, tell)

    def _begin(self, key: Hashable, watched: _Watched) -> None:
        family = socket.AF_INET6 if ":" in watched.target.address else socket.AF_INET
        talk = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        check = _Check(watched, key, self._clock.monotonic_s() + watched.target.pace.timeout_s, talk)
        probe = watched.target.probe
        port = probe.port if probe is not None and probe.port is not None else watched.target.port
        self._flying.add(check)
        try:
            with contextlib.suppress(BlockingIOError):
                talk.connect((watched.target.address, port))
            self._selector.register(talk, selectors.EVENT_WRITE, check)
        except OSError as error:
            self._end(check, error.strerror or str(error))

    def _go_on(self, check: _Check) -> None:
        probe = check.of.target.probe
        try:
            if not check.asked:
                if (number := check.talk.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) != 0:
                    raise OSError(number, "the connection is refused")
                if not isinstance(probe, HttpProbe):
                    self._end(check, "")
                    return
                check.asked = True
                # It may have been held up.
                check.ends_at = self._clock.monotonic_s() + check.of.target.pace.timeout_s
                request = f"GET {probe.path} HTTP/1.0\r\n\r\n".encode("ascii")
                check.talk.send((_PROXY if check.of.target.proxied else b"") + request)
                self._selector.modify(check.talk, selectors.EVENT_READ, check)
                return
            chunk = check.talk.recv(_STATUS_BYTES - len(check.heard))
        except OSError as error:
            self._end(check, error.strerror or str(error))
            return
        check.heard += chunk
        if (status := _STATUS.match(check.heard)) is not None:
            well = isinstance(probe, HttpProbe) and probe.passes(int(status[1]))
            self._end(check, "" if well else f"the answer is {int(status[1])}")
        elif not chunk or len(check.heard) >= _STATUS_BYTES:
            self._end(check, "the answer is no success")

    def _end_late(self, looked_at: float) -> None:
        """Those whose time was over when it was looked what has come: what came since is looked at first."""
        for check in [check for check in self._flying if check.ends_at <= looked_at]:
            self._end(check, "no answer in time")

    def _close(self, check: _Check) -> None:
        self._flying.discard(check)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(check.talk)
        check.talk.close()

    def _end(self, check: _Check, fault: str) -> None:
        self._close(check)
        if self._note(check.key, check.of, fault):
            self._turned.append(check.key)

    def _note(self, key: Hashable, watched: _Watched, fault: str) -> bool:
        """What a check found; `fault` "" when the member is well. Whether that changes what is thought of it."""
        pace = watched.target.pace
        with self._lock:
            if watched.gone:
                return False
            watched.results.append(Probed(at_s=self._clock.now_s(), why=fault))
            before = watched.health
            contradicts = before.up is bool(fault)
            watched.run = watched.run + 1 if contradicts else 0
            turned = contradicts and watched.run >= (pace.fall if fault else pace.rise)
            # That a member is up is believed at first: it counts as checked when a check has said so.
            up, checked = (before.up is not turned), before.checked or not contradicts or turned
            watched.health = Health(up=up, checked=checked, why=fault or ("" if up else before.why))
            watched.run = 0 if turned else watched.run
            spared_s = self._spared(watched.target) if up else min(self._spared(watched.target), SICK_AGAIN_S)
            now = self._clock.monotonic_s()
            rest_s = pace.rest_s if up and pace.rest_s is not None else pace.interval_s
            took_s = 0.0 if watched.began_at is None else now - watched.began_at
            pause_s = again_s(pace.interval_s, took_s) if contradicts and not turned else max(rest_s, spared_s)
            at, watched.began_at = now + pause_s * random.uniform(0.9, 1.0), None  # noqa: S311 - no secret
            if spared_s > pace.interval_s and not contradicts:
                at = math.ceil(at / TOGETHER_S) * TOGETHER_S
            self._plan(at, key, watched)
            return before.up is not up

    def _spared(self, target: Target) -> float:
        """Nobody but us has its command run."""
        return 0.0 if isinstance(target.probe, CommandProbe) else self._spared_s
