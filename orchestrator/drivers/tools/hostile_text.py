"""Text that a guest sent, made harmless: short, printable, unable to reorder or recolour what is around it."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from orchestrator.model import Unit

# Control (C0, C1, DEL), format (bidirectional overrides, zero width), surrogates, private use, unassigned, separators
# of lines and paragraphs, odd spaces: nothing of it belongs in a log line or on a terminal.
_UNWANTED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
NAME_CHARS = 120
NAMES = 20


def harmless(text: str, chars: int = NAME_CHARS) -> str:
    """`text` on one line of at most `chars` characters, white space collapsed; what was cut off shows as "…"."""
    shown = text[: chars * 4]  # So that a megabyte costs no more than a line.
    line = " ".join("".join(" " if c.isspace() else c for c in shown if c.isspace() or _wanted(c)).split())
    return line if len(line) <= chars and len(shown) == len(text) else line[: chars - 1] + "…"


def harmless_lines(text: str) -> str:
    """`text` with its lines and tabs, and without anything else that a terminal would act on."""
    return "".join(c for c in text if c in "\n\t" or _wanted(c))


def harmless_names(names: list[str]) -> tuple[str, ...]:
    """At most NAMES names; the last one then says how many more there are."""
    kept = tuple(harmless(name) for name in names[:NAMES])
    return kept if len(names) <= NAMES else (*kept, f"and {len(names) - NAMES} more")


def harmless_units(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """At most NAMES units, each as people read it of at most NAME_CHARS; the last one then says how many more."""
    kept = tuple(_harmless_unit(unit) for unit in units[:NAMES])
    more = len(units) - NAMES
    return kept if more <= 0 else (*kept, Unit("", units[0].state, f"and {more} more"))


def _harmless_unit(unit: Unit) -> Unit:
    name = harmless(unit.name)
    room = NAME_CHARS - len(name) - len(str(Unit("a", unit.state, "b"))) + 2
    return Unit(name, unit.state, harmless(unit.detail, room) if unit.detail and room > 1 else "")


def _wanted(character: str) -> bool:
    return character == " " or unicodedata.category(character) not in _UNWANTED
