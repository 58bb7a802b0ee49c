"""Watching through a real socket: nothing is missed, nothing grows, everything ends."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.api import sse
from orchestrator.client.client import Client
from orchestrator.control import records
from orchestrator.errors import Busy, InvalidInput, WaitedTooLong
from orchestrator.model import Event
from tests.world.api_daemon import SHOP, Daemon
from tests.world.waiting import comes_true

if TYPE_CHECKING:
    from orchestrator.client.transport import Message

WITHIN_S = 120.0


def tell(daemon: Daemon, *messages: str) -> None:
    """Events of the service."""
    daemon.store.commit([], [Event(at_s=1.0, subject="shop", message=one) for one in messages])


def taken(messages: Iterator[Message], count: int) -> list[Message]:
    """The first so many."""
    return [next(messages) for _ in range(count)]


def soon() -> float:
    """A deadline."""
    return time.monotonic() + WITHIN_S


def test_instances_are_told_at_first_and_at_each_change(daemon: Daemon) -> None:
    """All there are, "current", then only what changes."""
    messages = daemon.client().watch_instances("web.shop", until=soon())
    first = taken(messages, 4)
    daemon.control.scale("shop", {"web": 2})
    later = {value["name"]: value["removing"] for _, value, _ in taken(messages, 1)}
    assert [one[0] for one in first] == ["instance", "instance", "instance", "current"]
    assert later == {"web-2.shop": True}


def test_an_instance_that_goes_is_told(daemon: Daemon) -> None:
    """A record that is removed is told as gone, with what it was."""
    messages = daemon.client().watch_instances("web-1.shop", until=soon())
    taken(messages, 2)
    daemon.store.commit(records.drop_instance(daemon.control.instance("web-1")))
    kind, value, _ = next(messages)
    assert (kind, value["name"]) == ("gone", "web-1.shop")


def test_a_watch_of_labels_follows_them(daemon: Daemon) -> None:
    """Who has them is told, who gets them comes, and who loses them goes; others are not heard of."""
    front, back = (
        SHOP.replace("    image: micro", f"    image: micro\n    labels: {{tier: {tier}}}")
        for tier in ("front", "back")
    )
    other = front.replace("service: shop", "service: other").replace("203.0.113.10", "203.0.113.11")
    daemon.control.apply(front)
    daemon.control.apply(other)
    fronts = daemon.client().watch_instances(labels="tier=front", until=soon())
    backs = daemon.client().watch_instances("shop", labels="tier in (back)", until=soon())
    assert [one[0] for one in taken(fronts, 7)] == ["instance"] * 6 + ["current"]
    assert next(backs)[:2] == ("current", 0)
    daemon.control.apply(back)
    went = taken(fronts, 3)
    came = taken(backs, 3)
    names = ["web-0.shop", "web-1.shop", "web-2.shop"]
    assert sorted((kind, value["name"]) for kind, value, _ in went) == [("gone", name) for name in names]
    assert sorted((kind, value["name"]) for kind, value, _ in came) == [("instance", name) for name in names]
    daemon.control.scale("other", {"web": 2})
    kind, value, _ = next(fronts)
    assert (kind, value["name"], value["removing"]) == ("instance", "web-2.other", True)
    with pytest.raises(InvalidInput):
        next(daemon.client().watch_instances(labels="tier in", until=soon()))


def test_events_go_on_after_the_last_one_seen(daemon: Daemon) -> None:
    """Last-Event-ID and `after` both go on exactly there: no event twice, none missed."""
    tell(daemon, "one", "two", "three")
    events = daemon.client().events("shop")
    last = next(event["number"] for event in events if event["message"] == "one")
    told = [value["message"] for _, value, _ in taken(daemon.client().watch_events(after=last, until=soon()), 2)]
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(WITHIN_S)
        raw.connect(str(daemon.socket))
        raw.sendall(b"GET /v1/events/watch HTTP/1.1\r\nhost: x\r\nlast-event-id: %d\r\n\r\n" % last)
        seen = b""
        while b'"three"' not in seen:
            seen += raw.recv(65_536)
    assert told == ["two", "three"]
    assert b'"two"' in seen
    assert b'"one"' not in seen


def test_a_watch_outlives_a_restart_of_the_daemon(daemon: Daemon) -> None:
    """The client connects again and goes on after the last event that it has seen."""
    messages = daemon.client().watch_events("shop", until=soon())
    told = [next(messages)[1]["message"]]
    daemon.restart_api()
    tell(daemon, "after the restart")
    told.append(next(messages)[1]["message"])
    assert told == ["applied: shop", "after the restart"]


def test_after_a_restart_instances_are_told_anew(daemon: Daemon) -> None:
    """Who watches instances is told that what came before is void, then all there are."""
    messages = daemon.client().watch_instances("web-0.shop", until=soon())
    taken(messages, 2)
    daemon.restart_api()
    assert [kind for kind, _, _ in taken(messages, 3)] == ["again", "instance", "current"]


def test_an_operation_is_told_until_its_end(tmp_path: Path) -> None:
    """A watch of an operation tells its instances on the way and ends with it, by itself."""
    with Daemon(tmp_path, alive=True) as daemon:
        daemon.give_image()
        client = daemon.client()
        client.apply(SHOP)
        operation = client.act("restart", "web-0")
        messages = list(client.watch_operation(operation["id"], until=time.monotonic() + 60))
        assert messages[-1][0] == "end"
        assert messages[-1][1]["progress"] == "done"
        assert {value["name"] for kind, value, _ in messages if kind == "instance"} == {"web-0.shop"}
        assert client.instance("web-0")["phase"] == "serving"


def test_a_slow_reader_is_told_of_the_gap(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stalls keeps nothing in the daemon: it hears that it missed something, and then the newest."""
    monkeypatch.setattr(sse, "EVENTS_MAX", 20)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(WITHIN_S)
        slow.connect(str(daemon.socket))
        slow.sendall(b"GET /v1/events/watch?after=1 HTTP/1.0\r\n\r\n")
        for number in range(100):
            tell(daemon, *(f"{number} " + "x" * 4000 for _ in range(5)))
        tell(daemon, "the newest")
        seen = b""
        while b'"the newest"' not in seen:
            seen += slow.recv(1 << 20)
    assert b"event: gap\n" in seen
    assert len(seen) < 100 * 5 * 4000


