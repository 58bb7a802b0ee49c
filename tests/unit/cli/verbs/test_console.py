"""`vmrole console --follow`: what a guest writes, as it writes it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from orchestrator.cli.verbs.console import LOG_BYTES
from tests.world.api_daemon import SHOP, Daemon
from tests.world.command_line import VMROLE

PATIENCE_S = 120.0


@pytest.fixture
def log(daemon: Daemon) -> Path:
    """Where the log of an instance will be; it has not started."""
    daemon.control.apply(SHOP)
    path = daemon.layout.console(daemon.control.instance("web-0").name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def following(*options: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """The command, and what it prints."""
    command = [*VMROLE, "console", "web-0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout
        finally:
            process.kill()


def read(out: IO[bytes], count: int) -> bytes:
    """So many bytes of it, as soon as they have been printed."""
    text = b""
    with selectors.DefaultSelector() as ready:
        ready.register(out, selectors.EVENT_READ)
        while len(text) < count and ready.select(PATIENCE_S):
            chunk = os.read(out.fileno(), count - len(text))
            if not chunk:
                break
            text += chunk
    return text


def append(log: Path, text: bytes) -> None:
    """As the keeper of consoles writes it."""
    with log.open("ab") as file:
        file.write(text)


def test_what_a_guest_writes_is_followed(daemon: Daemon, log: Path) -> None:
    """From before its VM starts, over a daemon that is away and one that hangs up, a roll-over and a reimage, to the
    end of the instance.
    """
    with following("-f") as (process, out):
        for text in (b"boot\n", b"login: "):
            append(log, text)
            assert read(out, len(text)) == text
        away = daemon.socket.rename(daemon.socket.with_name("away.sock"))
        append(log, b"root\n")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(daemon.socket))
            listener.listen()
            listener.settimeout(PATIENCE_S)
            listener.accept()[0].close()
        away.rename(daemon.socket)
        log.rename(f"{log}.0")
        append(log, b"rolled over\n")
        assert read(out, 17) == b"root\nrolled over\n"
        log.unlink()
        log.with_name(f"{log.name}.0").unlink()
        append(log, b"made anew\n")
        assert read(out, 10) == b"made anew\n"
        daemon.wipe()
        assert process.wait(PATIENCE_S) == 3
        assert process.stderr is not None
        assert b"web-0" in process.stderr.read()


def test_what_is_followed_cannot_command_the_terminal(log: Path) -> None:
    """Escapes are shown, also one whose bytes come one by one; a letter in two parts is one; lines end as they do."""
    with following("--follow") as (_, out):
        for text, shown in (
            (b"\x1b]0;owned\x07\tx\r", "\ufffd]0;owned\ufffd    x"),
            (b"\nb\xc3", "\nb"),
            (b"\xbc\xff.", "ü\ufffd."),
        ):
            append(log, text)
            expected = shown.encode()
            assert read(out, len(expected)) == expected


def test_it_is_raw_where_that_is_asked_for(log: Path) -> None:
    """Byte for byte, and more than one part of it."""
    text = b"\x1b[31mred\xff\r\n" + b"0123456789abcdef" * (LOG_BYTES // 16)
    log.write_bytes(b"begin\n")
    with following("--raw", "-f") as (_, out):
        assert read(out, 6) == b"begin\n"
        append(log, text)
        assert read(out, len(text)) == text


def test_it_ends_when_it_is_interrupted(log: Path) -> None:
    """As any command: Ctrl-C is no fault."""
    log.write_bytes(b"begin\n")
    with following("-f") as (process, out):
        assert read(out, 6) == b"begin\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
