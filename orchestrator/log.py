"""How the daemon talks: lines for people on a terminal, JSON otherwise, the record it is about in every line.

INFO is a phase that changed or an operator's request; WARNING is waiting for the world; ERROR needs a human;
DEBUG is every look and every command.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TextIO

_SUBJECT: ContextVar[str] = ContextVar("subject", default="")
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.DEBUG: "\x1b[2m"}
# Control characters and the marks that reorder text: a line of the log is one line, and looks like what it is.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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
        about = _SUBJECT.get()
        text = printable(record.getMessage())
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = f"{self.formatTime(record, '%H:%M:%S')} {about + ': ' if about else ''}{level}{text}"
        colour = _COLOURS.get(record.levelno, "") if self._colour else ""
        if record.exc_info:
            # Indented, since an exception's text may hold line ends: none of its lines looks like one of the log.
            for told in self.formatException(record.exc_info).split("\n"):
                line += "\n    " + printable(told)
        return f"{colour}{line}\x1b[0m" if colour else line


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


def set_up(*, style: str = "auto", level: str = "info", out: TextIO | None = None) -> None:
    """Sends the log to `out` (standard error). `style` is "auto" (by terminal), "text" or "json"."""
    stream = out or sys.stderr
    terminal = stream.isatty()
    if style == "json" or (style == "auto" and not terminal):
        formatter: logging.Formatter = ForMachines()
    else:
        formatter = ForPeople(colour=terminal and not os.environ.get("NO_COLOR"))
    destination = logging.StreamHandler(stream)
    destination.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [destination]
    root.setLevel(level.upper())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
