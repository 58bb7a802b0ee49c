"""The runtime channel's client for guests without Python, against hosts that answer late, at once with another's
answer, or never: by the shells that guests have.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vmrole_unattend import nocloud

from tests.world.waiting import until

STALE = b'{"jsonrpc": "2.0", "id": "another-1", "result": {"instance": "web-9.shop"}}\n'
ENDS_S = 60.0
HELD_S = 600.0
SHELLS = (("dash",), ("busybox", "sh"), ("bash", "--posix"))
Host = Callable[[bytes], bytes]


def mine(request_id: bytes) -> bytes:
    """The answer to a request."""
    return b'{"jsonrpc": "2.0", "id": "' + request_id + b'", "result": {"instance": "web-0.shop"}}\n'


class Device:
    """A port of the channel in a directory, with a host behind it."""

    def __init__(self, place: Path) -> None:
        self.outer, self.inner = os.openpty()
        tty.setraw(self.inner)
        listed = place / "ports" / "vport"
        listed.mkdir(parents=True)
        (listed / "name").write_text("com.vmrole.guest.0\n")
        (place / "vport").symlink_to(os.ttyname(self.inner))

    def serve(self, host: Host) -> None:
        """Answers each request that comes, by its id."""
        said = b""
        with contextlib.suppress(OSError):
            while data := os.read(self.outer, 65536):
                said += data
                while (request := re.search(rb'"id":"([^"]*)".*\n', said)) is not None:
                    said = said[request.end() :]
                    if answer := host(request[1]):
                        os.write(self.outer, answer)

    def holders(self) -> list[int]:
        """The processes but this that have the port."""
        name, pids = os.ttyname(self.inner), []
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if str(link.readlink()) == name and int(link.parts[2]) != os.getpid():
                    pids.append(int(link.parts[2]))
        return pids


@contextlib.contextmanager
def device(place: Path, host: Host) -> Iterator[Device]:
    """A port with a host, until the end."""
    made = Device(place)
    serving = threading.Thread(target=made.serve, args=(host,), daemon=True)
    serving.start()
    try:
        yield made
    finally:
        for pid in made.holders():
            os.kill(pid, signal.SIGKILL)
        os.close(made.inner)
        serving.join()
        os.close(made.outer)


@pytest.fixture(params=SHELLS, ids=lambda argv: argv[0])
def argv(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """The client by one of the shells, with the port of this test and one second of patience, and its files here."""
    text = nocloud.guest_script("vmrole-guest.sh")
    for old, new in (
        ("/sys/class/virtio-ports", f"{tmp_path}/ports"),
        ("port=/dev/", f"port={tmp_path}/"),
        ("in /run /dev/shm /tmp;", f"in {tmp_path}/none {tmp_path}/files;"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "files").mkdir()
    program = tmp_path / "client"
    program.write_text(text.replace("#!/bin/sh", f"#!/usr/bin/env -S {' '.join(request.param)}"))
    program.chmod(0o755)
    return [str(program)]


def left_behind(place: Path) -> list[Path]:
    """Its files."""
    return list((place / "files").iterdir())


@pytest.mark.parametrize("before", [0, 1, 2, 500], ids="{} unread".format)
def test_its_answer_is_heard_behind_those_of_another(argv: list[str], tmp_path: Path, before: int) -> None:
    """However they come: a line that was read together with one before it was lost, and never came again."""
    with device(tmp_path, lambda request_id: STALE * before + mine(request_id)):
        done = subprocess.run([*argv, "whoami"], capture_output=True, check=False, timeout=HELD_S)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'"web-0.shop"' in done.stdout
    assert b"web-9" not in done.stdout
    assert left_behind(tmp_path) == []


def test_who_is_not_answered_gives_up_and_leaves_the_port(argv: list[str], tmp_path: Path) -> None:
    """Nothing of it goes on to read, or the next could not speak; and whoever waits for its output is not held up."""
    program = Path(argv[0])
    program.write_text(program.read_text().replace("within=25", "within=1"))
    with device(tmp_path, lambda request_id: STALE) as port:
        done = subprocess.run([*argv, "whoami"], capture_output=True, check=False, timeout=HELD_S)
        assert (done.returncode, done.stdout) == (4, b"")
        assert done.stderr.endswith(b"nobody answers\n")
        until(lambda: port.holders() == [], ENDS_S, what="the port that nobody has")


def test_who_is_told_to_end_leaves_the_port(argv: list[str], tmp_path: Path) -> None:
    """At once, though the host says nothing."""
    environment = {**os.environ, "VMROLE_GUEST_TIMED": "yes"}
    with device(tmp_path, lambda request_id: b"") as port:
        with subprocess.Popen([*argv, "whoami"], env=environment, stdout=subprocess.PIPE) as client:
            until(lambda: len(port.holders()) >= 2, ENDS_S, what="the program that reads")
            client.terminate()
            assert client.wait(ENDS_S) == 143
        until(lambda: port.holders() == [], ENDS_S, what="the port that nobody has")
    assert left_behind(tmp_path) == []
