"""The monitors against processes that speak QMP: resets counted once, death proven by the kernel, others refused."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.hypervisor import qmp_watch
from orchestrator.drivers.hypervisor.qmp_watch import Monitors, Run, listening
from orchestrator.drivers.tools.event_loop import event_loop_thread
from orchestrator.errors import Busy, ConfigError
from orchestrator.model import InstanceName
from tests.world.waiting import until

NAME = InstanceName("web-0.shop")
RUN = Run("81e27e23-66af-506d-b53e-78fafc81c66b", 1)
ENDED = (NAME, "the VM's process has ended")

# It connects as QEMU's monitor does, and again when it is hung up on. Lines on standard input: an event to send with
# its time in seconds, "hangup", "mute" and "speak" for whether it answers, or "flood COUNT": that many connections at
# once, each with a reset on it. It ends when its input does. A second path is libvirt's monitor, which it listens at.
QEMU = """
import json, os, select, socket, sys, time
client, mute = None, False
def event(kind, at, guest=None):
    stamp = {"seconds": int(float(at)), "microseconds": int(float(at) % 1 * 1e6)}
    data = {} if guest is None else {"guest": guest == "guest", "reason": "some"}
    return json.dumps({"event": kind, "data": data, "timestamp": stamp}).encode() + b"\\n"
