"""Every wait for HAProxy has an end, by the clock of the host: programs that never do what they ought to."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.drivers.balancer import haproxy_members, haproxy_process
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.haproxy_members import Members
from orchestrator.drivers.balancer.haproxy_process import HaproxyProcess
from orchestrator.errors import Busy, EndpointRefused, Permanent, Unreachable
from tests.world.clocks import HurriedClock
from tests.world.endpoints import HTTP, PORT, VIP, ZERO

# It takes every configuration, and starts a master that answers nobody and does not end when it is asked to.
_DEAF = """#!{python}
import subprocess, sys, time
words = sys.argv[1:]
if "-c" in words:
    sys.exit(0)
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
argv = [sys.executable, "-c", deaf, words[words.index("-f") + 1]]
master = subprocess.Popen(
    argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
)
master.stdout.readline()
open(words[words.index("-p") + 1], "w").write(str(master.pid))
"""
_CANNOT_BIND = '#!/bin/sh\ncase "$1" in -c) exit 0;; esac\necho "cannot bind" >&2; exit 1\n'
Program = Callable[[str], str]


@pytest.fixture
def clock() -> HurriedClock:
    """By which all waits are over at once."""
    return HurriedClock()


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Makes a program of that text, instead of HAProxy."""

    def made(text: str) -> str:
        file = tmp_path / "program"
        file.write_text(text)
        file.chmod(0o755)
        return str(file)

    return made


@contextlib.contextmanager
def lasting(clock: HurriedClock, within_s: float) -> Iterator[None]:
    """What happens inside takes so long by that clock, and hardly longer."""
    began_s = clock.time_s
    yield
    assert within_s <= clock.time_s - began_s <= within_s * 1.5


def test_one_that_never_answers_is_neither_waited_for_nor_ended_for_ever(
    tmp_path: Path, clock: HurriedClock, program: Program
) -> None:
    """Starting it, loading it again, and ending it: each is over when its time is."""
    process = HaproxyProcess(tmp_path / "haproxy", program(_DEAF.format(python=sys.executable)), clock)
    with lasting(clock, haproxy_process.START_S), pytest.raises(Unreachable, match="does not answer"):
        process.load("", "")
    pid = process.pid()
    assert pid is not None
    try:
        with lasting(clock, haproxy_process.START_S), pytest.raises(Unreachable, match="still busy"):
            process.load("", "")
        with lasting(clock, haproxy_process.STOP_S):
            process.stop()
    finally:
        os.kill(pid, signal.SIGKILL)


def test_ports_that_stay_taken_are_waited_for_as_long_as_a_dead_one_holds_them(
    tmp_path: Path, clock: HurriedClock, program: Program
) -> None:
    """By a start, and before it, where the former one listened."""
    process = HaproxyProcess(tmp_path / "other", program(_CANNOT_BIND), clock)
    with lasting(clock, haproxy_process.LET_GO_S), pytest.raises(Permanent, match="does not start"):
        process.load("", "")
    place = tmp_path / "haproxy"
    place.mkdir()
    (place / "haproxy.was").write_text(f"frontend of-former\n    bind {VIP}:{PORT}\n")
    balancer = HaproxyBalancer(place, "haproxy", lambda *_: None, clock)
    with (
        socket.create_server((VIP, PORT)),
        lasting(clock, haproxy_process.LET_GO_S),
        pytest.raises(EndpointRefused),
    ):
        balancer.shape([HTTP])


def test_a_note_of_a_daemon_that_was_killed_is_waited_for_a_moment(tmp_path: Path, clock: HurriedClock) -> None:
    """A configuration and no process: a reload of it writes that soon, or never."""
    place = tmp_path / "haproxy"
    place.mkdir()
    (place / "haproxy.cfg").write_text("")
    with lasting(clock, haproxy_process.REWRITE_S):
        assert HaproxyProcess(place, "haproxy", clock).pid() is None


class Holding:
    """Answers as an HAProxy that lets go of no member."""

    def ask(self, line: str) -> str:
        """See haproxy_members.Runtime."""
        return "Server still has connections attached to it" if line.startswith("del") else ""

    def ask_all(self, lines: Sequence[str]) -> str:
        """See haproxy_members.Runtime."""
        return "".join(map(self.ask, lines))

    def old(self) -> Sequence[int]:
        """See haproxy_members.Runtime."""
        return []

    def ask_old(self, line: str) -> list[tuple[int, str]]:
        """See haproxy_members.Runtime."""
        assert line
        return []

    def tell_old(self, pid: int, line: str) -> str:
        """See haproxy_members.Runtime."""
        assert pid
        return self.ask(line)


def test_a_member_that_is_held_is_not_removed_for_ever(clock: HurriedClock) -> None:
    """Its turn comes again."""
    with lasting(clock, haproxy_members.REMOVE_S), pytest.raises(Busy, match="still holds"):
        Members(Holding(), clock).remove(HTTP.pool, ZERO)
