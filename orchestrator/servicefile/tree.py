"""YAML text in, a tree of plain values with the line of every key out. What the keys mean is not known here.

The tree is built from the parser's events, one by one, so that a hostile text is refused at the first value too many
and not after it was built: deep nesting, a million values, and aliases that stand for a million values. Scalars are
resolved by the core schema of YAML 1.2 (yaml.org/spec/1.2.2, section 10.3.2): a MAC address stays a string, and `no`
and `on` are words. What guests are given is read by `vmrole_unattend`, as they will read it: that is YAML 1.1.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from vmrole_unattend.yaml_tags import BoundedScanner

from orchestrator.errors import InvalidInput, Problem

TEXT_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 32
VALUES_MAX = 20_000  # aliases counted each time that they are used
SEE = "see the example in the README"

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")  # and halves of surrogate pairs
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,30}|[0-9]{1,30}(?:\.[0-9]{0,30})?)(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
# What the parser says begins with this; what is said instead, "" for the same; what would be right.
_SYNTAX = (
    (
        "mapping values are not allowed here",
        "a key where none can stand: its indentation, or a second ': ' on the line, does not fit",
        "keys of one mapping begin in the same column; a text with ': ' in it stands in quotes",
    ),
    (
        "expected <block end>",
        "the indentation does not fit what stands above",
        "keys of one mapping, and items of one list, begin in the same column",
    ),
    ("found character '\\t'", "a tab", "indent with blanks"),
    ("found character", "", "put the text into quotes"),
    ("found unexpected end of stream", "a quote that is never closed", "close it, with the quote that it began with"),
    ("expected ',' or '}'", "a { that is not closed, or no comma before this", "write {key: value, key: value}"),
    ("expected ',' or ']'", "a [ that is not closed, or no comma before this", "write [value, value]"),
    ("sequence entries are not allowed here", "a list that begins behind its key", "begin it on the next line"),
    ("expected the node content, but found '<stream end>'", "an end before the value", "close every [, { and quote"),
    ("expected the node content", "no value where one should stand", "write one; a text of such signs in quotes"),
    ("the tag ", "", "remove it"),
    ("found unknown escape character", "", "use single quotes, in which a \\ is a \\"),
)
_STRING_TAGS = (None, "!", "tag:yaml.org,2002:str")


class Map(dict[str, object]):
    """A mapping as it was written. `lines` gives the line (1-based) of every key."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}

    def __repr__(self) -> str:
        return "a mapping"


def line_in(tree: object, key: str) -> int | None:
    """The line on which `key` ("roles.web.size"), or its nearest parent, is written; None for no part of it."""
    line = None
    for step in key.split("."):
        if not isinstance(tree, Map) or step not in tree:
            break
        line = tree.lines[step]
        tree = tree[step]
    return line


def read_tree(source: str) -> tuple[Map, tuple[Problem, ...]]:
    """The one document in `source`, and faults that leave it readable. Raises InvalidInput for all others."""
    if len(source.encode(errors="replace")) > TEXT_BYTES_MAX:
        limit = f"{TEXT_BYTES_MAX // 1024} KiB"
        raise _refusal(f"the service file is larger than {limit}", None, "put large data into the image")
    if (odd := _CONTROL.search(source)) is not None:
        at = source.count("\n", 0, odd.start()) + 1
        raise _refusal(f"a control character U+{ord(odd.group()):04X}", at, "remove it: the file must be plain text")
    builder = _Builder()
    try:
        for event in _events(source):
            builder.take(event)
    except MarkedYAMLError as error:
        said = (error.problem or "").split("\n")[0]
        mark = error.problem_mark or error.context_mark
        if "end of stream" in said or "<stream end>" in said:  # Where it began helps more.
            mark = error.context_mark or mark
        message, hint = _in_words(said)
        last = max(1, len(source.splitlines()))  # Behind it is where the parser sees the end.
        raise _refusal(message, min(mark.line + 1, last) if mark else None, hint) from error
    except (YAMLError, RecursionError, ValueError) as error:
        raise _refusal(f"not YAML: {str(error)[:100]}", None, SEE) from error
    match builder.root:
        case None:
            raise _refusal("the service file is empty", None, SEE)
        case Map() as tree:
            return tree, tuple(builder.problems)
        case _:
            raise _refusal("the service file is not a mapping", 1, "begin with `service: NAME`")


def _events(source: str) -> Iterator[Event]:
    # Typ "safe" skips comments instead of keeping them: a file of nothing else is read in a fraction of the time.
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = BoundedScanner
    yield from yaml.parse(source)


def _in_words(said: str) -> tuple[str, str]:
    """What the parser says, in the words of who writes a service file; and what would be right."""
    for beginning, message, hint in _SYNTAX:
        if said.startswith(beginning):
            return message or said[:200], hint
    return f"not YAML: {said[:200]}", SEE


