"""Text as man(7) has it: what roff would take for its own is escaped, and the macros that a manual page needs. Pure.

All but `escaped` and `words` give whole lines, without their ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

# Where roff has a meaning or a typographer's glyph of its own for what a reader is to type as it stands.
_GLYPHS: Final = {
    "\\": r"\[rs]",
    "-": r"\-",
    "'": r"\[aq]",
    '"': r"\[dq]",
    "`": r"\[ga]",
    "^": r"\[ha]",
    "~": r"\[ti]",
}
_LITERAL: Final = "\b\n"  # click's mark: the paragraph that follows keeps its lines


def escaped(text: str) -> str:
    """The text, to be printed as it is. A leading period is left to whoever puts it at the beginning of a line."""
    return "".join(_GLYPHS.get(each) or (each if each.isascii() else rf"\[u{ord(each):04X}]") for each in text)


def bold(text: str) -> str:
    """What is typed as it stands."""
    return rf"\fB{escaped(text)}\fR"


def italic(text: str) -> str:
    """What stands for something else."""
    return rf"\fI{escaped(text)}\fR"


def words(text: str) -> str:
    """Prose on one line; what stands between backquotes is typed as it stands."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    return _guarded("".join(bold(part) if number % 2 else escaped(part) for number, part in enumerate(parts)))


def head(name: str, section: int, version: str) -> Iterator[str]:
    """Of a page; it bears no date, so that the same version is always the same page."""
    yield f'.TH "{escaped(name.upper())}" {section} "" "{escaped(version)}" "vmrole"'
    yield from (".nh", ".ad l")  # What is broken in two, or spaced out, is copied so.


def section(heading: str) -> str:
    """A heading."""
    return f'.SH "{escaped(heading)}"'


def subsection(heading: str) -> str:
    """A heading below one."""
    return f'.SS "{escaped(heading)}"'


def paragraphs(text: str) -> Iterator[str]:
    """Prose, with empty lines between its paragraphs, as click's help is."""
    for paragraph in re.split(r"\n[ \t]*\n", text.strip("\n")):
        if paragraph.startswith(_LITERAL):
            yield from literal(paragraph.removeprefix(_LITERAL).splitlines())
        elif paragraph.strip():
            yield ".PP"
            yield words(paragraph)


def literal(lines: Iterable[str]) -> Iterator[str]:
    """Lines as they are."""
    yield from (".PP", ".EX", *(_guarded(escaped(line)) for line in lines), ".EE")


def terms(rows: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    """What each term, which is roff already, means: sentences, each on a line of its own."""
    for term, meanings in rows:
        yield from (".TP", _guarded(term))
        for number, meaning in enumerate(meanings):
            yield from ((".br",) if number else ())
            yield words(meaning)


def _guarded(line: str) -> str:
    """A line of text, which would be a request if it began with a period, and end the paragraph if it was empty."""
    return line if line[:1] not in (".", "") else rf"\&{line}"
