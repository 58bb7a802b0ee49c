"""Texts as an editor, a mail or a disk leaves them that went wrong: cut, doubled, swapped, changed."""

from __future__ import annotations

import random
from collections.abc import Iterator

_ODD = (*rb"""& < { [ ' " : # *a %""".split(), b"\t", b"\0", b"\xff", b"\xe2\x80\x8b", b"&a ", b"!!x ", b": ")


def damaged(source: bytes, chance: random.Random, often: int) -> Iterator[bytes]:
    """So many variants of a text, each with one damage."""
    for _ in range(often):
        lines = source.splitlines(keepends=True)
        at, line = chance.randrange(len(source) + 1), chance.randrange(len(lines))
        match chance.randrange(6):
            case 0:
                yield source[:at]
            case 1:
                yield b"".join([*lines[: line + 1], *lines[line:]])
            case 2:
                yield source[:at] + chance.choice(_ODD) + source[at:]
            case 3:
                yield source[:at] + source[at + chance.randrange(1, 40) :]
            case 4:
                yield b"".join([*lines[:line], b" " * chance.randrange(1, 5) + lines[line], *lines[line + 1 :]])
            case _:
                yield b"".join(chance.sample(lines, len(lines)))
