"""The document store in memory: the same contract as SQLite's, without the disk."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

from orchestrator.errors import StaleRevision
from orchestrator.model import Event
from orchestrator.ports import Document, Write


class FakeStore:
    """The document store in memory: the same contract as SQLite's, without the disk."""

    EVENTS_MAX = 10_000

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], Document] = {}
        self._events: list[Event] = []
        self._revision = 0
        self._number = 0
        self._changed = threading.Condition()

    def get(self, kind: str, key: str) -> Document | None:
        """See ports.Store."""
        with self._changed:
            return self._documents.get((kind, key))

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        with self._changed:
            return [document for (of, _), document in sorted(self._documents.items()) if of == kind]

    def commit(self, writes: Sequence[Write], events: Sequence[Event] = ()) -> int:
        """See ports.Store."""
        with self._changed:
            for write in writes:
                found = self._documents.get((write.kind, write.key))
                revision = 0 if found is None else found.revision
                if revision != write.expected:
                    raise StaleRevision(
                        f"{write.kind} {write.key} changed meanwhile: {revision} is not {write.expected}",
                        hint="read it again, then try again",
                    )
            self._revision += 1
            for write in writes:
                if write.body is None:
                    self._documents.pop((write.kind, write.key), None)
                else:
                    document = Document(write.kind, write.key, write.body, self._revision)
                    self._documents[write.kind, write.key] = document
            for event in events:
                self._number += 1
                self._events.append(dataclasses.replace(event, number=self._number))
            del self._events[: -self.EVENTS_MAX]
            self._changed.notify_all()
            return self._revision

    def revision(self) -> int:
        """See ports.Store."""
        with self._changed:
            return self._revision

    def wait(self, after: int, timeout_s: float) -> int:
        """See ports.Store."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision > after, timeout_s)
            return self._revision

    def events(self, *, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """See ports.Store."""
        with self._changed:
            found = [event for event in self._events if event.number > after and about(event.subject, subject)]
            return found[-limit:]

    def close(self) -> None:
        """See ports.Store."""


def about(event_subject: str, subject: str) -> bool:
    """Whether an event about `event_subject` belongs to what is told of `subject` (see ports.Store.events)."""
    if subject in ("", event_subject) or event_subject.endswith(f".{subject}"):
        return True
    role, _, service = subject.partition(".")
    name, _, of = event_subject.partition(".")
    head, dash, number = name.rpartition("-")
    return bool(service and dash) and of == service and head == role and number.isdigit()
