"""The reference page of the service file, docs/service-file.md: a line for each key that the readers take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from orchestrator.servicefile.fields import Shape
from orchestrator.servicefile.keys import KEYS, SECRET_KEYS, Key, rolls
from orchestrator.servicefile.schema import keys_of, schema

_ROLE: Final = "roles.NAME."
_HEAD: Final = """\
# The service file

One YAML document for each service; `vmrole apply -f` takes files of several, and directories. This page is made of
what the program reads, as [the schema](service.schema.json) is, by which editors complete and check:

    # yaml-language-server: $schema=service.schema.json

`vmrole get services NAME -o yaml` prints the file of a service that there is: `apply` takes it and finds nothing to
do. Texts that may hold secrets are never shown; their keys stand under `kept`, which means: as the service has it.

NAME stands for a name of your own, of at most 40 lower-case letters, digits and hyphens, [] for an item of a list.
"Rolls": a change gives the role's instances new system disks, one after the other. "Holds": it needs none.
"""


def page() -> str:
    """The page's text, as Markdown."""
    rows = [(at, KEYS[at], shape) for at, shape in keys_of(schema())]
    parts = [_HEAD, "## The service\n", *_table((row for row in rows if not row[0].startswith(_ROLE)), "")]
    parts += ["\n## A role\n", f"Below `{_ROLE[:-1]}`:\n"]
    windows = f"{_ROLE}answers.unattend."
    parts += _table((row for row in rows if row[0].startswith(_ROLE) and not row[0].startswith(windows)), _ROLE)
    parts += [
        "\n## Answers of Windows\n",
        f"Below `{windows[:-1]}`, for images that read Unattend.xml; a change rolls:\n",
    ]
    parts += _table((row for row in rows if row[0].startswith(windows)), windows)
    return "\n".join(parts) + "\n"


def _table(rows: Iterator[tuple[str, Key, Shape]], above: str) -> Iterator[str]:
    effects = above == _ROLE
    yield "| key | takes | what it is | unless given |" + (" a change |" if effects else "")
    yield "|---|---|---|---|" + ("---|" if effects else "")
    for at, key, shape in rows:
        effect = "rolls" if rolls(at.removeprefix(_ROLE)) else "holds"
        takes = _takes(shape)
        line = f"| `{at.removeprefix(above)}` | {takes} | {key.about} | {key.default} |"
        yield line + (f" {effect if takes else ''} |" if effects else "")


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
    return "an IPv4 address" if re.match(pattern, "203.0.113.10") and not re.match(pattern, "web") else "a name"
