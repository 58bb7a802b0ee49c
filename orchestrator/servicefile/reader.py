"""Reading a tree of the service file field by field: every fault is noted with its key and line, none stops it.

What the keys mean is not known here, but where one that is out of place belongs.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from vmrole_unattend.secret import SecretRef

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import label
from orchestrator.servicefile.fields import Answer
from orchestrator.servicefile.keys import elsewhere
from orchestrator.servicefile.tree import SEE, Map, line_in

LABEL = "^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"  # what `model.label` takes, for the schema


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """A secret that the file names, and how many problems had been noted before it was read."""

    key: str
    secret: SecretRef
    after: int


class Reader:
    """A tree, what was found wrong with it so far, and what it refers to. A value with a fault is its default."""

    def __init__(self, tree: Map) -> None:
        self.tree = tree
        self.problems: list[Problem] = []
        self._references: list[Reference] = []

    def fault(self, key: str, message: str, hint: str) -> None:
        """Notes what is wrong with `key`, e.g. "roles.web.size"."""
        self.problems.append(Problem(message, key=key, line=line_in(self.tree, key), hint=hint))

    def refer(self, key: str, secret: SecretRef) -> None:
        """Notes that the value of `key` names a secret, which is not looked for."""
        self._references.append(Reference(key, secret, len(self.problems)))

    def resolve_secrets(self, why_not: Callable[[SecretRef], str]) -> None:
        """Notes what is wrong with each secret referred to since the last time, where its fault would have stood."""
        faults = 0
        for reference in self._references:
            if message := why_not(reference.secret):
                fault = Problem(
                    f"{reference.secret}: {message}",
                    key=reference.key,
                    line=line_in(self.tree, reference.key),
                    hint="the daemon reads it, on its host",
                )
                self.problems.insert(reference.after + faults, fault)
                faults += 1
        self._references.clear()

    def keys(self, node: object, at: str, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> Map:
        """The node as a mapping with only known keys; what is wrong is noted, and an empty one takes its place."""
        if not isinstance(node, Map):
            self.fault(at, f"{shown(node)} is not a mapping", f"keys are: {', '.join(allowed)}")
            return Map()
        for key in node:
            if key not in allowed:
                self.fault(under(at, key), "there is no such key", _instead(key, allowed))
        for key in required:
            if key not in node:
                self.fault(under(at, key), "is missing", SEE)
        return node

    def take(
        self,
        node: Map,
        at: str,
        key: str,
        read: Callable[[object], Answer[Any]],
        default: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """What `read` makes of the value of `key`; the default where there is none or it is faulty."""
        if key not in node:
            return default
        answer = read(node[key])
        if isinstance(answer, Problem):
            self.fault(under(at, key), answer.message, answer.hint)
            return default
        return answer

    def members(self, node: Map, at: str, key: str, read: Callable[[str, object, str], Any]) -> list[Any]:
        """What `read` makes of each named member of a mapping, in the file's order."""
        at = under(at, key)
        if key not in node:
            return []
        members = node[key]
        if not isinstance(members, Map):
            self.fault(at, f"{shown(members)} is not a mapping", "write NAME: and below it what belongs to it")
            return []
        found = []
        for name, member in members.items():
            try:
                label(name)
            except InvalidInput as error:
                self.fault(f"{at}.{name}", str(error), error.hint)
                continue
            found.append(read(name, member, f"{at}.{name}"))
        return found


def under(at: str, key: str) -> str:
    """The key's full name below `at`."""
    return f"{at}.{key}" if at else key


def shown(node: object) -> str:
    """A node as it stands in a sentence."""
    return "nothing" if node is None else repr(node)[:60]


def _instead(key: str, allowed: tuple[str, ...]) -> str:
    """What to write in the place of a key that there is not, where others are."""
    if near := difflib.get_close_matches(key, allowed, 1):
        return f"did you mean {near[0]}?"
    keys = f"keys are: {', '.join(allowed)}"
    return f"it is {place}; {keys}" if (place := elsewhere(key)) else keys
