"""Every key that the readers of a service file take, in parts; and docs/service-file.md, which is made of them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Final

from orchestrator.servicefile.fields import Shape
from orchestrator.servicefile.keys import KEYS, SECRET_KEYS, Key, rolls
from orchestrator.servicefile.schema import described, keys_of, schema

_ROLE: Final = "roles.NAME."
ABOUT: Final = "One YAML document for each service; `vmrole apply -f` takes files of several, and directories."
KEPT: Final = """\
`vmrole get services NAME -o yaml` prints the file of a service that there is: `apply` takes it and finds nothing to
do. Texts that may hold secrets are never shown; their keys stand under `kept`, which means: as the service has it.
"""
NAMES: Final = (
    "NAME stands for a name of your own, of at most 40 lower-case letters, digits and hyphens, "
    "[] for an item of a list."
)
EFFECTS: Final = (
    '"Rolls": a change gives the role\'s instances new system disks, one after the other. "Holds": it needs none.'
)
_HEAD: Final = f"""\
# The service file

{ABOUT} This page is made of
what the program reads, as [the schema](service.schema.json) is, by which editors complete and check:

    # yaml-language-server: $schema=service.schema.json

{KEPT}
{NAMES}
{EFFECTS}
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A key within its part, and in words: what it is, what it takes, and what a change of it does."""

    key: str
    takes: str
    about: str
    default: str
    effect: str  # "" where a change of its own cannot be, or all of the part roll

    @property
    def described(self) -> str:
        """What it is, and what holds unless it is given."""
        return described(Key(self.about, self.default))


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Keys that belong together; `above` is what stands before each of them."""

    title: str
    above: str
    intro: str
    rows: tuple[Row, ...]


def parts() -> Iterator[Part]:
    """The whole file."""
    rows = [(at, KEYS[at], shape) for at, shape in keys_of(schema())]
    windows = f"{_ROLE}answers.unattend."
    yield _part("The service", "", "", (row for row in rows if not row[0].startswith(_ROLE)))
    of_roles = (row for row in rows if row[0].startswith(_ROLE) and not row[0].startswith(windows))
    yield _part("A role", _ROLE, f"Below `{_ROLE[:-1]}`:", of_roles)
    intro = f"Below `{windows[:-1]}`, for images that read Unattend.xml; a change rolls:"
    yield _part("Answers of Windows", windows, intro, (row for row in rows if row[0].startswith(windows)))


def page() -> str:
    """The page's text, as Markdown."""
    lines = [_HEAD]
    for number, part in enumerate(parts()):
        lines.append(("\n" if number else "") + f"## {part.title}\n")
        lines += [f"{part.intro}\n"] if part.intro else []
        lines += _table(part)
    return "\n".join(lines) + "\n"


def _part(title: str, above: str, intro: str, rows: Iterator[tuple[str, Key, Shape]]) -> Part:
    return Part(title, above, intro, tuple(_row(above, *row) for row in rows))


def _row(above: str, at: str, key: Key, shape: Shape) -> Row:
    takes = _takes(shape)
    effect = "rolls" if rolls(at.removeprefix(_ROLE)) else "holds"
    return Row(at.removeprefix(above), takes, key.about, key.default, effect if takes and above == _ROLE else "")


def _table(part: Part) -> Iterator[str]:
    effects = part.above == _ROLE
    yield "| key | takes | what it is | unless given |" + (" a change |" if effects else "")
    yield "|---|---|---|---|" + ("---|" if effects else "")
    for row in part.rows:
        line = f"| `{row.key}` | {row.takes} | {row.about} | {row.default} |"
        yield line + (f" {row.effect} |" if effects else "")


def _takes(shape: Shape) -> str:
    """In a few words."""
    if "properties" in shape and set(shape["properties"]) != set(SECRET_KEYS):
        return ""  # Its own keys follow.
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(filter(None, map(_takes, shape["anyOf"]))))
    if set(shape.get("properties", {})) == set(SECRET_KEYS):
        return "where a secret is: `{secret: NAME}`"
    match shape:
        case {"enum": words}:
            return ", ".join(dict.fromkeys(f"`{word}`" for word in words))
        case {"const": word}:
            return f"`{word}`"
        case {"type": "boolean"}:
            return "`true`, `false`"
        case {"type": "integer", "minimum": least, "maximum": most}:
            return f"{least} to {most}"
        case {"type": "string", "pattern": pattern}:
            return _pattern(pattern)
        case {"type": "string"}:
            return "a text"
        case {"type": "array", "items": {"type": "string"}}:
            return "a list of texts"
        case {"type": "array"}:
            return "a list"
        case _:
            return ""


def _pattern(pattern: str) -> str:
    if "MiB" in pattern:
        return "a rate: `100 MiB/s`" if "/" in pattern else "a size: `20 GiB`, `512 MiB`"
    if "min" in pattern:
        return "a time: `90 s`, `10 min`, `2 h`"
    if "%" in pattern:
        return "a part: `50 %`"
    if pattern.startswith("^[1-5]"):
        return "several: `200-299,401`"
    if pattern.startswith("^/"):
        return "a path: `/healthz`"
    return "an IP address" if re.match(pattern, "203.0.113.10") and not re.match(pattern, "web") else "a name"
