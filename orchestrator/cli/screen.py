"""What a guest may do to the terminal of whoever sits at its console."""

from __future__ import annotations

import codecs
import enum
from typing import Final

from orchestrator.cli import render

_ESCAPE: Final = "\x1b"
_MOST_CHARS: Final = 32  # of one sequence: none that is allowed is longer
_OBEYED: Final = frozenset("\a\b\t\n\v\f\r\x0e\x0f")  # bell, places, lines, and which of two sets of letters
_LONE: Final = frozenset("78=>DEHM")  # behind ESC: keep and give back the place, keypad, lines, tab stops
_LETTERS: Final = frozenset("()")  # behind ESC, before the name of a set of letters
_SETS: Final = frozenset("0AB")
_VALUES: Final = frozenset("0123456789;:")
_MOST_DIGITS: Final = 4
_ERASING: Final = frozenset("JK")
_FINAL: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`adefgmrsu")  # behind ESC [: places, erasing, colours, lines
_MODES: Final = frozenset({"4", "?1", "?7", "?12", "?25", "?47", "?1047", "?1048", "?1049", "?2004"})
# The first screen, all of it; keys, pasting, cursor, lines, letters and colours as shells expect them.
AFTERWARDS: Final = b"\x1b7\x1b[?1047l\x1b[r\x1b8\x1b[?1l\x1b>\x1b[?2004l\x1b[?25h\x1b[?7h\x1b[4l\x1b(B\x0f\x1b[m"


class Screen:
    """What an interactive console may do to a terminal: places, colours, erasing, the other screen; all of it on the
    screen alone. What would name the window, reach the clipboard, print, or have the terminal answer (and so type) is
    shown and not obeyed.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = ""  # a sequence that is not whole yet

    def shown(self, part: bytes) -> bytes:
        """What a terminal shall have of the next part of what a guest wrote."""
        text = []
        for char in self._decoder.decode(part):
            if self._begun:
                text.append(self._go_on(char))
            elif char == _ESCAPE:
                self._begun = char
            else:
                text.append(char if char in _OBEYED else render.plain(char))
        return "".join(text).encode(errors="replace")

    def _go_on(self, char: str) -> str:
        """What is to be shown now that the sequence goes on so: nothing as long as it may yet become whole."""
        begun, self._begun = self._begun, ""
        whole = begun + char
        state = _state(whole)
        if state is _State.WHOLE:
            return whole
        if state is _State.BEGUN:
            self._begun = whole
            return ""
        if char == _ESCAPE:  # It begins another one.
            self._begun = char
            return render.plain(begun)
        return render.plain(begun) + (char if char in _OBEYED else render.plain(char))


class _State(enum.Enum):
    WHOLE = enum.auto()
    BEGUN = enum.auto()
    NONE = enum.auto()  # that is obeyed


def _state(sequence: str) -> _State:
    first, rest = sequence[1], sequence[2:]
    if first == "[":
        return _of_control(rest) if rest else _State.BEGUN
    if first in _LETTERS:
        return _State.BEGUN if not rest else _State.WHOLE if rest in _SETS else _State.NONE
    return _State.WHOLE if first in _LONE else _State.NONE


def _of_control(text: str) -> _State:
    """Of what stands behind ESC [: values, the private ones behind a ?, and a last sign that says what it does."""
    final = text[-1]
    if final in _VALUES or text == "?":
        return _State.BEGUN if len(text) < _MOST_CHARS else _State.NONE
    mark = "?" if text.startswith("?") else ""
    values = text[len(mark) : -1].replace(":", ";").split(";")
    if any(len(value) > _MOST_DIGITS for value in values):
        return _State.NONE
    if final in "hl":
        return _State.WHOLE if {mark + value for value in values} <= _MODES else _State.NONE
    return _State.WHOLE if final in (_ERASING if mark else _FINAL) else _State.NONE
