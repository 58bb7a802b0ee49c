"""The document store in memory: the same contract as SQLite's, without the disk."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

from orchestrator.drivers.store.change_log import ChangeLog
from orchestrator.drivers.store.limits import assert_fits
from orchestrator.errors import StaleRevision
from orchestrator.model import Event
from orchestrator.ports import COMMIT_IDS_KEPT, Change, Check, Document, Write


class MemoryStore:
    """The document store in memory: the same contract as SQLite's, without the disk."""

    EVENTS_MAX = 10_000

    def __init__(self) -> None:
        self._documents: dict[tuple[str, str], Document] = {}
        self._events: list[Event] = []
        self._commits: dict[str, int] = {}
        self._revision = 0
        self._number = 0
        self._log = ChangeLog(0)
        self._changed = threading.Condition()

    def damaged(self) -> Sequence[Document]:
        """See ports.Store."""
        return ()

    def get(self, kind: str, key: str) -> Document | None:
        """See ports.Store."""
        with self._changed:
            return self._documents.get((kind, key))

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        with self._changed:
            return [document for (of, _), document in sorted(self._documents.items()) if of == kind]

    def commit(
        self,
        writes: Sequence[Write],
        events: Sequence[Event] = (),
        *,
        checks: Sequence[Check] = (),
        commit_id: str = "",
    ) -> int:
        """See ports.Store."""
        assert_fits(writes, events, checks)
        with self._changed:
            if commit_id in self._commits:
                return self._commits[commit_id]
            for check in checks:
                self._compare(check)
            for write in writes:
                self._compare(write)
            self._revision += 1
            changes = [self._write(write) for write in writes]
            for event in events:
                self._number += 1
                self._events.append(dataclasses.replace(event, number=self._number))
            del self._events[: -self.EVENTS_MAX]
            if commit_id:
                self._commits[commit_id] = self._revision
                for forgotten in list(self._commits)[:-COMMIT_IDS_KEPT]:
                    del self._commits[forgotten]
            self._log.add(changes)
            self._changed.notify_all()
            return self._revision

    def _compare(self, wanted: Check | Write) -> None:
        document = self._documents.get((wanted.kind, wanted.key))
        present = 0 if document is None else document.revision
        if present != wanted.expected:
            raise StaleRevision(
                f"{wanted.kind} {wanted.key} changed meanwhile: {present} is not {wanted.expected}",
                hint="read it again, then try again",
            )

    def _write(self, write: Write) -> Change:
        if write.body is None:
            self._documents.pop((write.kind, write.key), None)
            return Change(write.kind, write.key, self._revision, None)
        document = Document(write.kind, write.key, write.body, self._revision)
        self._documents[write.kind, write.key] = document
        return Change(write.kind, write.key, self._revision, document)

    def revision(self) -> int:
        """See ports.Store."""
        return self._revision

    def changes(self, after: int) -> Sequence[Change] | None:
        """See ports.Store."""
        with self._changed:
            return self._log.after(after)

    def wait(self, after: int, timeout_s: float) -> int:
        """See ports.Store."""
        with self._changed:
            self._changed.wait_for(lambda: self._revision > after, timeout_s)
            return self._revision

    def events(self, *, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """See ports.Store."""
        with self._changed:
            belonging = [event for event in self._events if event.number > after and about(event.subject, subject)]
            return belonging[-limit:]

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
