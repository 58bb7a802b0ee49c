"""Checks by a command that the agent of a guest runs: step by step, in a few threads, and none waits for a command.

An agent that hangs holds its thread until it is given up, seconds later. Whoever let us wait last time is asked by a
thread that asks such ones alone: those who answer wait at most for one that has begun to hang a moment ago. A guest
never runs a command of the same check twice at a time: what takes too long is waited for by the checks that follow.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from orchestrator.drivers.tools.agent_channel import AgentFrozen, AgentSilent
from orchestrator.errors import Permanent, Transient, Unreachable
from orchestrator.model import InstanceName
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
QUICK: Final = 2  # threads; fewer than agents are asked at a time, for turns have questions, too
AGAIN_S: Final = 0.2  # until a command that runs is looked at again


class Commands(Protocol):
    """What runs commands in guests. Each call blocks for some seconds at most; AgentSilent, AgentFrozen or another
    Transient when it was in vain.
    """

    def begin(self, name: InstanceName, argv: Sequence[str]) -> int:
        """Begins it, and returns by which number it is known."""

    def status(self, name: InstanceName, number: int) -> int | None:
        """Its exit status; None while it runs."""


@dataclass(frozen=True, slots=True)
class Again:
    """It runs still, or cannot be asked for now: nothing is known yet."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check found: "" when the member is well."""

    fault: str


@dataclass(slots=True)
class _Run:
    number: int
    since_s: float
    late: bool = False  # whether a check that it belonged to has been given up


class CommandChecks:
    """Of all members of a host. Thread-safe. `with` ends its threads."""

    def __init__(self, commands: Commands, clock: Clock) -> None:
        self._commands = commands
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[Hashable, _Run] = {}
        self._silent: set[InstanceName] = set()
        self._quick = ThreadPoolExecutor(QUICK, "commands")
        self._slow = ThreadPoolExecutor(1, "silent-agents")

    def __enter__(self) -> CommandChecks:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in (self._quick, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def step(
        self,
        key: Hashable,
        name: InstanceName,
        argv: Sequence[str],
        timeout_s: float,
        tell: Callable[[Again | Answer], None],
    ) -> None:
        """Begins the command, or looks how far it is; `tell` hears of it in another thread, soon, and once."""

        def do() -> None:
            try:
                outcome = self._stepped(key, name, argv, timeout_s)
            except Exception:  # Else this member would never be asked again.
                log.exception("the check of %s goes on after an error of its own", name)
                outcome = Answer("the check met an error of its own")
            tell(outcome)

        with contextlib.suppress(RuntimeError):  # The threads have ended: so does everything.
            (self._slow if name in self._silent else self._quick).submit(do)

    def forget(self, key: Hashable) -> None:
        """This member is asked no more."""
        with self._lock:
            self._runs.pop(key, None)

    def _stepped(self, key: Hashable, name: InstanceName, argv: Sequence[str], timeout_s: float) -> Again | Answer:
        with self._lock:
            run = self._runs.get(key)
        try:
            if run is None:
                run = _Run(self._commands.begin(name, argv), self._clock.monotonic_s())
                with self._lock:
                    self._runs[key] = run
            status = self._commands.status(name, run.number)
        except AgentFrozen:  # It may well write to a disk: a backup is nobody's illness.
            return Again(timeout_s)
        except (Transient, Permanent) as error:
            self.forget(key)
            if isinstance(error, (AgentSilent, Unreachable)):
                self._silent.add(name)
            return Answer(str(error))
        self._silent.discard(name)
        return self._judged(key, run, status, timeout_s)

    def _judged(self, key: Hashable, run: _Run, status: int | None, timeout_s: float) -> Again | Answer:
        if status is not None:
            self.forget(key)
            if run.late:  # Its check was given up long ago; this one begins now.
                return Again(0.0)
            return Answer(f"the command exits {status}" if status else "")
        if run.late:
            return Answer("the command of a check before runs still")
        if self._clock.monotonic_s() - run.since_s < timeout_s:
            return Again(min(AGAIN_S, timeout_s))
        run.late = True
        return Answer("no answer in time")
