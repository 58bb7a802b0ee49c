"""The log: one line is one line, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import socket
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import log


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the log goes; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    for made in set(root.handlers) - set(handlers):
        made.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_machines_get_json(out: io.StringIO) -> None:
    """Where there is no terminal each line is an object with its subject."""
    log.set_up(out=out)
    with log.subject("web-0.shop"):
        logging.getLogger("x").warning("said %s", "this")
    said = json.loads(out.getvalue())
    assert (said["level"], said["subject"], said["message"]) == ("warning", "web-0.shop", "said this")


def test_people_get_lines(out: io.StringIO) -> None:
    """The subject first, the level only when it is not the usual one, no colour without a terminal."""
    log.set_up(style="text", out=out)
    with log.subject("web-0.shop"):
        logging.getLogger("x").info("fine")
        logging.getLogger("x").error("bad")
    first, second = out.getvalue().splitlines()
    assert first.endswith(" web-0.shop: fine")
    assert second.endswith(" web-0.shop: error: bad")
    assert "\x1b" not in out.getvalue()


class Terminal(io.StringIO):
    """A terminal as far as the log asks."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_gets_lines(out: io.StringIO, monkeypatch: pytest.MonkeyPatch, colour: bool) -> None:
    """Nobody has to say that a terminal is for people; what is wrong stands out, unless colours are not wanted."""
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    del out
    terminal = Terminal()
    log.set_up(out=terminal)
    logging.getLogger("x").error("bad")
    assert "error: bad" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert ("\x1b[" in terminal.getvalue()) is colour


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_breaks_out_of_a_line(out: io.StringIO, style: str) -> None:
    """Line ends, escapes and marks that reorder text are shown, not obeyed."""
    log.set_up(style=style, out=out)
    logging.getLogger("x").info("a\nb\x1b]0;title\x07\u202ec")
    assert len(out.getvalue().splitlines()) == 1
    assert not {"\x1b", "\x07", "\u202e"} & set(out.getvalue())


def test_the_level_is_kept(out: io.StringIO) -> None:
    """What is below the level is not said."""
    log.set_up(level="warning", out=out)
    logging.getLogger("x").info("quiet")
    assert out.getvalue() == ""


def test_a_traceback_stays_below_its_line(out: io.StringIO) -> None:
    """Text of an exception can neither reach the terminal's controls nor look like a line of the log."""
    log.set_up(style="text", out=out)
    try:
        raise ValueError("evil\x1b[2J\r\n23:00:00 web-0.shop: all is well")
    except ValueError:
        logging.getLogger("x").exception("a bug")
    first, *below = out.getvalue().splitlines()
    assert first.endswith("a bug")
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()
    assert below
    assert all(line.startswith("    ") for line in below)


@pytest.fixture
def journal() -> Iterator[socket.socket]:
    """Where systemd's journal takes datagrams."""
    with (
        tempfile.TemporaryDirectory(prefix="vmr-") as place,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made,
    ):
        made.bind(f"{place}/socket")
        made.settimeout(30)
        yield made


def fields(datagram: bytes) -> dict[str, str]:
    """The journal's native protocol, as systemd describes it: NAME=VALUE, or NAME, the length, and the value."""
    read: dict[str, str] = {}
    while datagram:
        line, datagram = datagram.split(b"\n", 1)
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", datagram[:8])
            value, datagram = datagram[8 : 8 + length], datagram[8 + length :]
            assert datagram[:1] == b"\n"
            datagram = datagram[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        assert name.decode() not in read
        read[name.decode()] = value.decode()
    return read


@pytest.mark.parametrize(("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3")])
def test_the_journal_gets_fields(
    out: io.StringIO, journal: socket.socket, monkeypatch: pytest.MonkeyPatch, level: str, priority: str
) -> None:
    """Its priority is what `journalctl -p` looks for, the subject what one asks by; the message is for people."""
    monkeypatch.setattr(log, "JOURNAL", journal.getsockname())
    log.set_up(style="journal", level="debug", out=out)
    with log.subject("web-0.shop"):
        getattr(logging.getLogger("x"), level)("said %s\n", "this")
    said = fields(journal.recv(65536))
    assert (said["MESSAGE"], said["PRIORITY"]) == (r"web-0.shop: said this\n", priority)
    assert (said["VMROLE_SUBJECT"], said["SYSLOG_IDENTIFIER"]) == ("web-0.shop", "vmrole")
    assert said["CODE_FILE"] == __file__
    assert out.getvalue() == ""


def test_a_traceback_is_one_record_of_the_journal(
    out: io.StringIO, journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text of an exception makes a field of its own."""
    monkeypatch.setattr(log, "JOURNAL", journal.getsockname())
    log.set_up(style="journal", out=out)
    try:
        raise ValueError("evil\nPRIORITY=0\n")
    except ValueError:
        logging.getLogger("x").exception("a bug")
    said = fields(journal.recv(65536))
    assert said["PRIORITY"] == "3"
    assert said["MESSAGE"].splitlines()[0] == "a bug"
    assert "    PRIORITY=0" in said["MESSAGE"].splitlines()
    assert "VMROLE_SUBJECT" not in said


def test_without_a_journal_nothing_is_lost(
    out: io.StringIO, journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it does not take, because it is away or because that is too large, is a line on standard error."""
    address = journal.getsockname()
    monkeypatch.setattr(log, "JOURNAL", address)
    log.set_up(style="journal", out=out)
    logging.getLogger("x").info("x" * 4_000_000)
    assert len(json.loads(out.getvalue())["message"]) == 4_000_000
    out.truncate(0)
    out.seek(0)
    journal.close()
    logging.getLogger("x").warning("alone")
    assert json.loads(out.getvalue())["message"] == "alone"


@pytest.mark.parametrize("connected", [True, False])
def test_the_journal_is_meant_where_systemd_connected_it(
    out: io.StringIO, journal: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, connected: bool
) -> None:
    """By the device and inode of the stream; one that was directed elsewhere since gets lines."""
    del out
    monkeypatch.setattr(log, "JOURNAL", journal.getsockname())
    with (tmp_path / "stream").open("w+") as stream:
        known = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{known.st_dev}:{known.st_ino + (not connected)}")
        log.set_up(out=stream)
        logging.getLogger("x").info("fine")
        stream.seek(0)
        printed = stream.read()
    if connected:
        assert (fields(journal.recv(65536))["MESSAGE"], printed) == ("fine", "")
    else:
        assert json.loads(printed)["message"] == "fine"
