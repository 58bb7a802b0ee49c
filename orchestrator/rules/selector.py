"""Labels and what selects by them, in Kubernetes' syntax: `tier=front, env!=prod, zone in (a, b), !old`. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from orchestrator.errors import InvalidInput

NAME_MAX = 63
PREFIX_MAX = 253
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DNS = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_VALUE = re.compile(rf"(?:{_WORD})?")
_NAME = re.compile(_WORD)
_PREFIX = re.compile(_DNS)
_TERM = re.compile(
    r"\s*(?:(?P<not>!)\s*(?P<absent>[^\s!=,()]+)"
    r"|(?P<key>[^\s!=,()]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)|\s(?P<set>in|notin)\s*\((?P<of>[^()]*)\))?)\s*(?=,|$)"
)


def key_fault(key: str) -> str:
    """Why a text cannot be the key of a label, or ""."""
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name):
        return f"its name is 1 to {NAME_MAX} letters, digits, '-', '_' and '.'; the first and last a letter or digit"
    if slash and not (len(prefix) <= PREFIX_MAX and _PREFIX.fullmatch(prefix)):
        return f"what stands before '/' is a DNS name of at most {PREFIX_MAX} characters"
    return ""


def value_fault(value: str) -> str:
    """Why a text cannot be the value of a label, or ""."""
    if _VALUE.fullmatch(value):
        return ""
    return f"nothing, or {NAME_MAX} letters, digits, '-', '_' and '.' at most; the first and last a letter or digit"


@dataclasses.dataclass(frozen=True, slots=True)
class Term:
    """One condition: the label's value is among `values`; None, it is there. `wanted` False: the opposite."""

    key: str
    values: tuple[str, ...] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether it holds for what has these labels; a label that is absent has no value."""
        has = self.key in labels and (self.values is None or labels[self.key] in self.values)
        return has is self.wanted


def parse(text: str) -> tuple[Term, ...]:
    """The conditions that the text names, all of which must hold; "" names none. Raises InvalidInput."""
    terms: list[Term] = []
    at = 0
    while text.strip() and at <= len(text):
        found = _TERM.match(text, at)
        if found is None or text[found.end() : found.end() + 1] not in ("", ","):
            raise _bad(text, "write key=value, key!=value, key, !key, key in (a,b) or key notin (a,b), with commas")
        terms.append(_term(text, found))
        at = found.end() + 1
    return tuple(terms)


def matches(terms: tuple[Term, ...], labels: Mapping[str, str]) -> bool:
    """Whether every condition holds."""
    return all(term.holds(labels) for term in terms)


def _term(text: str, found: re.Match[str]) -> Term:
    key = found["absent"] or found["key"]
    if why := key_fault(key):
        raise _bad(text, f"{key[:80]!r} is no key: {why}")
    values: tuple[str, ...] | None = None
    if found["op"]:
        values = (found["value"],)
    elif found["set"]:
        values = tuple(one.strip() for one in found["of"].split(","))
    for value in values or ():
        if why := value_fault(value):
            raise _bad(text, f"{value[:80]!r} is no value: {why}")
    return Term(key, values, wanted=not (found["not"] or found["op"] == "!=" or found["set"] == "notin"))


def _bad(text: str, hint: str) -> InvalidInput:
    return InvalidInput(f"{text[:80]!r} selects nothing", hint=hint)
