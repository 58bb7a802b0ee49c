"""What watches cost and keep: one thread for all, each told what is his, and how things stand whatever he missed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, cast

import pytest
from fastapi.responses import StreamingResponse

from orchestrator.api import lookouts, sse, views
from orchestrator.api.lookouts import EventLookout, InstanceLookout, Lookout, OperationLookout
from orchestrator.api.sse import Watchers
from orchestrator.control import records
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import Unreachable
from orchestrator.model import Event, Instance, Progress, Service, Verb
from orchestrator.model.cause import recorded
from orchestrator.ports import Change, Document
from tests.world import fleet
from tests.world.counted import calls_in_new_threads
from tests.world.fabric import Fabric, web_role
from tests.world.waiting import until

ROOT = 0
WITHIN_S = 60.0


class Reader:
    """Someone who watches, and what he knows by it."""

    def __init__(self, watchers: Watchers, lookout: Lookout) -> None:
        response: StreamingResponse = watchers.respond(lookout, ROOT)
        self._body = cast("AsyncIterator[bytes]", response.body_iterator)
        self.kinds: list[str] = []
        self.values: list[Any] = []
        self.known: dict[str, Any] = {}

    async def take(self) -> str:
        """One message; its kind."""
        data = await asyncio.wait_for(anext(self._body), WITHIN_S)
        lines = dict(line.split(": ", 1) for line in data.decode().splitlines() if line)
        kind, value = lines["event"], json.loads(lines["data"])
        self.kinds.append(kind)
        self.values.append(value)
        if kind == "again":
            self.known.clear()
        elif kind == "instance":
            self.known[value["name"]] = value
        elif kind == "gone":
            del self.known[value["name"]]
        return kind

    async def until(self, true: Callable[[], bool]) -> None:
        """Messages until it is."""
        while not true():
            await self.take()

    async def close(self) -> None:
        """He hangs up."""
        await self._body.aclose()  # type: ignore[attr-defined]


class Forgetful(MemoryStore):
    """A store that may have forgotten what changed, or fail; it counts who lists everything."""

    def __init__(self) -> None:
        super().__init__()
        self.forgets = False
        self.ill: Exception | None = None
        self.listings = 0
        self.told = threading.Event()  # Who waits for changes hears of none while it is not set.
        self.told.set()

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        self.listings += 1
        return super().all(kind)

    def changes(self, after: int) -> Sequence[Change] | None:
        """See ports.Store."""
        return None if self.forgets else super().changes(after)

    def wait(self, after: int, timeout_s: float) -> int:
        """See ports.Store."""
        if self.ill is not None and timeout_s:  # Who asks what there is now has an answer.
            ill, self.ill = self.ill, None
            raise ill
        if timeout_s:
            super().wait(after, timeout_s)
            self.told.wait(WITHIN_S)
            timeout_s = 0.0
        return super().wait(after, timeout_s)


@pytest.fixture
def fabric() -> Fabric:
    """Five instances that serve, of two services."""
    whole = Fabric(store=Forgetful())
    whole.deploy(web_role(instances=4), name="shop")
    whole.deploy(web_role(instances=1), name="blog", vip="203.0.113.11")
    whole.until(whole.quiet)
    return whole


def change(fabric: Fabric, name: str, waiting: str) -> None:
    """A save of one instance's turn."""
    changed = dataclasses.replace(fabric.instance(name), waits_for=recorded(waiting))
    fabric.present.commit([records.put_state(changed)], [Event(at_s=1.0, subject=name, message=waiting)])


def run(test: Coroutine[Any, Any, None]) -> None:
    """The test in a loop of its own."""
    asyncio.run(asyncio.wait_for(test, WITHIN_S))


def threads() -> list[threading.Thread]:
    """That feed watches."""
    return [one for one in threading.enumerate() if one.name == "watches"]


