"""Several services in one text: where each of its YAML documents begins and ends. What one says is not known here.

A line `---` begins a document and a line `...` ends it wherever they stand (yaml.org/spec/1.2.2, section 9.1.2: no
scalar may hold them), so that a fault in one document hides none in the next.
"""

from __future__ import annotations

import dataclasses
import re

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
_BEGINS = re.compile(r"---(?=[ \t\r\n]|\Z)")
_ENDS = re.compile(r"\.\.\.(?=[ \t\r\n]|\Z)")
_SAYS_NOTHING = re.compile(r"(?:---|\.\.\.)?[ \t]*(?:#.*)?")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """One document of a text. `number` (from 1) counts those that say something; `line` (1-based) is its first."""

    text: str
    number: int
    line: int


def split(source: str) -> tuple[YamlDocument, ...]:
    """The documents of a text, in order; () when there is nothing but blanks and comments in it."""
    found: list[YamlDocument] = []
    lines: list[str] = []
    first = 1

    def close(next_line: int) -> None:
        nonlocal first
        if not all(_is_silent(line) for line in lines):
            if all(_is_silent(line) or line.startswith("%") for line in lines):
                return  # Directives belong to the document that follows them.
            found.append(YamlDocument(text="".join(lines), number=len(found) + 1, line=first))
        lines.clear()
        first = next_line

    number = 0
    for number, match in enumerate(_LINE.finditer(source.removeprefix("\ufeff")), start=1):
        line = match[0]
        bare = line.removeprefix("\ufeff")  # Files that were joined: each document may have its own (section 5.2).
        if _BEGINS.match(bare) or all(_is_silent(before) for before in lines):
            line = bare
        if _BEGINS.match(line):
            close(number)
        lines.append(line)
        if _ENDS.match(line):
            close(number + 1)
    close(number + 1)
    return tuple(found)


def _is_silent(line: str) -> bool:
    return _SAYS_NOTHING.fullmatch(line.rstrip("\r\n")) is not None
