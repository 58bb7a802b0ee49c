"""`vmrole exec`: a command in a guest, by the routes of the API."""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import pty
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.client import commands
from orchestrator.client.client import Client
from orchestrator.errors import Conflict, InvalidInput, NotFound, Permanent, Transient, WaitedTooLong
from tests.world.api_daemon import SECRET, SHOP, Daemon
from tests.world.command_line import VMROLE, Run
from tests.world.living import inside, serving


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A service that serves."""
    with serving(tmp_path_factory.mktemp("daemon")) as running:
        yield running


def vmrole(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command line as a program: what it prints are bytes."""
    return subprocess.run([*VMROLE, *words], input=given, capture_output=True, check=False)


@pytest.fixture(autouse=True)
def _named(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMROLE_SOCKET", str(daemon.socket))


def test_it_is_as_if_it_ran_here() -> None:
    """Both outputs byte for byte, the standard input where that is asked for, and the exit status."""
    done = vmrole("exec", "-i", "web-0", "/bin/sh", "-c", "cat; echo trouble >&2; exit 7", given=b"a\xff\n\x1b[31m")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"a\xff\n\x1b[31m", b"trouble\n")
    assert vmrole("exec", "web-0", "cat", given=b"not given").stdout == b""
    assert vmrole("exec", "web-0", "echo", "--timeout", "-i").stdout == b"--timeout -i\n"
    assert vmrole("exec", "--timeout", "20s", "web-0.shop", "sleep", "3").returncode == 0


def test_dashes_before_the_command_are_for_habits_sake() -> None:
    """As of kubectl; the first of them alone, and they are no command themselves."""
    assert vmrole("exec", "web-0", "--", "echo", "-n", "--", "x").stdout == b"-n -- x\n"
    done = vmrole("exec", "web-0", "--")
    assert (done.returncode, b"Missing argument" in done.stderr) == (2, True)


def test_a_terminal_is_shown_nothing_that_it_obeys() -> None:
    """What a guest prints is not trusted."""
    ours, theirs = pty.openpty()
    done = subprocess.run([*VMROLE, "exec", "web-0", "echo", "\x1b]0;owned\x07"], stdout=theirs, check=False)
    os.close(theirs)
    assert done.returncode == 0
    assert os.read(ours, 1000).decode() == "\ufffd]0;owned\ufffd\r\n"
    os.close(ours)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("web-9", "true"), 3, "no instance"),
        (("shop", "true"), 3, "a service, not an instance"),
        (("web-0", "frobnicate"), 3, "No such file"),
        (("--timeout", "1s", "web-0", "sleep", "100000"), 4, "it goes on in the guest"),
        (("web-0",), 2, "Missing argument"),
    ],
)
def test_what_cannot_be_is_told(words: tuple[str, ...], status: int, said: str) -> None:
    """With the exit status that such errors have everywhere."""
    done = vmrole("exec", *words)
    assert (done.returncode, done.stdout) == (status, b"")
    assert said in done.stderr.decode()


def test_an_agent_that_forbids_it_says_so(daemon: Daemon) -> None:
    """With another way."""
    inside(daemon).forbids.add("exec")
    try:
        done = vmrole("exec", "web-0", "true")
    finally:
        inside(daemon).forbids.clear()
    assert done.returncode == 5
    assert b"vmrole ssh" in done.stderr


def test_more_input_than_fits_is_refused() -> None:
    """Before anything has begun."""
    done = vmrole("exec", "-i", "web-0", "cat", given=b"x" * (512 * 1024 + 1))
    assert done.returncode == 2
    assert b"vmrole cp" in done.stderr


def test_the_log_has_the_program_and_no_secret(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    """Words behind it may be passwords."""
    with caplog.at_level(logging.INFO):
        daemon.client().begin_command("web-0", ["echo", SECRET], SECRET.encode())
    assert "(exec web-0 echo)" in caplog.text
    assert SECRET not in caplog.text


def test_a_guest_that_was_started_again_has_lost_it(daemon: Daemon) -> None:
    """The number would be another process's by now. What is no number of a command is no command."""
    client = daemon.client()
    begun = client.begin_command("web-0", ["true"])
    generation, boot, pid = begun["id"].split("-")
    with pytest.raises(Conflict, match="started again"):
        client.command("web-0", f"{generation}-{int(boot) + 1}-{pid}")
    for wrong in ("", "1", "1-2-x", "1-2-3-4", "../../x"):
        with pytest.raises(NotFound):
            client.command("web-0", wrong)


def test_bodies_that_cannot_be_meant_are_refused(daemon: Daemon) -> None:
    """Words with a zero, none at all, too many; input that is no base64."""
    client = daemon.client()
    for words in ([], ["a\0b"], ["x"] * 257):
        with pytest.raises(InvalidInput):
            client.begin_command("web-0", words)
    with pytest.raises(InvalidInput, match="base64"):
        client._json("POST", "/v1/instances/web-0/commands", {"command": ["cat"], "input": "?"}, {})


def test_a_guest_that_is_not_there_runs_nothing(run: Run, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Before its VM has started."""
    with Daemon(tmp_path_factory.mktemp("still")) as still:
        still.give_image()
        still.control.apply(SHOP)
        with pytest.raises(Conflict, match="requested: nothing runs there"):
            still.client().begin_command("web-0", ["true"])


def test_a_silence_in_between_is_waited_for(daemon: Daemon) -> None:
    """A busy guest, or a daemon that is started again, costs no command; a wait that is over says that it goes on."""
    client, name = daemon.client(), daemon.control.instance("web-0").name
    begun = client.begin_command(name, ["true"])
    silent = daemon.world.faults.agent_silent

    def hears_again() -> None:
        silent.clear()

    silent.add(name)
    with pytest.raises(Transient, match="silent"):
        client.command(name, begun["id"])
    silent.clear()
    silence, end = threading.Timer(0.5, silent.add, [name]), threading.Timer(1.5, hears_again)
    silence.start()
    end.start()
    ended = commands.run(client, name, ["sleep", "40"], within_s=30.0)
    end.join()
    assert ended.status == 0
    with pytest.raises(WaitedTooLong):
        commands.run(client, name, ["sleep", "100000"], within_s=0.0)


def test_output_is_base64_on_the_wire(daemon: Daemon) -> None:
    """Bytes of a guest are no text."""
    client = daemon.client()
    begun = client.begin_command("web-0", ["cat"], b"\xff\x00")
    told = client.command("web-0", begun["id"])
    assert (told["ended"], base64.b64decode(told["output"])) == (True, b"\xff\x00")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\n\r\n{"])
def test_a_command_whose_beginning_nobody_heard_of_is_not_begun_again(tmp_path: Path, answer: bytes) -> None:
    """A daemon that ends before it has answered may have begun it: a payment would be made twice."""
    asked = list[bytes]()

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # It is shut when the test is over.
            while True:
                talk, _ = listener.accept()
                with talk:
                    asked.append(talk.recv(65536))
                    talk.sendall(answer)

    with socket.create_server(str(tmp_path / "s"), family=socket.AF_UNIX) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(Permanent, match="whether pay began") as caught:
            commands.run(Client(str(tmp_path / "s")), "web-0.shop", ["pay"], within_s=5.0)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert "it may run" in caught.value.hint
    assert len(asked) == 1
