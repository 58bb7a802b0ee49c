"""What a turn costs among many is what it costs among few: counted in lines, not in time."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from orchestrator.control.loop import Key, Reconciler
from orchestrator.control.present import Present
from orchestrator.drivers.fake import FakeStore, World, fake_host
from orchestrator.model import Instance, Service
from tests.world import fleet
from tests.world.counted import made
from tests.world.simulation import Over, SimulatedWorld, Turns
from tests.world.waiting import until

FEW, MANY = 3 * fleet.OF_A_SERVICE, 60 * fleet.OF_A_SERVICE
SERVICE: Key = ("service", "svc1")
INSTANCE: Key = ("instance", "web-3.svc1")


class Daemon:
    """A loop over so many instances that serve; its turns are made here, and so its time passes."""

    def __init__(self, instances: int, *, workers: int = 4) -> None:
        self.world = SimulatedWorld(self._waits)
        self.store = FakeStore()
        fleet.record(self.store, instances, self.world.now_s())
        self.store.commit([fleet.image_put(self.world.now_s())])
        self.present = Present(self.store)
        fleet.people(self.world, self.present.all(Instance))
        self.turns = Turns()
        host = fake_host(self.world)
        self.loop = Reconciler(self.store, host, present=self.present, workers=workers, pool=self.turns)
        self.keys: list[Key] = [("service", one.name) for one in self.present.all(Service)]
        self.keys += [("instance", one.name) for one in self.present.all(Instance)]
        self.waits = lambda _: self.turn()

    def _waits(self, within_s: float) -> None:
        self.waits(within_s)

    def turn(self) -> None:
        """The oldest of those that are handed out."""
        self.turns.waiting.pop(0)()

    def live(self, waits: Callable[[float], None]) -> None:
        """Until that raises Over, which is called whenever the loop waits, with how long it would (seconds)."""
        self.waits = waits
        with pytest.raises(Over):
            self.loop.run()


def lines(of: Callable[[], object]) -> Counter[str]:
    """How many lines of ours each function goes through meanwhile, those of a loop as often as it goes round."""
    counted: Counter[str] = Counter()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        if "orchestrator" not in frame.f_code.co_filename:
            return None
        counted[frame.f_code.co_qualname] += event == "line"
        return trace

    sys.settrace(trace)
    try:
        of()
    finally:
        sys.settrace(None)
    return counted


@pytest.mark.parametrize("key", [SERVICE, INSTANCE], ids=["service", "instance"])
def test_a_look_costs_the_same_among_many(key: Key) -> None:
    """Nothing in it goes through the services, or the instances, of all."""
    counted = []
    for instances in (FEW, MANY):
        daemon = Daemon(instances)
        for each in daemon.keys:
            daemon.loop.attend(each)
        counted.append(lines(lambda daemon=daemon: daemon.loop.attend(key)))  # type: ignore[misc]
    assert counted[0] == counted[1]


def test_a_lost_address_wakes_its_service_without_a_look_at_the_others() -> None:
    """However many there are."""
    counted = []
    for instances in (FEW, MANY):
        daemon = Daemon(instances)
        vip = daemon.present.load(Service, "svc1").spec.vip
        daemon.present.faced()
        counted.append(lines(lambda daemon=daemon, vip=vip: daemon.loop.wake_vip(vip, "a test")))  # type: ignore[misc]
    assert counted[0] == counted[1]


def test_a_look_at_one_who_serves_makes_no_record() -> None:
    """Nothing new is learned by it."""
    daemon = Daemon(FEW)
    daemon.loop.attend(INSTANCE)  # It notes that the instance is healed of all that came before.
    assert made(Instance, lambda: daemon.loop.attend(INSTANCE)) == 0


def test_no_more_turns_are_handed_out_than_there_are_threads() -> None:
    """Who is woken could not overtake them."""
    daemon = Daemon(FEW)
    most = 0

    def waits(_: float) -> None:
        nonlocal most
        most = max(most, len(daemon.turns.waiting))
        if len(daemon.turns.done) == len(daemon.keys):
            raise Over
        daemon.turn()

    daemon.live(waits)
    assert most == 4


def test_a_thread_takes_what_is_due_next_by_itself() -> None:
    """Of all who are due at a start few need another thread to be woken."""
    submitted = []

    class Threads(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            submitted.append(args)
            return super().submit(fn, *args, **kwargs)

    daemon = Daemon(FEW)
    attended: set[object] = set()

    class Listening(Reconciler):
        def attend(self, key: Key) -> float:
            again_s = super().attend(key)
            attended.add(key)
            return again_s

    world = World()
    fleet.people(world, daemon.present.all(Instance))
    loop = Listening(daemon.store, fake_host(world), present=daemon.present, workers=2)
    loop._pool = Threads(2)
    loop.start()
    try:
        until(lambda: len(attended) == len(daemon.keys), 60.0)
    finally:
        loop.stop()
    assert 0 < len(submitted) <= len(daemon.keys) / 2


def test_who_is_woken_goes_before_all_who_are_due() -> None:
    """Everybody is, after a start: one who is woken has the next turn that is handed out, and those that follow."""
    daemon = Daemon(FEW, workers=1)
    before: list[object] = []

    def waits(_: float) -> None:
        if not before:
            daemon.turn()
            before.extend(daemon.turns.done)
            daemon.loop.wake(*next(key for key in reversed(daemon.keys) if key not in before))
        elif len(daemon.turns.done) == len(before):
            daemon.turn()
        else:
            raise Over

    daemon.live(waits)
    woken = next(key for key in reversed(daemon.keys) if key not in before)
    assert woken in daemon.turns.done


def test_what_waits_long_is_not_overtaken_for_ever() -> None:
    """Though somebody else is woken again and again."""
    daemon = Daemon(FEW, workers=1)
    restless = daemon.keys[0]
    turns = 0

    def waits(_: float) -> None:
        nonlocal turns
        turns += 1
        assert turns < 40 * len(daemon.keys), "the others never have a turn"
        if len(daemon.turns.done) == len(daemon.keys):
            raise Over
        daemon.world.pass_time(1.0)
        daemon.loop.wake(*restless)
        if daemon.turns.waiting:
            daemon.turn()

    daemon.live(waits)


def test_those_who_were_looked_at_at_once_are_not_again() -> None:
    """After a start all have their first turn together; their next ones are spread over a minute."""
    daemon = Daemon(MANY)
    each_second: Counter[int] = Counter()
    began_s: list[float] = []

    def waits(within_s: float) -> None:
        if daemon.turns.waiting:
            if began_s:
                each_second[int(daemon.world.time_s)] += 1
            daemon.turn()
            return
        began_s.append(daemon.world.time_s)
        if daemon.world.time_s > began_s[0] + 180.0:
            raise Over
        daemon.world.pass_time(min(within_s, 1.0))

    daemon.live(waits)
    assert sum(each_second.values()) > 2 * len(daemon.keys)
    assert max(each_second.values()) < len(daemon.keys) / 10


def test_a_standstill_is_told_from_work_and_from_rest() -> None:
    """Turns that end are none, however many wait; none that ends is, and so is a loop that begins nothing."""
    daemon = Daemon(FEW)
    assert daemon.loop.stalled_s() == 0.0
    told: list[float] = []

    def waits(_: float) -> None:
        if len(daemon.turns.done) < len(daemon.keys):
            daemon.world.pass_time(100.0)
            told.append(daemon.loop.stalled_s())
            daemon.turn()
            told.append(daemon.loop.stalled_s())
        elif daemon.turns.waiting:
            daemon.turn()
        else:
            assert daemon.loop.stalled_s() == 0.0  # Nobody is due.
            raise Over

    daemon.live(waits)
    assert set(told) == {100.0, 0.0}
    daemon.world.pass_time(1_000.0)
    assert daemon.loop.stalled_s() > 900.0  # The loop has ended, and the audits are due.