@pytest.mark.parametrize("lookout", [InstanceLookout("shop"), "operation"])
def test_what_changed_and_went_between_two_looks_is_told_as_it_was_last(
    fabric: Fabric, lookout: Lookout | str
) -> None:
    """A guest that had to be ended, and is gone before a watch has looked again: its warning reaches who waits."""
    store = cast("Forgetful", fabric.store)
    watched = lookout
    if isinstance(watched, str):
        watched = OperationLookout(fabric.control.act(Verb.RESTART, "web-1.shop").id)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        reader = Reader(watchers, watched)
        await reader.until(lambda: "current" in reader.kinds)
        store.told.clear()
        last = dataclasses.replace(fabric.instance("web-1.shop"), warning="ended it")
        fabric.present.commit([records.put_state(last)])
        fabric.present.commit(records.drop_instance(fabric.instance("web-1.shop")))
        store.told.set()
        await reader.until(lambda: "gone" in reader.kinds)
        assert (reader.values[-1]["name"], reader.values[-1]["warning"]) == ("web-1.shop", "ended it")
        watchers.end()

    run(test())


def test_the_first_watch_begins_among_many_as_among_few() -> None:
    """Who follows an operation alone makes nobody sort, or go through, all instances."""
    counted = []
    few, many = 3 * fleet.OF_A_SERVICE, 30 * fleet.OF_A_SERVICE
    for instances in (few, few, many):  # What is made once for all is made by the first.
        store = MemoryStore()
        fleet.record(store, instances, 1_800_000_000.0)
        fabric = Fabric(store=store)
        followed = OperationLookout(fabric.control.act(Verb.RESTART, "web-1.svc1").id)

        async def test(fabric: Fabric = fabric, followed: Lookout = followed) -> None:
            watchers = Watchers(fabric.control)
            reader = Reader(watchers, followed)
            await reader.until(lambda: "current" in reader.kinds)
            watchers.end()

        with calls_in_new_threads() as calls:
            run(test())
        beginning = {name: count for name, count in calls.items() if not name.startswith("watches ")}
        assert any("_start_over" in name for name in beginning)
        counted.append(sum(beginning.values()))
    assert counted[1] == counted[2]


@pytest.mark.parametrize(
    ("subject", "topical"),
    [
        *((subject, True) for subject in ("", "shop", "web.shop", "web-1.shop")),
        *((subject, False) for subject in ("web-0.shop", "blog", "web.blog", "nobody", "op")),
    ],
)
@pytest.mark.parametrize("what", [InstanceLookout, EventLookout])
def test_a_watch_is_told_what_is_of_its_subject(
    fabric: Fabric, what: type[InstanceLookout | EventLookout], subject: str, topical: bool
) -> None:
    """Instances and events alike: of all, of a service, of a role, of the one named; and of nobody else."""
    newest = fabric.store.events(limit=1)[0].number

    def lookout(of: str) -> Lookout:
        return InstanceLookout(of) if what is InstanceLookout else EventLookout(of, newest, 100)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        own, everything = Reader(watchers, lookout(subject)), Reader(watchers, lookout(""))
        if what is InstanceLookout:
            await own.until(lambda: "current" in own.kinds)
            await everything.until(lambda: "current" in everything.kinds)
        takes = [asyncio.create_task(reader.take()) for reader in (own, everything)]
        await asyncio.sleep(0.2)  # until both have begun
        change(fabric, "web-1.shop", "for a friend")
        await takes[1]
        await asyncio.sleep(0.2)
        assert takes[0].done() is topical
        if topical:
            assert "for a friend" in json.dumps(own.values[-1])
        takes[0].cancel()
        watchers.end()

    run(test())


def test_the_short_name_of_the_only_instance_will_do_for_events(fabric: Fabric) -> None:
    """Also of one that comes to be while it is watched."""
    newest = fabric.store.events(limit=1)[0].number

    async def test() -> None:
        watchers = Watchers(fabric.control)
        reader = Reader(watchers, EventLookout("web-4", newest, 100))
        taking = asyncio.create_task(reader.take())
        await asyncio.sleep(0.2)
        await asyncio.to_thread(fabric.control.scale, "shop", {"web": 5})
        await asyncio.to_thread(change, fabric, "web-4.shop", "hello")
        await taking
        assert reader.values[-1]["subject"] == "web-4.shop"
        watchers.end()

    run(test())


