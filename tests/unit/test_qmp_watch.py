"""The monitors against a process that speaks QMP: resets counted once, death proven by the kernel, nothing held."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import qmp_watch
from orchestrator.drivers.hypervisor.qmp_watch import Monitors, Run, event_loop_thread
from orchestrator.model import InstanceName

NAME = InstanceName("web-0.shop")
RUN = Run("81e27e23-66af-506d-b53e-78fafc81c66b", 1)
ENDED = (NAME, "the VM's process has ended")

# One client at a time, as QEMU's monitor. Lines on standard input: an event to send with its time in seconds, or
# "hangup". It ends when its input does.
QEMU = """
import json, os, select, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen(1)
print("up", flush=True)
client = None
def send(message):
    global client
    try:
        client.sendall(json.dumps(message).encode() + b"\\n")
    except OSError:
        client = None  # It gave up while it waited in the queue.
while True:
    readable, _, _ = select.select([sys.stdin.fileno(), client or listening], [], [])
    if listening in readable:
        client, _ = listening.accept()
        send({"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}})
    elif client in readable:
        asked = client.recv(65536)
        if asked:
            send({"return": {}, "id": json.loads(asked.split(b"\\n")[0]).get("id")})
            print("greeted", flush=True)
        else:
            client = None
    if sys.stdin.fileno() in readable:
        line = os.read(sys.stdin.fileno(), 4096).decode()
        for word in line.split():
            if word == "hangup":
                client.close()
                client = None
            else:
                event, _, at = word.partition("@")
                stamp = {"seconds": int(float(at)), "microseconds": int(float(at) % 1 * 1e6)}
                send({"event": event, "data": {}, "timestamp": stamp})
        if not line:
            sys.exit()
"""


class Qemu:
    """A process that listens where a VM's monitor does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        argv = [sys.executable, "-c", QEMU, str(path)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.said() == "up"

    def said(self) -> str:
        """The next thing that it reports."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def does(self, words: str) -> None:
        """Sends events or hangs up."""
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """kill -9, and its pipes closed."""
        self.process.kill()
        self.process.wait(5)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    """One that lives."""
    qemu = Qemu(tmp_path / "monitor.sock")
    yield qemu
    qemu.kill()


@pytest.fixture
def woken() -> list[tuple[InstanceName, str]]:
    """Who was woken and why."""
    return []


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A running event loop."""
    with event_loop_thread() as loop:
        yield loop


@pytest.fixture
def monitors(loop: asyncio.AbstractEventLoop, woken: list[tuple[InstanceName, str]]) -> Iterator[Monitors]:
    """Monitors that have looked at nothing yet."""
    monitors = Monitors(loop, lambda name, why: woken.append((name, why)))
    yield monitors
    monitors.close()


def until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    """Waits; AssertionError when it does not come true."""
    end_s = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end_s, "it did not come true"
        time.sleep(0.01)


def test_one_reset_is_counted_once(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """QEMU tells one reset twice within 30 ms; two resets are far apart. Other events wake and count nothing."""
    monitors.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100.00 RESET@100.03 SHUTDOWN@104 RESET@107.00 RESET@107.02 GUEST_PANICKED@108")
    until(lambda: (NAME, "guest panicked") in woken)
    assert monitors.resets(NAME, RUN.vm_uuid) == 2
    assert [why for _, why in woken] == ["reset", "shutdown", "reset", "guest panicked"]
    assert monitors.resets(NAME, "another generation") == 0


def test_death_is_proven(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """A run has ended when its process is gone, and only that run."""
    monitors.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    assert not monitors.ended(NAME, RUN)
    qemu.kill()
    until(lambda: ENDED in woken, 1.0)
    assert monitors.ended(NAME, RUN)
    assert not monitors.ended(NAME, Run(RUN.vm_uuid, 2))


def test_a_lost_connection_is_no_death(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """When the monitor hangs up and the process lives, the VM is alive; it is listened to again, nothing is lost."""
    monitors.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    qemu.does("hangup")
    assert qemu.said() == "greeted"
    assert not monitors.ended(NAME, RUN)
    qemu.does("RESET@200")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 2)
    assert ENDED not in woken


@pytest.mark.parametrize("how", ["unfollow", "close", "follow the next run"])
def test_the_monitor_is_given_back(
    how: str, monitors: Monitors, qemu: Qemu, loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    """Who is not followed any more has its monitor free for the next client, and its death tells us nothing."""
    monitors.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    match how:
        case "unfollow":
            monitors.unfollow(NAME)
        case "close":
            monitors.close()
        case _:
            monitors.follow(NAME, Run(RUN.vm_uuid, 2), tmp_path / "nobody.sock")
    other = Monitors(loop, lambda _name, _why: None)
    other.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    other.close()
    qemu.kill()
    assert not monitors.ended(NAME, RUN)


def test_following_again_changes_nothing(monitors: Monitors, qemu: Qemu) -> None:
    """Every look follows; a run that is followed is not connected to a second time, and its count goes on."""
    for _ in range(100):
        monitors.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    monitors.follow(NAME, RUN, qemu.path)
    assert monitors.resets(NAME, RUN.vm_uuid) == 1


def test_a_vm_that_comes_late_is_found(monitors: Monitors, tmp_path: Path) -> None:
    """A monitor that does not listen yet is tried again until it does."""
    path = tmp_path / "monitor.sock"
    monitors.follow(NAME, RUN, path)
    time.sleep(0.1)
    qemu = Qemu(path)
    assert qemu.said() == "greeted"
    assert not monitors.ended(NAME, RUN)
    qemu.kill()
    until(lambda: monitors.ended(NAME, RUN))


def test_a_monitor_that_another_holds_is_waited_for(
    monitors: Monitors, qemu: Qemu, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A monitor that has another client is asked again until that one leaves."""
    monkeypatch.setattr(qmp_watch, "GREETING_S", 0.2)
    monkeypatch.setattr(qmp_watch, "RETRY_S", 0.1)
    first = Monitors(loop, lambda _name, _why: None)
    first.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    monitors.follow(NAME, RUN, qemu.path)
    time.sleep(0.5)
    first.close()
    assert qemu.said() == "greeted"
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)


def test_death_is_proven_without_a_greeting(monitors: Monitors, qemu: Qemu, loop: asyncio.AbstractEventLoop) -> None:
    """The death of a process whose monitor another client holds is seen all the same."""
    first = Monitors(loop, lambda _name, _why: None)
    first.follow(NAME, RUN, qemu.path)
    assert qemu.said() == "greeted"
    monitors.follow(NAME, RUN, qemu.path)
    time.sleep(0.1)
    qemu.kill()
    until(lambda: monitors.ended(NAME, RUN) and first.ended(NAME, RUN))
    first.close()