def test_watches_have_a_limit(daemon: Daemon) -> None:
    """One watch too many is refused, and a place is free again when one ends; requests are answered all the while."""
    daemon.app.state.watchers.places.most = 2 * 3
    open_ones = [daemon.client().watch_instances(until=soon()) for _ in range(3)]
    for one in open_ones:
        next(one)
    with pytest.raises(Busy):
        next(daemon.client().watch_instances(until=soon()))
    assert daemon.client().health()["status"] == "ok"
    open_ones[0].close()  # type: ignore[attr-defined]
    assert succeeds_in_time(lambda: next(daemon.client().watch_instances(until=soon()))[0] == "instance")


def succeeds_in_time(call: Callable[[], Any]) -> bool:
    """Whether the call succeeds before the deadline; Busy means try again."""

    def succeeds() -> bool:
        with contextlib.suppress(Busy):
            return bool(call())
        return False

    return comes_true(succeeds, WITHIN_S)


def test_many_watches_do_not_starve_requests(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watches wait in threads of their own: while all of them wait, an ordinary request is answered."""
    monkeypatch.setattr(sse, "LOOK_EVERY_S", 60.0)
    watches = [daemon.client().watch_instances(until=soon()) for _ in range(sse.WATCHERS_MAX // 2)]
    for one in watches:
        next(one)
    time.sleep(0.5)  # until each of them waits again
    began = time.monotonic()
    daemon.client().services()
    took_s = time.monotonic() - began
    tell(daemon, "wake up")
    assert took_s < WITHIN_S


def test_a_watch_ends_at_its_deadline(daemon: Daemon) -> None:
    """A client that waits for what does not happen is told so, after its deadline and although nothing comes."""
    began = time.monotonic()
    with pytest.raises(WaitedTooLong):
        list(Client(str(daemon.socket)).watch_instances("shop", until=began + 0.5))
    assert 0.5 <= time.monotonic() - began < WITHIN_S


def test_a_change_is_told_at_once(daemon: Daemon) -> None:
    """A watch does not poll: a change is told in a fraction of its looking interval."""
    messages = daemon.client().watch_events("shop", until=soon())
    next(messages)
    delays = []
    for _ in range(5):
        time.sleep(0.1)
        began = time.monotonic()
        threading.Thread(target=tell, args=(daemon, "now")).start()
        next(messages)
        delays.append(time.monotonic() - began)
    assert min(delays) < sse.LOOK_EVERY_S / 4, delays
