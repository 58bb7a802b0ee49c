"""The log: one line is one line, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from orchestrator import log


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the log goes; the root logger is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
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
