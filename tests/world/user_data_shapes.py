"""User-data of the shapes that people publish, with none of their texts: only what stands where, and of what kind.

The shapes were taken from public repositories: keys, how each value is written (block, quotes, brackets, anchors),
numbers, and words that cloud-init's own schema lists; of every other value its kind, as {url 23}. Here each becomes
user-data again, with values of ours.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import re
from pathlib import Path

SHAPES = Path(__file__).parents[1] / "golden/answers/user-data-shapes.json"
_KIND = re.compile(r"(?m)(^ *)?\{([a-z][a-z0-9-]*(?: [^{}\n]*)?)\}")
_SALTED = "$6$saltsalt$" + "a" * 86


class UserData:
    """All of them: `count`, the text of each, and what the text that it was taken from was told."""

    def __init__(self) -> None:
        self._kept: list[list[str]] = json.loads(SHAPES.read_text(encoding="utf-8"))
        self.count = len(self._kept)

    def text(self, number: int) -> str:
        """The user-data."""
        return fill(self._kept[number][0])

    def expected(self, number: int) -> tuple[str, str]:
        """Codes of warnings, with how often: without cloud-init's schema, and with that of its release 22.4.2."""
        without, by_schema = self._kept[number][1:]
        return without, by_schema


def fill(shape: str) -> str:
    """The shape with a value of ours for each kind; what begins a line of a block keeps to its column."""

    numbers = itertools.count()

    def value(match: re.Match[str]) -> str:
        column = match[1] or ""
        return column + _value(match[2], str(next(numbers))).replace("\n", f"\n{column}")

    return _KIND.sub(value, shape)


def _value(kind: str, number: str) -> str:
    """A value of that kind, which is no other's."""
    word, _, more = kind.partition(" ")
    match word:
        case "fill":
            return f"<to fill in {number}>"
        case "hash":
            return _SALTED
        case "key" | "nokey":
            return _key(more, sound=word == "key")
        case "private" | "cut-private":
            end = "\n-----END RSA PRIVATE KEY-----" if word == "private" else ""
            return f"-----BEGIN RSA PRIVATE KEY-----\nbm90IGEga2V5{end}"
        case "certificate":
            return "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydA==\n-----END CERTIFICATE-----"
        case "pgp":
            return "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbm90IGEga2V5\n-----END PGP PUBLIC KEY BLOCK-----"
        case "base64":
            return base64.b64encode(b"not a text of theirs").decode()
        case "gz64":
            return base64.b64encode(gzip.compress(b"not a text of theirs", mtime=0)).decode()
        case "url":
            return f"https://example.org/{number}".ljust(int(more), "u")
        case "path":
            return f"/srv/{number}".ljust(int(more), "p")
        case "dir":
            return "/srv/".ljust(int(more) - 1, "d") + "/"
        case "word":
            return f"t{more}"
        case "words":
            return ", ".join(f"w{each}" for each in range(int(more)))
        case "pair":
            return more
        case "ends":
            return "reboot now"
        case "text":
            return _text(more.split(), number)
        case _:
            raise ValueError(kind)


def _key(name: str, *, sound: bool) -> str:
    """A line of an authorized_keys file, of that type, or of one that it says it is not."""
    blob = len(name).to_bytes(4, "big") + (name if sound else name[::-1]).encode() + bytes(20)
    return f"{name} {base64.b64encode(blob).decode()} somebody@example.org"


def _text(words: list[str], number: str) -> str:
    """So many letters, with a blank unless it is `solid`, over so many lines and one."""
    length = int(words[0])
    if words[1:] == ["solid"]:
        return f"Ab.{number}".ljust(length, "c")
    ends = int(words[2]) if words[1:2] == ["of"] else 0
    lines = ["to say"] * ends + [f"more {number}"]
    return "\n".join(lines) + " and more" * max(0, (length - 7 * ends - 6) // 9)
