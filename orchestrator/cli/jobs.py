"""A program that runs for as long as something is ours: in a process group of its own, and ended with all of that.

What it has begun and what has left its group, as a daemon does, goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from orchestrator.client import clock
from orchestrator.errors import InvalidInput

LOOK_S: Final = 0.05
GRACE_S: Final = 10.0  # between the word to end and the end
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(command: Sequence[str], environment: Mapping[str, str], over: Callable[[], str]) -> int:
    """Runs it until it ends, or until `over` says why it has to: SIGTERM to its whole group then, SIGKILL after a
    while. A signal that ends us goes to it first, and it has as long for that. Returns its exit status, 128 + N when
    signal N has ended it.

    Raises InvalidInput when it cannot be run.
    """
    try:
        job = subprocess.Popen(command, env={**os.environ, **environment}, process_group=0)
    except OSError as error:
        raise InvalidInput(f"{command[0][:80]!r} cannot be run: {error.strerror}") from error
    with _forwarding(job.pid) as forwarded, _terminal(job.pid):
        kill_at: float | None = None
        while not _has_ended(job.pid):
            if kill_at is None and (forwarded or over()):
                if not forwarded:
                    _signal(job.pid, signal.SIGTERM)
                kill_at = clock.monotonic_s() + GRACE_S
            if kill_at is not None and clock.monotonic_s() >= kill_at:
                break
            clock.pause(LOOK_S)
        if kill_at is not None:  # What it has begun goes with it; its number is its own until it is waited for.
            _signal(job.pid, signal.SIGKILL)
        status = job.wait()
    return status if status >= 0 else 128 - status


def _has_ended(pid: int) -> bool:
    """Whether it has, without taking its number from it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


@contextlib.contextmanager
def _forwarding(group: int) -> Iterator[list[signal.Signals]]:
    """Gives what ends us to the group; yields what that was."""
    forwarded = list[signal.Signals]()

    def forward(got: int, _: object) -> None:
        forwarded.append(signal.Signals(got))
        _signal(group, signal.Signals(got))

    before = {number: signal.signal(number, forward) for number in FORWARDED}
    try:
        yield forwarded
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _terminal(group: int) -> Iterator[None]:
    """Gives the terminal to the program, where there is one: it reads from it, and its keys go there."""
    if not (sys.stdin is not None and sys.stdin.isatty()):
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), group)
            _signal(group, signal.SIGCONT)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is done here as Ctrl-C does, with what has to be done at its end."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