def _refusal(message: str, line: int | None, hint: str) -> InvalidInput:
    return InvalidInput(message, problems=(Problem(message, line=line, hint=hint),), hint=hint)


@dataclasses.dataclass(slots=True)
class _Open:
    """A mapping or list that has not ended. `began` is the count of values before it."""

    node: Map | list[object]
    anchor: str | None
    began: int
    key: str | None = None
    path: str = ""


class _Builder:
    """Takes events, keeps within the limits."""

    def __init__(self) -> None:
        self.root: object = None
        self.problems: list[Problem] = []
        self._documents = 0
        self._open: list[_Open] = []
        self._values = 0
        self._anchors: dict[str, tuple[object, int]] = {}  # the value, and how many values it stands for

    def take(self, event: Event) -> None:
        line = event.start_mark.line + 1
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _refusal("several documents in one file", line, "one service a file: apply them one by one")
            case AliasEvent():
                self._alias(str(event.anchor), line)
            case ScalarEvent():
                self._count(1, line)
                self._place(self._scalar(event, line), event, line)
            case MappingStartEvent() | SequenceStartEvent():
                self._begin(event, line)
            case CollectionEndEvent():
                ended = self._open.pop()
                if ended.anchor:
                    self._anchors[ended.anchor] = (ended.node, self._values - ended.began)
            case _:
                pass  # The ends of the stream and of documents say nothing.

    def _count(self, values: int, line: int) -> None:
        self._values += values
        if self._values > VALUES_MAX:
            hint = "put large data into the image, and use no aliases to multiply"
            raise _refusal(f"the service file expands to more than {VALUES_MAX} values", line, hint)

    def _begin(self, event: MappingStartEvent | SequenceStartEvent, line: int) -> None:
        began = self._values
        self._count(1, line)
        if len(self._open) >= DEPTH_MAX:
            raise _refusal(f"the service file is nested deeper than {DEPTH_MAX} levels", line, SEE)
        self._untagged(event, line)
        node: Map | list[object] = Map() if isinstance(event, MappingStartEvent) else []
        path = self._place(node, event, line)
        anchor = None if event.anchor is None else str(event.anchor)
        if anchor:
            self._anchors.pop(anchor, None)
        self._open.append(_Open(node, anchor, began, path=path))

    def _alias(self, name: str, line: int) -> None:
        if name not in self._anchors:
            raise _refusal(f"*{name[:60]} refers to nothing before it", line, "define it first, with &")
        value, stands_for = self._anchors[name]
        self._count(stands_for, line)
        self._place(value, None, line)

    def _place(self, value: object, event: NodeEvent | None, line: int) -> str:
        """Puts the value where it belongs, and returns under which path of keys that is."""
        if event is not None and event.anchor is not None and not isinstance(value, Map | list):
            self._anchors[str(event.anchor)] = (value, 1)
        if not self._open:
            self.root = value
            return ""
        parent = self._open[-1]
        if isinstance(parent.node, list):
            parent.node.append(value)
            return parent.path
        if parent.key is None:
            parent.key = self._key(value, event, parent, line)
            return parent.path
        key, parent.key = parent.key, None
        parent.node[key] = value
        return f"{parent.path}.{key}" if parent.path else key

    def _key(self, value: object, event: NodeEvent | None, parent: _Open, line: int) -> str:
        assert isinstance(parent.node, Map)
        text = value if isinstance(value, str) else event.value if isinstance(event, ScalarEvent) else None
        if text is None:
            raise _refusal("a key that is not a word", line, "write NAME: and what belongs to it")
        path = f"{parent.path}.{text}" if parent.path else text
        if not isinstance(value, str):
            self.problems.append(Problem(f"the key {text!r} is not a string", path, line, "put it into quotes"))
        if text in parent.node:
            first = parent.node.lines[text]
            self.problems.append(Problem(f"duplicate key, first written in line {first}", path, line, "keep one"))
        else:
            parent.node.lines[text] = line
        return text

    def _scalar(self, event: ScalarEvent, line: int) -> object:
        text = str(event.value)
        if (odd := _CONTROL.search(text)) is not None:  # Written as an escape: the source was looked at before.
            raise _refusal(f"a control character U+{ord(odd.group()):04X}", line, "the values must be plain text")
        if event.style is not None or event.tag is not None:
            self._untagged(event, line)
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _untagged(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int) -> None:
        tag = None if event.tag is None else str(event.tag)
        if tag not in (_STRING_TAGS if isinstance(event, ScalarEvent) else (None, "!")):
            raise _refusal(f"the tag {tag[:60] if tag else tag!r} has no meaning here", line, "remove it")
