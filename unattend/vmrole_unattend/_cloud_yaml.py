"""YAML as cloud-init reads it (PyYAML, version 1.1), with the line of each entry. What it means is not known here."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterator

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.scanner import ScannerError

from vmrole_unattend.yaml_tags import BoundedScanner

Path = tuple[str | int, ...]

_NODES_MAX = 50_000  # aliases counted as often as they stand: a few lines can name each other a billion times
_TOO_MANY = f"more than {_NODES_MAX} entries, aliases counted"
_INTEGER_BITS_MAX = 4096
_TAG = "tag:yaml.org,2002:"
_GROUPS = frozenset(f"{_TAG}{name}" for name in ("seq", "map", "omap", "pairs", "set")) | {"!"}
_PYTHON2_TEXT = f"{_TAG}python/unicode"  # cloud-init's own addition (cloudinit/safeyaml.py)
_COMMENTS = re.compile(r"#[^\n]*")
_UNSIGNED = re.compile(r"[eE][0-9]")
_QUOTED = re.compile(
    r"'(?!<)[^']{3,}'"
)  # in an error: a name out of the text, and not a kind of token or one character


class Broken(Exception):
    """The text is no YAML that cloud-init would take. `line` counts from 1; nothing of the text is in `problem`."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line


class TooMuch(Broken):
    """More than is looked at here; cloud-init may take it."""


class _Scanner(BoundedScanner):
    """Takes no tab for a blank between brackets; PyYAML does not, and JSON is often indented by tabs."""

    def scan_to_next_token(self) -> None:
        reader, start = self.reader, self.reader.pointer
        super().scan_to_next_token()
        between = reader.buffer[start : reader.pointer]
        if "\t" in between and "\t" in _COMMENTS.sub("", between):
            raise ScannerError(None, None, "found a tab where only blanks may stand", reader.get_mark())


class _Composer(Composer):
    """Ends with the first entry too many: a megabyte of them takes half a minute to be put together."""

    _entries = 0

    def compose_node(self, parent: object, index: object) -> object:
        """See ruamel."""
        self._entries += 1
        if self._entries > _NODES_MAX:
            raise TooMuch(_TOO_MANY, self.parser.peek_event().start_mark.line + 1)
        return super().compose_node(parent, index)


@dataclasses.dataclass(frozen=True, slots=True)
class CloudYaml:
    """What a text says, and on which line (from 1) each entry of it begins; `twice` are keys that come again."""

    value: object
    lines: dict[Path, int]
    twice: tuple[tuple[int, Path], ...]

    def line(self, path: Path) -> int:
        """The line of an entry; of the nearest one above it, when it has none."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(text: str) -> CloudYaml:
    """The one document of a text. Raises Broken, and TooMuch where it has no end that is worth waiting for."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    yaml.Composer = _Composer
    yaml.version = (1, 1)  # `yes` is true, 0644 is octal
    builder = _Builder(yaml)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor that is used anew is none of our business
            node = yaml.compose(text)
            value = None if node is None else builder.build(node, ())
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = " ".join(str(getattr(error, "problem", None) or "is not YAML").split())
        raise Broken(_QUOTED.sub("'…'", problem), mark.line + 1 if mark else 1) from error
    except RecursionError as error:
        raise Broken("nested too deeply", 1) from error
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:  # by a tag of its own, too
        raise Broken("a value cannot be read as the number or date that it looks like", builder.line) from error
    return CloudYaml(value, builder.lines, tuple(builder.twice))


class _Builder:
    """Turns nodes into values, and remembers where they stood."""

    def __init__(self, yaml: YAML) -> None:
        self._yaml = yaml
        self._nodes = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.twice: list[tuple[int, Path]] = []

    def build(self, node: Node, path: Path) -> object:
        """The value of a node; its entries are noted below `path`."""
        self._nodes += 1
        self.line = node.start_mark.line + 1
        if self._nodes > _NODES_MAX:
            raise TooMuch(_TOO_MANY, self.line)
        self.lines.setdefault(path, self.line)
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode | MappingNode) and node.tag not in _GROUPS:
            raise Broken("a tag that cloud-init's reader does not know", self.line)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*path, number)) for number, child in enumerate(node.value)]
        assert isinstance(node, MappingNode), node
        made: dict[str, object] = {}
        own = set[Path]()
        for name, key, child in self._pairs(node):
            at = (*path, name)
            if key is not None:
                self.lines[at] = key.start_mark.line + 1
                if at in own:
                    self.twice.append((self.lines[at], at))
                own.add(at)
            made[name] = self.build(child, at)
        return made

    def _pairs(self, node: MappingNode) -> Iterator[tuple[str, Node | None, Node]]:
        """Name, key and value of each entry; those merged in by `<<` come first, without a key of their own."""
        for key, child in node.value:
            if key.tag == f"{_TAG}merge":
                for merged in child.value if isinstance(child, SequenceNode) else (child,):
                    if not isinstance(merged, MappingNode):
                        raise Broken("what is merged is no mapping", merged.start_mark.line + 1)
                    yield from ((name, None, value) for name, _, value in self._pairs(merged))
        for key, child in node.value:
            if key.tag != f"{_TAG}merge":
                if not isinstance(key, ScalarNode):
                    raise Broken("a key is not a text", key.start_mark.line + 1)
                self.line = key.start_mark.line + 1
                if key.tag != f"{_TAG}value":  # "=" is a key like any other
                    self._scalar(key)  # for its tag, or the date that it looks like, may be none
                yield str(key.value), key, child

    def _scalar(self, node: ScalarNode) -> object:
        # Words that are YAML 1.1's and not PyYAML's; its floats have a dot, and a sign before the exponent.
        if node.tag == f"{_TAG}bool" and node.value in ("y", "Y", "n", "N"):
            return node.value
        if node.tag == f"{_TAG}float" and ("." not in node.value or _UNSIGNED.search(node.value)):
            return node.value
        if node.tag == _PYTHON2_TEXT:
            return str(node.value)
        value: object = self._yaml.constructor.construct_object(node)
        if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_MAX:
            raise ValueError  # as Python itself refuses to read or write so many decimal digits
        return value
