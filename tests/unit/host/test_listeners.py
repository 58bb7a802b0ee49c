"""Sockets that listen already when the daemon begins: it goes on with them, and leaves what it was lent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import __version__
from orchestrator.api.listening import bind
from orchestrator.client.client import Client
from orchestrator.errors import Unreachable
from orchestrator.host.config import Config
from orchestrator.host.listeners import on_this_host
from orchestrator.host.process import Inherited
from tests.world.daemons import UP_S, configured

DAEMON = (sys.executable, "-m", "orchestrator.cli", "daemon", "--config")
# What systemd does for the process that it starts: the descriptors from 3 on, how many, and for whom. $0 is ours.
LENDS = 'exec 3<&$0 && export LISTEN_FDS=1 LISTEN_FDNAMES=vmrole.socket LISTEN_PID=$$ && exec "$@"'
TWICE = """
import os, socket, sys
from orchestrator.host import process
left = process.inherited()
told = [name for name in os.environ if name.startswith(("LISTEN_", "VMROLE_LE", "VMROLE_LI"))]
print(sorted((path[-6:], each.is_lent) for path, each in left.items()), told, flush=True)
if len(left) == 1:
    made = socket.socket(socket.AF_UNIX)
    made.bind(sys.argv[1])
    made.listen()
    end = process.End()
    end.begin_anew()
    end.listening = [*left.values(), process.Inherited(made)]
    with process.anew_after(end):
        pass
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, for sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="vmr-") as made:
        yield Path(made)


@pytest.fixture
def lent(place: Path) -> Iterator[socket.socket]:
    """The daemon's own socket, as a socket unit makes it."""
    path = place / "run" / "vmrole.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen()
        yield made


def started(argv: tuple[str, ...], lent: socket.socket, pid: str = "$$") -> subprocess.Popen[str]:
    """A process that has the socket as systemd gives it: to the process `pid`, to itself unless it is said."""
    number = lent.fileno()
    return subprocess.Popen(
        ["bash", "-c", LENDS.replace("$$", pid), str(number), *argv],
        pass_fds=[number],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_who_comes_between_two_daemons_is_answered_by_the_next(place: Path, lent: socket.socket) -> None:
    """The socket and its file are systemd's: the end of a daemon ends neither, and nobody is refused meanwhile."""
    file, path = configured(place), place / "run" / "vmrole.sock"
    for _ in range(2):
        with socket.socket(socket.AF_UNIX) as early:
            early.settimeout(4 * UP_S)
            early.connect(str(path))
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: vmrole\r\nConnection: close\r\n\r\n")
            with started((*DAEMON, str(file)), lent) as daemon:
                try:
                    answered = early.makefile().read()
                finally:
                    daemon.send_signal(signal.SIGTERM)
                assert daemon.wait(4 * UP_S) == 0
        assert answered.startswith("HTTP/1.1 200"), answered
        assert __version__ in answered
        assert path.is_socket()


@pytest.mark.slow
def test_systemds_own_activator_starts_it(place: Path) -> None:
    """By its protocol as systemd speaks it, not as we read it; the first request is what starts the daemon."""
    path = place / "run" / "vmrole.sock"
    path.parent.mkdir()
    argv = ["systemd-socket-activate", f"--listen={path}", *DAEMON, str(configured(place))]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            assert "Listening on" in daemon.stderr.readline()
            assert Client(str(path)).health()["version"] == __version__
        finally:
            daemon.send_signal(signal.SIGTERM)
        said = daemon.stderr.read()
        assert daemon.wait(4 * UP_S) == 0, said
    assert path.is_socket()
    assert "nobody is answered" not in said


def test_what_was_lent_is_still_lent_to_one_that_begins_anew(place: Path, lent: socket.socket) -> None:
    """By execve(2), whose environment tells nobody of them but the next program itself."""
    with started((sys.executable, "-c", TWICE, str(place / "b.sock")), lent) as twice:
        printed, _ = twice.communicate(timeout=UP_S)
    assert twice.returncode == 0
    assert printed.splitlines() == ["[('e.sock', True)] []", "[('b.sock', False), ('e.sock', True)] []"]


def test_descriptors_for_another_process_are_left_alone(lent: socket.socket) -> None:
    """Whoever started us may have been told of his own; ours may have other things at these numbers."""
    argv = (sys.executable, "-c", "from orchestrator.host import process; print(dict(process.inherited()))")
    with started(argv, lent, str(os.getpid())) as other:
        printed, _ = other.communicate(timeout=UP_S)
    assert (other.returncode, printed) == (0, "{}\n")


def test_what_no_setting_names_is_closed_and_said(
    place: Path, lent: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    """Who connects there would wait for ever; of those that are named each is what it was."""
    stray = socket.socket(socket.AF_UNIX)
    stray.bind(str(place / "stray"))
    stray.listen()
    own = str(place / "run" / "vmrole.sock")
    inherited = {own: Inherited(lent, is_lent=True), str(place / "stray"): Inherited(stray, is_lent=True)}
    settings = Config(socket=Path(own), readers_group="root")
    with contextlib.ExitStack() as stack:
        listeners = on_this_host(settings, inherited, stack)
        assert [(listener.path.name, listener.is_lent) for listener in listeners] == [
            ("vmrole-read.sock", False),
            ("vmrole.sock", True),
        ]
    assert f"nobody is answered at {place}/stray" in caplog.text
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
        late.connect(str(place / "stray"))


def test_a_lent_file_that_cannot_be_used_is_not_removed(place: Path) -> None:
    """A unit with ListenDatagram= instead of ListenStream=: the fault is said, and whose the file is stays so."""
    path = place / "vmrole.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lent:
        lent.bind(str(path))
        with pytest.raises(Unreachable, match=r"cannot listen on .*not supported"):
            bind(path, None, lent)
    assert path.is_socket()
