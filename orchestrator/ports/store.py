"""Records and the ledger. The store stays outside of Host: a step may not write records; only `turn` may."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchestrator.model import Event

COMMIT_PARTS_MAX = 64  # writes, checks and events of one commit together: what the stores of several hosts take
COMMIT_BYTES_MAX = 1024 * 1024  # of all its bodies as JSON, keys, and events
COMMIT_IDS_KEPT = 256  # more than are ever on their way at once
CHANGES_KEPT = 20_000  # documents whose last change a store remembers


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """A record as stored: `body` is JSON; `revision` is the store's revision at its last change, > 0.

    `damage` says in a few words why the stored bytes cannot be trusted; the body is empty then, and `hearsay` what
    lies in its place: enough to be careful by, and for nothing else.
    """

    kind: str
    key: str
    body: Mapping[str, Any]
    revision: int
    damage: str = ""
    hearsay: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One change of a commit. `body` None deletes; `expected` 0 means the document must not exist yet."""

    kind: str
    key: str
    body: Mapping[str, Any] | None
    expected: int


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """A condition of a commit: the document is still at `expected` (0: there is none). Nothing is written."""

    kind: str
    key: str
    expected: int


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A document as a commit left it; None when the commit deleted it."""

    kind: str
    key: str
    revision: int  # of the commit
    document: Document | None


class Store(Protocol):
    """Revisioned documents with compare-and-swap, and the ledger. What `commit` returned from survives kill -9."""

    def get(self, kind: str, key: str) -> Document | None:
        """The document, or None."""

    def all(self, kind: str) -> Sequence[Document]:
        """Every document of the kind, by key."""

    def damaged(self) -> Sequence[Document]:
        """Documents that were not as they were written when the store was opened, whatever their kind says by now."""

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """All or nothing: compares, applies the writes, appends the events, returns the store's new revision.

        Raises StaleRevision, having changed nothing, when any document's revision is not the one expected. A commit
        whose `commit_id` is that of one of the last COMMIT_IDS_KEPT is that commit, sent again because its answer
        was lost: nothing is done, and the revision of then is returned. One above COMMIT_PARTS_MAX or
        COMMIT_BYTES_MAX is a bug of its author: AssertionError, and nothing is done.
        """

    def revision(self) -> int:
        """The store's revision now."""

    def changes(self, after: int) -> Sequence[Change] | None:
        """What the commits after the revision changed, oldest first; a document at its last change alone.

        None: the store does not remember so far back; read everything again.
        """

    def wait(self, after: int, timeout_s: float) -> int:
        """Blocks until the revision exceeds `after` or the time is over; returns the revision now."""

    def events(self, *, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """The newest `limit` events with a number above `after`, oldest first.

        `subject` narrows to that subject and to the instances of that service or role ("shop" takes "web-0.shop").
        """

    def close(self) -> None:
        """Ends the store; later calls are errors."""
