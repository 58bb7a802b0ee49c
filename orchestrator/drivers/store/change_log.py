"""What changed after which revision: a bounded memory of documents by their last change."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.ports import CHANGES_KEPT, Change


class ChangeLog:
    """The last change of each document, oldest first; not thread-safe, its store's lock guards it.

    A document that changes a thousand times takes one place: who has fallen behind is told of what stands now.
    """

    def __init__(self, revision: int, kept: int = CHANGES_KEPT) -> None:
        self._kept = kept
        self._since = revision  # Of what happened up to here nothing is known.
        self._changes: dict[tuple[str, str], Change] = {}

    def add(self, changes: Sequence[Change]) -> None:
        """Remembers what a commit has changed."""
        for change in changes:
            place = (change.kind, change.key)
            self._changes.pop(place, None)
            self._changes[place] = change
        while len(self._changes) > self._kept:
            oldest = next(iter(self._changes))
            self._since = self._changes.pop(oldest).revision

    def after(self, revision: int) -> Sequence[Change] | None:
        """See ports.Store.changes: costs what has changed, not what there is."""
        if revision < self._since:
            return None
        newer: list[Change] = []
        for change in reversed(self._changes.values()):
            if change.revision <= revision:
                break
            newer.append(change)
        newer.reverse()
        return newer
