"""Answer files of the shapes that people publish, with none of their texts: only what stands where, and of what kind.

The shapes were taken from public repositories: names of passes, components and settings, values that Windows'
reference lists, numbers, languages, zones, groups, and of every other value its kind. Here each becomes a file again,
with values of ours.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

SHAPES = Path(__file__).parents[1] / "golden/answers/shapes.json"
_ROOT = (
    '<unattend xmlns="urn:schemas-microsoft-com:unattend" '
    'xmlns:wcm="http://schemas.microsoft.com/WMIConfig/2002/State" xmlns:other="urn:other">'
)
_KEYS = 'publicKeyToken="31bf3856ad364e35" language="neutral" versionScope="nonSxS"'
_KEY = "BCDFG-HJKMP-QRTVW-XY234-67892"


class Shapes:
    """All of them: `count`, the file of each, and what the file that it was taken from was told."""

    def __init__(self) -> None:
        kept = json.loads(SHAPES.read_text(encoding="utf-8"))
        self._nodes = kept["nodes"]
        self._components = kept["components"]
        self._files = kept["files"]
        self.count = len(self._files)

    def expected(self, number: int) -> dict[str, str]:
        """Codes of findings, with how often, for each use."""
        return dict(zip(("install", "generalized"), self._files[number][2:], strict=True))

    def source(self, number: int) -> bytes:
        """The file."""
        style, passes = self._files[number][:2]
        lines = ['<?xml version="1.0" encoding="utf-8"?>', _ROOT]
        for phase, components in passes:
            body = [line for index in components for line in self._component(index)]
            lines += body if phase == "<outside>" else [f'<settings pass="{phase}">', *body, "</settings>"]
        text = ("\r\n" if "C" in style else "\n").join([*lines, "</unattend>"])
        return ("\N{BYTE ORDER MARK}" if "B" in style else "").encode() + text.encode()

    def _component(self, index: int) -> Iterator[str]:
        name, architecture, nodes = self._components[index]
        architecture = "{{ architecture }}" if architecture == "!fill" else architecture
        yield f'<component name="{name}" processorArchitecture="{architecture}" {_KEYS}>'
        for number, node in enumerate(nodes):
            yield from self._node(node, number)
        yield "</component>"

    def _node(self, index: int, number: int) -> Iterator[str]:
        head, inside, *text = self._nodes[index]
        name, _, marks = head.partition("|")
        name = f"other:{name[1:]}" if name.startswith("~") else name
        attributes = ""
        if marks:
            attributes += ' wcm:action="add"' if "a" in marks else ""
            attributes += f' wcm:action="{marks[1:].rstrip("k")}"' if marks.startswith("A") else ""
            attributes += ' other:action="add"' if "?" in marks else ""
            attributes += f' wcm:keyValue="k{number}"' if "k" in marks else ""
        if isinstance(inside, str):
            yield f"<{name}{attributes}>{escape(_value(inside))}</{name}>"
            return
        yield f"<{name}{attributes}>" + (escape(_value(text[0])) if text else "")
        for place, child in enumerate(inside):
            yield from self._node(child, place)
        yield f"</{name}>"


def _value(kind: str) -> str:
    """A value of ours of that kind; a kind without ! is the value itself."""
    if not kind.startswith("!"):
        return kind
    word, *more = kind[1:].split(" ")
    match word:
        case "cmd":
            return _command(more)
        case "enc":
            text = "" if more[0] == "-" else f"Pass{more[0]}"
            suffix = "" if more[1] == "-" else more[1]
            return base64.b64encode(f"{text}{suffix}".encode("utf-16-le")).decode()
        case "plain":
            return f"Pass{more[0]}"
        case "key":
            return _KEY
        case "nokey":
            return "XXXXX-XXXXX-XXXXX-XXXXX-XXXXX"
        case "fill":
            return "{{ value }}"
        case "badzone":
            return "Europe/Berlin"
        case "name":
            return "n" * int(more[0])
        case "group":
            return "Unheard Of"
        case "text":
            return _text(int(more[0]), more[1:])
        case _:
            return f"user{word}"


def _text(length: int, kinds: list[str]) -> str:
    start = {"slash": "C:\\a", "url": "https://example.org/"}.get(kinds[-1] if kinds else "", "")
    text = (start + "ab" * length)[: max(length, len(start))]
    return f"{text[:1]} {text[2:]}" if "sp" in kinds and not start and length > 2 else text


def _command(words: list[str]) -> str:
    program, rest = words[0], words[1:]
    switch = "/c " if "/c" in rest else ""
    length = next(int(word) for word in rest if word.isdecimal())
    start = f"{program} {switch}"
    text = start + "echo " + "a" * (length - len(start) - 5)
    return text.replace("aaa", "a\na", 1) if "nl" in rest else text