def test_fifty_watches_of_a_change_cost_one_message(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread for all; of many instances one is shown anew, once, however many watch; nothing is listed."""
    shown: list[str] = []

    def counted(instance: Instance, service: Service | None) -> views.InstanceView:
        shown.append(instance.name)
        return views.view_instance(instance, service)

    monkeypatch.setattr(lookouts, "view_instance", counted)

    async def test() -> None:
        before = threads()
        watchers = Watchers(fabric.control)
        readers = [Reader(watchers, InstanceLookout("")) for _ in range(50)]
        for reader in readers:
            await reader.until(lambda reader=reader: "current" in reader.kinds)  # type: ignore[misc]
        assert len([one for one in threads() if one not in before]) == 1
        shown.clear()
        listings = fabric.store.listings  # type: ignore[attr-defined]
        for number in range(10):
            change(fabric, "web-1.shop", f"for {number}")
            for reader in readers:
                await reader.take()
        assert shown == ["web-1.shop"] * 10
        assert fabric.store.listings == listings  # type: ignore[attr-defined]
        watchers.end()

    run(test())


@pytest.mark.parametrize("seed", range(8))
def test_whoever_stalls_knows_how_things_stand_in_the_end(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Readers that stall, a store that has forgotten, and errors on the way: after the last change all know all."""
    monkeypatch.setattr(sse, "EVENTS_MAX", 8)
    monkeypatch.setattr(sse, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(sse, "SPACING_S", 0.001)
    chance = random.Random(seed)
    store = cast("Forgetful", fabric.store)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        readers = [Reader(watchers, InstanceLookout(subject)) for subject in ("", "shop", "web.shop")]
        for reader in readers:
            await reader.take()
        for number in range(60):
            store.ill = chance.choice([*[None] * 6, Unreachable("away"), ZeroDivisionError("a bug")])
            store.forgets = chance.random() < 0.1
            names = [one.name for one in fabric.instances()]
            if chance.random() < 0.05 and len(names) > 3:
                gone = fabric.instance(chance.choice(names))
                fabric.store.commit(records.drop_instance(gone))
            else:
                change(fabric, chance.choice(names), f"for {number}")
            for reader in readers:
                if chance.random() < 0.2:
                    await reader.take()
            await asyncio.sleep(chance.choice([0.0, 0.002, 0.01]))
        store.ill, store.forgets = None, False
        for reader in readers:
            await reader.until(lambda reader=reader: knows(fabric, reader))  # type: ignore[misc]
        watchers.end()

    monkeypatch.setattr(logging.getLogger(sse.__name__), "disabled", True)
    run(test())


def knows(fabric: Fabric, reader: Reader) -> bool:
    """Whether a reader of the shop, or of more, knows of it what there is."""
    truth = {one.name: one.waiting for one in fabric.instances() if one.service == "shop"}
    return {name: one["waiting"] for name, one in reader.known.items() if one["service"] == "shop"} == truth


def test_events_are_told_once_each_or_the_gap_is(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """However a reader stalls: numbers rise without a hole, but behind a message that says so."""
    monkeypatch.setattr(sse, "EVENTS_MAX", 8)
    monkeypatch.setattr(sse, "SPACING_S", 0.001)
    chance = random.Random(3)
    newest = fabric.store.events(limit=1)[0].number

    async def test() -> None:
        watchers = Watchers(fabric.control)
        reader = Reader(watchers, EventLookout("", newest, 8))
        taking = asyncio.create_task(reader.take())
        for number in range(200):
            change(fabric, "web-1.shop", f"for {number}")
            if chance.random() < 0.3:
                await taking
                taking = asyncio.create_task(reader.take())
            await asyncio.sleep(chance.choice([0.0, 0.002]))
        last = fabric.store.events(limit=1)[0].number
        await taking
        await reader.until(lambda: reader.values[-1]["number"] == last)
        watchers.end()
        before = newest
        for kind, event in zip(reader.kinds, reader.values, strict=True):
            if kind == "gap":
                before = -1
                continue
            assert event["number"] == before + 1 or (before < 0 and event["number"] > newest)
            before = event["number"]
        assert "gap" in reader.kinds

    run(test())


def test_an_operation_ends_its_watch_with_all_that_was_before(fabric: Fabric) -> None:
    """Its instances to the last change, then the operation as it ended, and nothing of others."""
    operation = fabric.control.act(Verb.RESTART, "web-1.shop")

    async def test() -> None:
        watchers = Watchers(fabric.control)
        reader = Reader(watchers, OperationLookout(operation.id))
        await reader.until(lambda: "current" in reader.kinds)
        await asyncio.to_thread(fabric.until, fabric.quiet)
        await reader.until(lambda: "end" in reader.kinds)
        with pytest.raises(StopAsyncIteration):
            await reader.take()
        assert reader.values[-1]["progress"] == Progress.DONE
        assert set(reader.known) == {"web-1.shop"}
        assert reader.known["web-1.shop"]["phase"] == "serving"
        assert reader.known["web-1.shop"]["boot"] == fabric.instance("web-1.shop").boot
        watchers.end()

    run(test())


def test_an_operation_of_long_ago_ends_its_watch_at_once(fabric: Fabric) -> None:
    """Also one that there is not."""
    operation = fabric.control.act(Verb.RESTART, "web-1.shop")
    fabric.until(fabric.quiet)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        for of in (operation.id, "restart-of-nobody"):
            reader = Reader(watchers, OperationLookout(of))
            await reader.until(lambda reader=reader: "end" in reader.kinds)  # type: ignore[misc]
        watchers.end()

    run(test())


def test_the_thread_ends_with_the_last_watch(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is there again for the next."""
    monkeypatch.setattr(sse, "LOOK_EVERY_S", 0.02)
    until(lambda: not threads(), what="the last look of the threads of other tests")

    async def test() -> None:
        watchers = Watchers(fabric.control)
        for _ in range(3):
            reader = Reader(watchers, InstanceLookout("shop"))
            await reader.until(lambda reader=reader: "current" in reader.kinds)  # type: ignore[misc]
            assert len(threads()) == 1
            await reader.close()
            while threads():
                await asyncio.sleep(0.01)
            assert watchers.places.taken == 0
        watchers.end()

    run(test())


def test_what_a_reader_has_yet_to_take_is_bounded(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes nothing while another takes every change starts over, instead of having it all kept for him."""
    monkeypatch.setattr(sse, "EVENTS_MAX", 8)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        stalled, eager = (Reader(watchers, InstanceLookout("")) for _ in range(2))
        for reader in (stalled, eager):
            await reader.until(lambda reader=reader: "current" in reader.kinds)  # type: ignore[misc]
        for number in range(12):
            change(fabric, "web-1.shop", f"for {number}")
            await eager.take()
        assert await stalled.take() == "again"
        await stalled.until(lambda: knows(fabric, stalled))
        assert "again" not in eager.kinds
        watchers.end()

    run(test())


def test_who_comes_for_events_makes_nobody_start_over(fabric: Fabric, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old events are no news, however many there are."""
    monkeypatch.setattr(sse, "EVENTS_MAX", 8)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        instances, events = Reader(watchers, InstanceLookout("")), Reader(watchers, EventLookout("", 0, 8))
        await instances.until(lambda: "current" in instances.kinds)
        for number in range(12):
            fabric.store.commit([], [Event(at_s=1.0, subject="shop", message=str(number))])
        await events.take()
        change(fabric, "web-1.shop", "for a friend")
        assert await instances.take() == "instance"
        watchers.end()

    run(test())


def test_a_bug_in_one_message_costs_nobody_the_truth(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be told is told anew, and the log has the bug in full."""
    monkeypatch.setattr(sse, "LOOK_EVERY_S", 0.02)

    async def test() -> None:
        watchers = Watchers(fabric.control)
        reader = Reader(watchers, InstanceLookout(""))
        await reader.until(lambda: "current" in reader.kinds)
        met = threading.Event()

        def broken(instance: Instance, service: Service | None) -> views.InstanceView:
            if not met.is_set():
                met.set()
                raise ZeroDivisionError
            return views.view_instance(instance, service)

        monkeypatch.setattr(lookouts, "view_instance", broken)
        change(fabric, "web-1.shop", "for a friend")
        await reader.until(lambda: knows(fabric, reader))
        watchers.end()

    run(test())
    assert any(line.exc_info for line in caplog.records)
