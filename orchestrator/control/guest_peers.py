"""Who the peers of a guest are, and what has changed since it asked last.

One board for each deployment whose guests ask; it is kept up by the store's changes, so that a change costs as much
however many ask. A number says as of which revision of the records an answer is; what came after it can be asked for.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from orchestrator.control.present import Present
from orchestrator.model import Instance, InstanceName, Topology, place_of
from orchestrator.ports import Clock, Store
from orchestrator.rules import parting, peers, topology

PAGE: Final = 200  # entries of an answer: about 20 KiB
MOVES_KEPT: Final = 64  # of the times at which somebody came or went
GONE_KEPT: Final = 1024  # names of those that went last, of a deployment


@dataclasses.dataclass(slots=True)
class _Board:
    """One deployment: what is shown of whom, and at which revision that came to be so."""

    since: int  # of who went before that, nothing is known
    shown: dict[InstanceName, tuple[Mapping[str, str], int]] = dataclasses.field(default_factory=dict)
    gone: dict[InstanceName, int] = dataclasses.field(default_factory=dict)  # the one that went first stands first
    changed: int = 0  # the last revision that changed anything
    moves: deque[tuple[int, float]] = dataclasses.field(default_factory=lambda: deque(maxlen=MOVES_KEPT))
    asked: dict[InstanceName, tuple[int, float]] = dataclasses.field(default_factory=dict)  # of those that walk

    def put(self, instance: Instance, at: int, now_s: float) -> None:
        """It is so now; nothing is noted of what is shown to nobody."""
        entry = peers.shown(instance)
        before = self.shown.get(instance.name)
        if before is None:
            self.moves.append((at, now_s))
        if before is None or before[0] != entry:
            self.shown[instance.name] = (entry, at)
            self.gone.pop(instance.name, None)
            self.changed = at

    def take_out(self, name: InstanceName, at: int, now_s: float) -> None:
        """It is there no more."""
        if self.shown.pop(name, None) is None:
            return
        self.asked.pop(name, None)
        self.moves.append((at, now_s))
        self.gone[name] = self.changed = at
        while len(self.gone) > GONE_KEPT:
            self.since = max(self.since, self.gone.pop(next(iter(self.gone))))


class GuestPeers:
    """ports.Peers of the records. Thread-safe."""

    def __init__(self, present: Present, store: Store, clock: Clock) -> None:
        self._present = present
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = -1
        self._boards: dict[str, _Board] = {}

    def changes(self, name: InstanceName, after: int, past: str = "") -> Mapping[str, object] | None:
        """See ports.Peers. O(those of the deployment), and O(1) while nothing has changed."""
        return self._changes(name, after, past, asks=True)

    def _changes(self, name: InstanceName, after: int, past: str = "", *, asks: bool) -> Mapping[str, object] | None:
        with self._lock:
            instance = self._present.find(Instance, name)
            if instance is None:
                return None
            board = self._board(instance.service)
            whole = bool(past) or not board.since <= after <= self._seen
            until = self._seen if whole else self._until(board, instance, after, asks=asks)
            if whole:
                found = sorted(one for one in board.shown if one != name and one > past)
                more = len(found) > PAGE
                return _answer(self._seen, (board.shown[one][0] for one in found[:PAGE]), [], whole=True, more=more)
            if board.changed <= after:
                return _answer(until, [], [])
            return _since(board, name, after, until)

    def _until(self, board: _Board, own: Instance, after: int, *, asks: bool) -> int:
        """The last number that it may hear of. Who is told unasked has not said that it has heard."""
        if own.goal.role.topology is Topology.BLAST:
            return self._seen
        now_s = self._clock.now_s()
        known = after if asks else board.asked.get(own.name, (after, 0.0))[0]
        board.asked[own.name] = (known, now_s)
        if board.changed <= after:  # There is nothing to be held back, and all who walk ask at each commit.
            return self._seen
        before = [
            number
            for name, (number, at_s) in board.asked.items()
            if (place := place_of(name))[0] == own.role_name and place[1] < own.index
            if abs(now_s - at_s) < topology.ASKS_WITHIN_S
        ]
        last = topology.horizon(board.moves, after, before, now_s)
        return self._seen if last is None else max(after, last)

    def news(self, told: Mapping[InstanceName, int]) -> Mapping[InstanceName, Mapping[str, object]]:
        """See ports.Peers."""
        found = {name: self._changes(name, after, asks=False) for name, after in told.items()}
        return {name: one for name, one in found.items() if one and (one["peers"] or one["gone"] or one["whole"])}

    def stopping(self, name: InstanceName) -> Mapping[str, object] | None:
        """See ports.Peers."""
        instance = self._present.find(Instance, name)
        return None if instance is None else parting.told(instance, self._clock.now_s())

    def wait(self, after: int, timeout_s: float) -> int:
        """See ports.Peers."""
        return self._store.wait(after, timeout_s)

    def _board(self, service: str) -> _Board:
        self._catch_up()
        board = self._boards.get(service)
        if board is None:
            board = self._boards[service] = _Board(since=self._seen, changed=self._seen)
            for instance in self._present.instances_of(service).values():
                board.put(instance, self._seen, 0.0)
        return board

    def _catch_up(self) -> None:
        if self._store.revision() == self._seen:
            return
        touched = self._present.touched(self._seen) if self._seen >= 0 else None
        if touched is None:  # The store does not remember so far back: who asks is told everything.
            self._seen = self._store.revision()
            self._boards.clear()
            return
        now_s = self._clock.now_s()
        for name, instance in touched.instances.items():
            if instance is None:
                for board in self._boards.values():
                    board.take_out(name, touched.revision, now_s)
            elif (board_of := self._boards.get(instance.service)) is not None:
                board_of.put(instance, touched.revision, now_s)
        self._boards = {of: board for of, board in self._boards.items() if board.shown}
        self._seen = touched.revision


def _since(board: _Board, own: InstanceName, after: int, until: int) -> Mapping[str, object]:
    """What came after a number and until another: oldest first, and of one commit all or nothing."""
    new = [(at, name) for name, (_, at) in board.shown.items() if after < at <= until and name != own]
    new += [(at, name) for name, at in board.gone.items() if after < at <= until and name != own]
    new.sort()
    number = until
    if len(new) > PAGE:
        number = new[PAGE - 1][0]
        new = [one for one in new if one[0] <= number]
    here = [board.shown[name][0] for _, name in new if name in board.shown]
    gone = [name for _, name in new if name not in board.shown]
    return _answer(number, here, gone, more=number < until)


def _answer(
    number: int, here: Iterable[object], gone: Iterable[str], *, whole: bool = False, more: bool = False
) -> dict[str, object]:
    return {"number": number, "whole": whole, "peers": list(here), "gone": list(gone), "more": more}