GREETING = {"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}
def connect():
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(sys.argv[1])
        made.sendall(json.dumps(GREETING).encode() + b"\\n")
    except OSError:
        made.close()
        return None
    return made
def hang_up():
    global client
    if client is not None:
        client.close()
    client = None
if len(sys.argv) > 2:
    libvirts = socket.socket(socket.AF_UNIX)
    libvirts.bind(sys.argv[2])
    libvirts.listen()
print("up", flush=True)
while True:
    client = client or connect()
    readable, _, _ = select.select([sys.stdin.fileno(), *filter(None, [client])], [], [], 0.05)
    if client in readable:
        try:
            asked = client.recv(65536)
        except OSError:
            asked = b""
        if asked:
            for question in map(json.loads, [] if mute else asked.splitlines()):
                answer = {"return": {}, **{key: question[key] for key in question.keys() & {"id"}}}
                try:
                    client.sendall(json.dumps(answer).encode() + b"\\n")
                except OSError:
                    break
                if question["execute"] == "qmp_capabilities":
                    print("greeted", flush=True)
        else:
            hang_up()
    if sys.stdin.fileno() in readable:
        line = os.read(sys.stdin.fileno(), 4096).decode()
        if line.startswith("flood"):
            hang_up()
            heard, made = 0, []
            for _ in range(int(line.split()[1])):
                if (one := connect()) is not None:
                    try:
                        one.sendall(event("RESET", time.time()))
                    except OSError:
                        pass
                    made.append(one)
            for one in made:
                try:
                    heard += len(one.recv(4096))
                except OSError:
                    pass
                one.close()
            print(f"{len(made)} connections, {heard} bytes heard", flush=True)
            continue
        for word in line.split():
            if word == "hangup":
                hang_up()
            elif word in ("mute", "speak"):
                mute = word == "mute"
            elif client is not None:
                client.sendall(event(*word.split("@")))
        if not line:
            sys.exit()
"""


class Qemu:
    """A process that brings its monitor to the socket."""

    def __init__(self, path: Path, *libvirts: str) -> None:
        argv = [sys.executable, "-c", QEMU, str(path), *libvirts]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.said() == "up"

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def said(self) -> str:
        """The next thing that it reports."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def does(self, words: str) -> None:
        """Sends events, hangs up or floods."""
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
def path(tmp_path: Path) -> Path:
    """Where the socket is."""
    return tmp_path / "monitor.sock"


@pytest.fixture
def qemu(path: Path) -> Iterator[Qemu]:
    """One that lives, and that waits for somebody to listen."""
    qemu = Qemu(path)
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
def monitors(
    loop: asyncio.AbstractEventLoop, path: Path, woken: list[tuple[InstanceName, str]]
) -> Iterator[Monitors]:
    """Monitors that have looked at nothing yet."""
    with listening(path) as listener:
        monitors = Monitors(loop, lambda name, why: woken.append((name, why)), listener, SystemClock())
        yield monitors
        monitors.close()


def test_one_reset_is_counted_once(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """QEMU tells one reset twice within 30 ms; two resets are far apart. Other events wake and count nothing."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100.00 RESET@100.03 SHUTDOWN@104 RESET@107.00 RESET@107.02 GUEST_PANICKED@108")
    until(lambda: (NAME, "guest panicked") in woken)
    assert monitors.resets(NAME, RUN.vm_uuid) == 2
    assert [why for _, why in woken] == ["reset", "shutdown", "reset", "guest panicked"]
    assert monitors.resets(NAME, "another generation") == 0


@pytest.mark.parametrize("first", ["guest", "host"])
def test_a_shutdown_by_signal_is_told_from_a_guest_s(
    monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]], first: str
) -> None:
    """Which libvirt does not. The first counts: libvirt ends whose guest has shut down by a signal, too."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    qemu.does(f"SHUTDOWN@104@{first} SHUTDOWN@105@host GUEST_PANICKED@108")
    until(lambda: (NAME, "guest panicked") in woken)
    assert monitors.signalled(NAME, RUN.vm_uuid) is (first == "host")
    assert not monitors.signalled(NAME, "another generation")
    monitors.unfollow(NAME)
    assert monitors.signalled(NAME, RUN.vm_uuid) is (first == "host"), "it is asked for when it is off"
    monitors.follow(NAME, Run(RUN.vm_uuid, RUN.number + 1), qemu.pid)
    assert qemu.said() == "greeted"
    qemu.does("SHUTDOWN@109@guest GUEST_PANICKED@110")
    until(lambda: woken.count((NAME, "guest panicked")) == 2)
    assert not monitors.signalled(NAME, RUN.vm_uuid)


def test_death_is_proven(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """A run has ended when its process is gone, and only that run."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    assert not monitors.ended(NAME, RUN)
    qemu.kill()
    until(lambda: ENDED in woken)
    assert monitors.ended(NAME, RUN)
    assert not monitors.ended(NAME, Run(RUN.vm_uuid, 2))


def test_libvirt_sees_the_end_of_who_has_shut_down_when_it_is_noted(
    monitors: Monitors, path: Path, woken: list[tuple[InstanceName, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its monitor is closed for libvirt when no signal reaches it any more, or libvirt would wait for it."""
    monkeypatch.setattr(qmp_watch, "NOTED_S", 600.0)
    theirs = path.with_name("domain-1") / "monitor.sock"
    theirs.parent.mkdir()
    qemu = Qemu(path, str(theirs))
    with socket.socket(socket.AF_UNIX) as libvirt:
        libvirt.connect(str(theirs))
        libvirt.setblocking(False)
        monitors.follow(NAME, RUN, qemu.pid)
        assert qemu.said() == "greeted"
        qemu.does("SHUTDOWN@104@guest")
        until(lambda: (NAME, "shutdown") in woken)
        qemu.process.kill()
        until(lambda: ENDED in woken)
        with pytest.raises(BlockingIOError):
            libvirt.recv(1)
        qemu.kill()
        until(lambda: _is_closed(libvirt))


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_process_that_is_gone_already_has_ended(monitors: Monitors, woken: list[tuple[InstanceName, str]]) -> None:
    """A VM that died while nobody followed it is known to have ended as soon as it is followed."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    monitors.follow(NAME, RUN, gone.pid)
    until(lambda: ENDED in woken)
    assert monitors.ended(NAME, RUN)


def test_death_is_proven_without_a_monitor(monitors: Monitors, woken: list[tuple[InstanceName, str]]) -> None:
    """The death of a VM whose QEMU never comes to the socket, as of one that a former version started, is seen."""
    silent = subprocess.Popen(["sleep", "600"])
    monitors.follow(NAME, RUN, silent.pid)
    time.sleep(0.2)
    assert not monitors.ended(NAME, RUN)
    silent.kill()
    silent.wait()
    until(lambda: ENDED in woken)


def test_a_qemu_that_does_not_come_is_told(
    monitors: Monitors, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A QEMU that has not brought its monitor after a while is told once, by name."""
    monkeypatch.setattr(qmp_watch, "ABSENT_S", 0.1)
    silent = subprocess.Popen(["sleep", "600"])
    monitors.follow(NAME, RUN, silent.pid)
    until(lambda: "has not come to our socket" in caplog.text)
    assert NAME in caplog.text
    silent.kill()
    silent.wait()


def test_a_lost_connection_is_no_death(monitors: Monitors, qemu: Qemu, woken: list[tuple[InstanceName, str]]) -> None:
    """When the monitor hangs up and the process lives, the VM is alive; it is listened to again, nothing is lost."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    qemu.does("hangup")
    assert qemu.said() == "greeted"
    assert not monitors.ended(NAME, RUN)
    qemu.does("RESET@200")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 2)
    assert ENDED not in woken


@pytest.mark.parametrize("how", ["unfollow", "close"])
def test_the_next_daemon_is_found(
    how: str, monitors: Monitors, qemu: Qemu, loop: asyncio.AbstractEventLoop, path: Path
) -> None:
    """A QEMU that is not followed any more is hung up on, and comes to whoever listens next in the same place."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    if how == "unfollow":
        monitors.unfollow(NAME)
    else:
        monitors.close()
    with listening(path) as listener:
        other = Monitors(loop, lambda _name, _why: None, listener, SystemClock())
        other.follow(NAME, RUN, qemu.pid)
        assert qemu.said() == "greeted"
        other.close()
    qemu.kill()
    assert not monitors.ended(NAME, RUN)


def test_following_the_next_run_lets_go_of_the_last(monitors: Monitors, qemu: Qemu, path: Path) -> None:
    """A VM that was started again is followed by its new process; what the old one says or does counts no more."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    later, again = Qemu(path), Run(RUN.vm_uuid, 2)
    monitors.follow(NAME, again, later.pid)
    assert later.said() == "greeted"
    qemu.does("RESET@100")
    later.does("RESET@200")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    qemu.kill()
    time.sleep(0.2)
    assert not monitors.ended(NAME, again)
    assert monitors.resets(NAME, RUN.vm_uuid) == 1
    later.kill()
    until(lambda: monitors.ended(NAME, again))


def test_who_does_not_answer_is_stuck(
    monitors: Monitors,
    qemu: Qemu,
    path: Path,
    woken: list[tuple[InstanceName, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A QEMU that owes an answer is told as that, and asked nothing more; who answers is not, and nobody waits."""
    for limit, seconds in (("ASK_S", 0.1), ("OWED_S", 0.3), ("STUCK_S", 0.6)):
        monkeypatch.setattr(qmp_watch, limit, seconds)
    other, name, run = Qemu(path), InstanceName("web-1.shop"), Run("6a4b1a54-3c1e-4a07-9d2c-0123456789ab", 2)
    monitors.follow(NAME, RUN, qemu.pid)
    monitors.follow(name, run, other.pid)
    assert qemu.said() == other.said() == "greeted"
    qemu.does("mute")
    until(lambda: monitors.owes_s(NAME, RUN) > 0.3)
    with pytest.raises(Busy):
        monitors.expect_answer(NAME, RUN)
    until(lambda: (NAME, "its QEMU does not answer") in woken)
    assert monitors.why_stuck(NAME, RUN) == "its QEMU does not answer its monitor"
    assert monitors.why_stuck(NAME, Run(RUN.vm_uuid, 2)) == ""
    assert monitors.why_stuck(name, run) == ""
    monitors.expect_answer(name, run)
    assert not monitors.ended(NAME, RUN)
    qemu.does("speak hangup")
    until(lambda: not monitors.why_stuck(NAME, RUN))
    assert qemu.said() == "greeted"
    monitors.expect_answer(NAME, RUN)
    other.kill()


def test_a_stopped_process_is_told_at_once(monitors: Monitors) -> None:
    """By the kernel, also of a QEMU that has no connection, as one that was stopped under an earlier daemon."""
    silent = subprocess.Popen(["sleep", "600"])
    monitors.follow(NAME, RUN, silent.pid)
    time.sleep(0.2)
    assert monitors.why_stuck(NAME, RUN) == ""
    silent.send_signal(signal.SIGSTOP)
    until(lambda: f"kill -CONT {silent.pid}" in monitors.why_stuck(NAME, RUN))
    with pytest.raises(Busy):
        monitors.expect_answer(NAME, RUN)
    silent.send_signal(signal.SIGCONT)
    until(lambda: monitors.why_stuck(NAME, RUN) == "")
    silent.kill()
    silent.wait()


def test_following_again_changes_nothing(monitors: Monitors, qemu: Qemu) -> None:
    """Every look follows; a run that is followed is not let in a second time, and its count goes on."""
    for _ in range(100):
        monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    monitors.follow(NAME, RUN, qemu.pid)
    assert monitors.resets(NAME, RUN.vm_uuid) == 1


def test_a_qemu_that_comes_first_is_not_hung_up_on(monitors: Monitors, path: Path) -> None:
    """A QEMU that brings its monitor before its VM is followed waits, for it dies of being hung up on while it
    starts; it is let in as soon as its VM is followed, in the same connection.
    """
    with socket.socket(socket.AF_UNIX) as early:
        early.connect(str(path))
        early.settimeout(1.0)
        with pytest.raises(TimeoutError):
            early.recv(1)
        monitors.follow(NAME, RUN, os.getpid())
        early.settimeout(10.0)
        assert b"qmp_capabilities" in early.recv(4096)


def test_who_is_never_followed_is_sent_away(monitors: Monitors, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who turns out to be no VM of ours is hung up on in the end, and those who came after him are let in then."""
    monkeypatch.setattr(qmp_watch, "UNHEARD_S", 0.5)
    monkeypatch.setattr(qmp_watch, "UNHEARD_MOST", 1)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(path))
        time.sleep(0.2)
        late = Qemu(path)
        monitors.follow(NAME, RUN, late.pid)
        assert late.said() == "greeted"
        stranger.settimeout(10.0)
        assert stranger.recv(1) == b""
    late.kill()


def test_two_vms_are_kept_apart(monitors: Monitors, qemu: Qemu, path: Path) -> None:
    """Whose reset it is is told by the process that connected, whatever is said."""
    other, name = Qemu(path), InstanceName("web-1.shop")
    monitors.follow(NAME, RUN, qemu.pid)
    monitors.follow(name, Run("6a4b1a54-3c1e-4a07-9d2c-0123456789ab", 2), other.pid)
    assert qemu.said() == other.said() == "greeted"
    other.does("RESET@100")
    until(lambda: monitors.resets(name, "6a4b1a54-3c1e-4a07-9d2c-0123456789ab") == 1)
    assert monitors.resets(NAME, RUN.vm_uuid) == 0
    other.kill()
    until(lambda: monitors.ended(name, Run("6a4b1a54-3c1e-4a07-9d2c-0123456789ab", 2)))
    assert not monitors.ended(NAME, RUN)


def test_a_stranger_changes_nothing(
    monitors: Monitors,
    qemu: Qemu,
    path: Path,
    woken: list[tuple[InstanceName, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process that is no VM of ours hears nothing and is not heard, however often it connects; when it hangs up and
    ends, no VM has. A VM is heard while it goes on.
    """
    monkeypatch.setattr(qmp_watch, "UNHEARD_S", 0.5)
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    stranger = Qemu(path)
    stranger.does("flood 2000")
    heard = stranger.said().split(", ")
    assert heard[1] == "0 bytes heard"
    assert int(heard[0].split()[0]) > 100  # They were taken, and hung up on.
    stranger.does("flood 2000")
    qemu.does("RESET@100")
    until(lambda: monitors.resets(NAME, RUN.vm_uuid) == 1)
    stranger.kill()
    qemu.does("hangup")
    assert qemu.said() == "greeted"
    assert monitors.resets(NAME, RUN.vm_uuid) == 1
    assert not monitors.ended(NAME, RUN)
    assert ENDED not in woken


def test_many_connections_hold_nothing(monitors: Monitors, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many hold on to their end, ours keeps no descriptor of them."""
    del monitors
    monkeypatch.setattr(qmp_watch, "UNHEARD_S", 0.5)
    before = descriptors()
    held = []
    for _ in range(300):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(10)
        one.connect(str(path))
        held.append(one)
    assert [one.recv(1) for one in held] == [b""] * 300  # Each is hung up on; before that, it may wait in line.
    assert descriptors() == before + 300
    for one in held:
        one.close()


def test_one_vm_has_one_connection(monitors: Monitors, qemu: Qemu) -> None:
    """A QEMU that was taken over and connects a thousand times keeps the last of its connections alone."""
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    before = descriptors()
    qemu.does("flood 1000")
    while not qemu.said().endswith("heard"):
        pass
    until(lambda: descriptors() <= before + 2)
    assert not monitors.ended(NAME, RUN)


def test_a_watch_costs_two_descriptors(monitors: Monitors, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process and the connection, and nothing is left of them when it is over."""
    monkeypatch.setattr(qmp_watch, "UNHEARD_S", 0.5)
    time.sleep(0.2)
    before = descriptors()
    qemu = Qemu(path)
    pipes = 2
    monitors.follow(NAME, RUN, qemu.pid)
    assert qemu.said() == "greeted"
    until(lambda: descriptors() == before + pipes + 2)
    monitors.unfollow(NAME)
    qemu.kill()
    until(lambda: descriptors() == before)


def test_the_socket_is_its_owners(path: Path) -> None:
    """Until QEMU's group is let in, the socket is its owner's alone; what a crash left in its place goes."""
    path.write_text("left over")
    with listening(path):
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_place_where_nobody_can_listen_is_told(tmp_path: Path) -> None:
    """A directory that is not there is an error with a hint."""
    with pytest.raises(ConfigError) as told, listening(tmp_path / "missing" / "monitor.sock"):
        pass
    assert told.value.hint


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
