"""A .csdef or .cscfg as frozen nouns, each with its file and line; what the elements mean is not known here.

The XML is read without entities, network or DTD, and bounded in size and in the number of its parts.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from lxml import etree
from vmrole_unattend.windows import document

from orchestrator.errors import InvalidInput, Problem

PARTS_MAX = 5000  # elements and attributes: 25 roles with everything that the schema knows are some 2000
SOURCE_BYTES_MAX = document.SOURCE_BYTES_MAX
_SCHEMA = "http://schemas.microsoft.com/ServiceHosting/2008/10/"


class Schema(enum.StrEnum):
    """Which of the two files; the value is the root element and the end of the namespace."""

    DEFINITION = "ServiceDefinition"
    CONFIGURATION = "ServiceConfiguration"

    @property
    def namespace(self) -> str:
        """What xmlns of the root must say."""
        return _SCHEMA + self.value

    @property
    def suffix(self) -> str:
        """How such files end."""
        return ".csdef" if self is Schema.DEFINITION else ".cscfg"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Element:
    """One element. `name` is its local name; one of another namespace is "{namespace}name" and never ours."""

    name: str
    file: str
    line: int  # of the start tag (its end, when it spans several lines); 1 is the first
    attributes: tuple[tuple[str, str], ...]
    children: tuple[Element, ...]
    text: str  # what stands in it besides elements; "" when only blanks
    comments: int = 0  # how many comments and instructions are directly in it

    @property
    def place(self) -> str:
        """ "FILE:LINE"."""
        return f"{self.file}:{self.line}"

    def get(self, attribute: str) -> str | None:
        """The value of an attribute, without the blanks around it."""
        return next((value.strip() for name, value in self.attributes if name == attribute), None)

    def all(self, *path: str) -> list[Element]:
        """The elements at a path below this one: `all("Endpoints", "InputEndpoint")`."""
        found = [self]
        for name in path:
            found = [child for one in found for child in one.children if child.name == name]
        return found

    def walk(self) -> Iterator[Element]:
        """This element and all below it, in the file's order."""
        yield self
        for child in self.children:
            yield from child.walk()


def read(source: bytes, file: str, kind: Schema) -> Element:
    """The root of a file. Raises InvalidInput with FILE:LINE for one that is not sound XML of that kind."""
    file = plain(file, 200)
    if not source.strip():
        raise refusal(f"{file}:1", "the file is empty", f"name the {kind.suffix} file of the service")
    parsed, findings = document.read(source)
    for found in findings:
        if found.severity is document.Severity.ERROR:
            raise refusal(f"{file}:{found.line}", found.message, found.mend)
    assert parsed is not None
    root = parsed.root
    name = etree.QName(root)
    other = next((one for one in Schema if one is not kind and name.localname == one.value), None)
    if other is not None:
        hint = f"name the {Schema.DEFINITION.suffix} first, then the {Schema.CONFIGURATION.suffix}"
        raise refusal(f"{file}:{_line(root)}", f"this is a {other.value}, not a {kind.value}", hint)
    if name.localname != kind.value or name.namespace != kind.namespace:
        said = f"<{plain(name.localname)}> of namespace {plain(name.namespace or '')!r} is not a {kind.value}"
        raise refusal(f"{file}:{_line(root)}", said, f'<{kind.value} xmlns="{kind.namespace}"> is read')
    parts = sum(1 + (len(one.attrib) if isinstance(one.tag, str) else 0) for one in root.iter())
    if parts > PARTS_MAX:
        raise refusal(f"{file}:1", f"{parts} elements and attributes are too many", f"at most {PARTS_MAX} are read")
    around = sum(1 for _ in root.itersiblings(preceding=True)) + sum(1 for _ in root.itersiblings())
    read = _element(root, file, kind)
    return dataclasses.replace(read, comments=read.comments + around)


def refusal(place: str, message: str, hint: str) -> InvalidInput:
    """An error about one place."""
    return InvalidInput(f"{place}: {message}", hint=hint)


def refusals(problems: list[Problem]) -> InvalidInput:
    """An error about all that is wrong; each problem's message begins with its place."""
    if len(problems) == 1:
        return InvalidInput(problems[0].message, hint=problems[0].hint)
    return InvalidInput(f"the service cannot be imported: {len(problems)} faults", problems=tuple(problems))


def plain(text: str, length_max: int = 80) -> str:
    """Text of a file as it may stand in a sentence, a YAML comment and on a terminal: one line, nothing to obey."""
    clipped = text if len(text) <= length_max else text[: length_max - 1] + "…"
    return "".join(char if char.isprintable() else "\ufffd" for char in clipped)


def _element(node: etree._Element, file: str, kind: Schema) -> Element:
    children = [one for one in node if isinstance(one.tag, str)]
    loose = [node.text, *(one.tail for one in node)]
    return Element(
        name=_local(str(node.tag), kind),
        file=file,
        line=_line(node),
        attributes=tuple((str(name), str(value)) for name, value in node.attrib.items()),
        children=tuple(_element(one, file, kind) for one in children),
        text="".join(part for part in loose if part).strip(),
        comments=len(node) - len(children),
    )


def _line(node: etree._Element) -> int:
    line: object = node.sourceline
    return line if isinstance(line, int) else 1


def _local(tag: str, kind: Schema) -> str:
    mine = f"{{{kind.namespace}}}"
    return tag[len(mine) :] if tag.startswith(mine) else tag
