"""Names of Azure, which may hold capitals, dots and underscores, made into labels; two never become one. Pure."""

from __future__ import annotations

import re
import unicodedata

from orchestrator.errors import Problem
from orchestrator.servicefile.azure.definition import Element, plain
from orchestrator.servicefile.azure.ledger import Ledger


class Names:
    """The labels given so far within one parent; faults and changes are noted."""

    def __init__(self, ledger: Ledger, faults: list[Problem]) -> None:
        self._ledger = ledger
        self._faults = faults
        self._given: dict[tuple[str, str], Element] = {}

    def label(self, element: Element, length_max: int) -> str:
        """The label of an element's `name`; a fault, and some label, when there is none or another has it."""
        name = element.get("name") or ""
        ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()  # ö is o
        made = re.sub(r"[^a-z0-9]+", "-", ascii_name.lower()).strip("-")[:length_max].rstrip("-")
        if not made:
            message = f"{element.place}: {plain(name)!r} leaves no letter or digit for a name"
            self._faults.append(Problem(message, hint="rename it with letters a to z and digits, in both files"))
            return "nameless"
        other = self._given.setdefault((element.name, made), element)
        if other is not element:
            message = f"{element.place}: {plain(name)!r} and {plain(other.get('name') or '')!r} (line {other.line})"
            self._faults.append(Problem(f"{message} are both {made!r} here", hint="rename one of them"))
        elif made != name:
            self._ledger.change(
                element, f"is {made}", f"a name has at most {length_max} lower-case letters, digits and '-'"
            )
        return made
