"""Which templates the documents name, be they readable or not: what is set aside may be read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from orchestrator.control import records
from orchestrator.ports import Document

Place = tuple[str, str]
"""A document's kind and key."""


class TemplateUses:
    """Counted as documents change. The present feeds it, and asks, under its lock."""

    def __init__(self) -> None:
        self._uses: Counter[str] = Counter()  # of each template
        self._named: dict[Place, Sequence[str]] = {}  # by whom

    def count(self, place: Place, document: Document | None) -> None:
        """The document is there now, or no more."""
        before = self._named.pop(place, ())
        after = records.templates_named(document) if document else ()
        if after:
            self._named[place] = after
        if after == before:
            return
        self._uses.update(after)
        for template in before:
            self._uses[template] -= 1
            if not self._uses[template]:
                del self._uses[template]

    def is_used(self, template: str) -> bool:
        """Whether a document names it."""
        return template in self._uses

    def lacking(self, templates: Container[str]) -> set[Place]:
        """The documents that name one which is none of these. O(all documents)."""
        return {place for place, named in self._named.items() if any(one not in templates for one in named)}
