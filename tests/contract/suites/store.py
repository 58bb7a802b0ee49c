"""What every Store keeps, in memory or on disk. The module under test gives the fixture `store`."""

from __future__ import annotations

import threading
import time

import pytest

from orchestrator.errors import StaleRevision
from orchestrator.model import Event
from orchestrator.ports import (
    CHANGES_KEPT,
    COMMIT_BYTES_MAX,
    COMMIT_IDS_KEPT,
    COMMIT_PARTS_MAX,
    Check,
    Store,
    Write,
)


def event(subject: str, message: str = "said") -> Event:
    """A line of the ledger."""
    return Event(at_s=1.0, subject=subject, message=message, phase="serving", generation=2, boot=3)


class StoreContract:
    """The suite."""

    def test_what_is_written_is_read(self, store: Store) -> None:
        """A document comes back as it was, with the revision of its commit."""
        revision = store.commit([Write("thing", "a", {"x": [1, "two", None]}, 0)])
        found = store.get("thing", "a")
        assert found is not None
        assert (dict(found.body), found.revision) == ({"x": [1, "two", None]}, revision)
        assert store.get("thing", "b") is None
        assert store.get("other", "a") is None

    def test_all_are_sorted_by_key(self, store: Store) -> None:
        """Documents of one kind, by key."""
        store.commit([Write("thing", key, {}, 0) for key in ("c", "a", "b")])
        store.commit([Write("other", "z", {}, 0)])
        assert [one.key for one in store.all("thing")] == ["a", "b", "c"]

    @pytest.mark.parametrize("expected", [0, 999])
    def test_a_stale_write_changes_nothing_at_all(self, store: Store, expected: int) -> None:
        """Of a commit with one stale write nothing is applied, no event is told, no revision is spent."""
        before = store.commit([Write("thing", "a", {"n": 1}, 0)])
        with pytest.raises(StaleRevision):
            store.commit([Write("thing", "new", {}, 0), Write("thing", "a", {"n": 2}, expected)], [event("a")])
        found = store.get("thing", "a")
        assert found is not None
        assert found.body["n"] == 1
        assert store.get("thing", "new") is None
        assert store.events() == []
        assert store.revision() == before

    def test_a_check_compares_and_writes_nothing(self, store: Store) -> None:
        """A commit holds only while what it relies on is as it was read, and leaves that alone."""
        first = store.commit([Write("thing", "a", {"n": 1}, 0)])
        store.commit([Write("thing", "b", {}, 0)], checks=[Check("thing", "a", first), Check("thing", "none", 0)])
        for stale in (Check("thing", "a", first + 1), Check("thing", "none", 1), Check("thing", "a", 0)):
            with pytest.raises(StaleRevision):
                store.commit([Write("thing", "c", {}, 0)], [event("c")], checks=[stale])
        relied_on = store.get("thing", "a")
        assert relied_on is not None
        assert relied_on.revision == first
        assert store.get("thing", "c") is None
        assert store.events() == []

    def test_a_commit_that_is_sent_again_is_the_same(self, store: Store) -> None:
        """Who has lost the answer may send a commit again: it happens once, and the answer is that of then."""
        first = store.commit([Write("thing", "a", {"n": 1}, 0)], [event("a")], commit_id="x")
        later = store.commit([Write("thing", "b", {}, 0)])
        assert store.commit([Write("thing", "a", {"n": 1}, 0)], [event("a")], commit_id="x") == first
        assert store.revision() == later
        assert len(store.events()) == 1
        for number in range(COMMIT_IDS_KEPT):
            store.commit([], commit_id=f"y{number}")
        with pytest.raises(StaleRevision):
            store.commit([Write("thing", "a", {"n": 1}, 0)], commit_id="x")

    def test_a_commit_that_was_refused_may_be_sent_again(self, store: Store) -> None:
        """Its id stands for what has happened, and nothing has."""
        with pytest.raises(StaleRevision):
            store.commit([Write("thing", "a", {}, 9)], commit_id="x")
        assert store.commit([Write("thing", "a", {}, 0)], commit_id="x") == 1

    def test_changes_are_told_once_each_in_order(self, store: Store) -> None:
        """What happened after a revision: each document as it stands now, at the place of its last change."""
        start = store.revision()
        first = store.commit([Write("thing", "a", {"n": 1}, 0), Write("thing", "b", {}, 0)])
        second = store.commit([Write("other", "c", {}, 0)])
        third = store.commit([Write("thing", "a", {"n": 2}, first), Write("thing", "b", None, first)])
        changes = store.changes(start)
        assert changes is not None
        assert [(one.kind, one.key, one.revision) for one in changes] == [
            ("other", "c", second),
            ("thing", "a", third),
            ("thing", "b", third),
        ]
        assert changes[1].document == store.get("thing", "a")
        assert changes[2].document is None
        assert store.changes(third) == []
        assert [one.revision for one in store.changes(second) or ()] == [third, third]

    def test_what_is_too_long_ago_is_not_made_up(self, store: Store) -> None:
        """Who asks for more than is remembered is told to read everything again."""
        start = store.revision()
        for first in range(0, CHANGES_KEPT + 1, COMMIT_PARTS_MAX):
            store.commit([Write("thing", str(first + number), {}, 0) for number in range(COMMIT_PARTS_MAX)])
        assert store.changes(start) is None
        assert store.changes(store.revision()) == []

    @pytest.mark.parametrize(
        ("writes", "checks", "events"),
        [(65, 0, 0), (0, 65, 0), (0, 0, 65), (30, 30, 5), (0, 1, 64), (64, 0, 1)],
    )
    def test_a_commit_of_too_many_parts_is_refused(self, store: Store, writes: int, checks: int, events: int) -> None:
        """64 writes, checks and events are as many as the smallest store takes: nothing of more is done."""
        wanted = [Write("thing", f"a{number}", {}, 0) for number in range(writes)]
        held = [Check("thing", f"none{number}", 0) for number in range(checks)]
        told = [event(f"a{number}") for number in range(events)]
        with pytest.raises(AssertionError, match="65 writes, checks and events"):
            store.commit(wanted, told, checks=held)
        assert (store.revision(), store.all("thing"), store.events()) == (0, [], [])
        most = (writes + checks + events) - COMMIT_PARTS_MAX
        store.commit(wanted[most:], told if wanted else told[most:], checks=held if wanted or told else held[most:])

    @pytest.mark.parametrize("letter", ["x", "é", "\N{SNOWMAN}"])
    def test_a_commit_that_is_too_large_is_refused(self, store: Store, letter: str) -> None:
        """1 MiB in all, bodies and events together, as bytes and not as letters."""
        letters = COMMIT_BYTES_MAX // len(letter.encode())
        half = letter * (letters // 2)
        with pytest.raises(AssertionError, match="bytes"):
            store.commit([Write("thing", "a", {"text": letter * letters}, 0)])
        with pytest.raises(AssertionError, match="bytes"):
            store.commit([Write("thing", key, {"text": half}, 0) for key in ("a", "b")])
        with pytest.raises(AssertionError, match="bytes"):
            store.commit([Write("thing", "a", {"text": half}, 0)], [event("a", half)])
        assert (store.revision(), store.all("thing"), store.events()) == (0, [], [])
        store.commit([Write("thing", "a", {"text": letter * (letters - 100)}, 0)])
        stored = store.get("thing", "a")
        assert stored is not None
        assert len(stored.body["text"]) == letters - 100

    def test_change_and_delete(self, store: Store) -> None:
        """A change needs the revision that was read; after a delete the document may be made anew."""
        first = store.commit([Write("thing", "a", {"n": 1}, 0)])
        second = store.commit([Write("thing", "a", {"n": 2}, first)])
        assert second > first
        store.commit([Write("thing", "a", None, second)])
        assert store.get("thing", "a") is None
        store.commit([Write("thing", "a", {"n": 3}, 0)])

    def test_of_many_writers_one_wins_each_revision(self, store: Store) -> None:
        """Eight threads count to 25 each with compare-and-swap: no count is lost."""
        store.commit([Write("thing", "count", {"n": 0}, 0)])

        def count() -> None:
            done = 0
            while done < 25:
                found = store.get("thing", "count")
                assert found is not None
                try:
                    store.commit([Write("thing", "count", {"n": found.body["n"] + 1}, found.revision)])
                    done += 1
                except StaleRevision:
                    continue

        threads = [threading.Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = store.get("thing", "count")
        assert found is not None
        assert found.body["n"] == 200

    def test_wait_ends_with_a_commit_or_with_its_time(self, store: Store) -> None:
        """Who waits for a change is told of it at once, and not for ever."""
        began = time.monotonic()
        assert store.wait(store.revision(), 0.05) == store.revision()
        assert time.monotonic() - began >= 0.05
        before = store.revision()
        later = threading.Timer(0.05, lambda: store.commit([Write("thing", "a", {}, 0)]))
        later.start()
        assert store.wait(before, 5.0) > before
        later.join()

    def test_events_are_numbered_and_narrowed(self, store: Store) -> None:
        """The newest events, oldest first; a service takes its instances in, and a role its own."""
        names = ("web-0.shop", "web-1.shop", "web-x-1.shop", "db-0.shop", "web-0.other", "shop", "image")
        store.commit([], [event(name) for name in names])

        def told(subject: str) -> list[str]:
            return [one.subject for one in store.events(subject=subject)]

        assert told("") == list(names)
        assert told("shop") == ["web-0.shop", "web-1.shop", "web-x-1.shop", "db-0.shop", "shop"]
        assert told("web.shop") == ["web-0.shop", "web-1.shop"]
        assert told("web-0.shop") == ["web-0.shop"]
        assert told("sho_") == []
        assert told("%") == []
        numbers = [one.number for one in store.events()]
        assert numbers == sorted(set(numbers))
        assert [one.subject for one in store.events(limit=2)] == ["shop", "image"]
        assert [one.number for one in store.events(after=numbers[-2])] == numbers[-1:]
        last = store.events(limit=1)[0]
        assert (last.at_s, last.message, last.phase, last.generation, last.boot) == (1.0, "said", "serving", 2, 3)
