"""How the daemon talks: lines for people on a terminal, fields for systemd's journal, JSON otherwise, the record it
is about in every line.

INFO is a phase that changed or an operator's request; WARNING is waiting for the world; ERROR needs a human;
DEBUG is every look and every command.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

_SUBJECT: ContextVar[str] = ContextVar("subject", default="")
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.DEBUG: "\x1b[2m"}
# Control characters and the marks that reorder text: a line of the log is one line, and looks like what it is.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

JOURNAL = "/run/systemd/journal/socket"
_IDENTIFIER = "vmrole"  # as of what the unit's programs write
_JOURNAL_WITHIN_S = 5.0
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}  # syslog(3)


@contextlib.contextmanager
def subject(name: str) -> Iterator[None]:
    """Every line that is logged inside is about `name`: an instance, a service or an operation."""
    token = _SUBJECT.set(name)
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def printable(text: str) -> str:
    """`text` with everything that could break out of a line written as an escape."""
    return _UNPRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


class Seldom:
    """Warnings of one kind, so seldom that who causes them cannot fill the disk; the next one says how many were not
    told. Not thread-safe: a count may be off, no more.
    """

    def __init__(self, log: logging.Logger, every_s: float) -> None:
        self._log = log
        self._every_s = every_s
        self._next_s = 0.0
        self._untold = 0

    def warning(self, message: str, *arguments: object) -> None:
        """Tells it, unless the last one is not so long ago."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            self._untold += 1
            return
        more = f" ({self._untold} times more since the last time)" if self._untold else ""
        self._log.warning(f"{message}%s", *arguments, more)
        self._next_s, self._untold = now_s + self._every_s, 0


class ForPeople(logging.Formatter):
    """`23:08:01 web-0.shop: setup -> starting after=13.1s`, coloured when `colour`."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, and below it the traceback of a bug."""
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{self.formatTime(record, '%H:%M:%S')} {_sentence(record, level)}"
        colour = _COLOURS.get(record.levelno, "") if self._colour else ""
        return f"{colour}{line}\x1b[0m" if colour else line


def _sentence(record: logging.LogRecord, level: str = "") -> str:
    """What is told, of whom, and below it the traceback of a bug."""
    about = _SUBJECT.get()
    line = f"{about + ': ' if about else ''}{level}{printable(record.getMessage())}"
    if record.exc_info:
        # Indented, since an exception's text may hold line ends: none of its lines looks like one of the log.
        for told in logging.Formatter().formatException(record.exc_info).split("\n"):
            line += "\n    " + printable(told)
    return line


class ForMachines(logging.Formatter):
    """One JSON object a line: time (RFC 3339, UTC), level, logger, subject, message, and a bug's exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, keys in a fixed order."""
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said = {
            "time": f"{seconds}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "subject": _SUBJECT.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said)


class ForJournal(logging.Handler):
    """systemd's journal by its own protocol, a datagram of fields for each record: one asks for those of an instance
    by `journalctl VMROLE_SUBJECT=web-0.shop`. What the journal does not take goes to `otherwise`.
    """

    def __init__(self, otherwise: logging.Handler, address: str) -> None:
        super().__init__()
        self._otherwise = otherwise
        self._address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_JOURNAL_WITHIN_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Sends it; by an address each time, since the journal may have been started anew."""
        try:
            self._socket.sendto(_datagram(record), self._address)
        except (OSError, TypeError, ValueError, KeyError):
            # Of arguments that do not fit their message the other tells, too.
            self._otherwise.handle(record)

    def close(self) -> None:
        """Ends it and its socket."""
        self._socket.close()
        super().close()


def _datagram(record: logging.LogRecord) -> bytes:
    """Fields as the journal's native protocol has them: a value of several lines has its length before it."""
    fields = {
        "MESSAGE": _sentence(record),
        "PRIORITY": str(_PRIORITIES.get(record.levelno, 2)),
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        "VMROLE_SUBJECT": _SUBJECT.get(),
        "VMROLE_LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    sent = b""
    for name, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            sent += name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        elif data:
            sent += name.encode() + b"=" + data + b"\n"
    return sent


def _goes_to_the_journal(stream: TextIO) -> bool:
    """Whether systemd connected it so: systemd.exec(5), JOURNAL_STREAM."""
    try:
        known = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{known.st_dev}:{known.st_ino}"


def set_up(*, style: str = "auto", level: str = "info", out: TextIO | None = None) -> None:
    """Sends the log to `out` (standard error), or to systemd's journal.

    `style` is "text", "json" or "journal", or "auto": by what `out` is connected to.
    """
    stream = out or sys.stderr
    if style == "auto":
        style = "text" if stream.isatty() else "journal" if _goes_to_the_journal(stream) else "json"
    destination: logging.Handler = logging.StreamHandler(stream)
    if style == "text":
        destination.setFormatter(ForPeople(colour=stream.isatty() and not os.environ.get("NO_COLOR")))
    else:
        destination.setFormatter(ForMachines())
    if style == "journal":
        destination = ForJournal(destination, JOURNAL)
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
        if isinstance(former, ForJournal):
            former.close()
    root.addHandler(destination)
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
