"""What every balancer keeps that carries connections when two sets of pools exchange their virtual address.

The module under test gives the fixture `pair`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pytest

from orchestrator.model import Frontend, InstanceName, Member, Mode, PoolName, Standing
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import patiently
from tests.world.waiting import until

OLD, NEW = InstanceName("web-0.shop"), InstanceName("web-0.shop--b")
SWAPS: Final = 6
CLIENTS: Final = 2  # of each endpoint
TOGETHER_S: Final = 0.001  # between the endpoints of a service


class Talk(contextlib.AbstractContextManager["Talk"]):
    """An open connection: `says` is who answers on it, "" when it was cut."""

    def says(self) -> str:
        """Who answers now."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two deployments of a service, a member each, with the same endpoints; the old one has the VIP, the other none.

    `ask` is who answers a new connection to a port; it raises OSError when nobody does. `shape_beside` shapes as one
    of two balancers does that change together: all is prepared, what it is given is called, and then it changes.
    """

    balancer: Balancer
    shape_beside: Callable[[Sequence[Frontend], Callable[[], None]], None]
    old: Sequence[Frontend]
    new: Sequence[Frontend]
    members: Sequence[Member]
    ask: Callable[[int], str]
    talk: Callable[[int], Talk]

    @property
    def ports(self) -> list[int]:
        """Of the VIP."""
        return [one.port for one in self.old]

    def both(self, *, swapped: bool) -> list[Frontend]:
        """All endpoints, the VIP with the old deployment, or with the new one."""
        away = [replace(one, vip="") for one in (self.old if swapped else self.new)]
        vip = self.old[0].vip
        return [*away, *(replace(one, vip=vip) for one in (self.new if swapped else self.old))]

    def nowhere(self) -> list[Frontend]:
        """All endpoints, and the VIP with nobody."""
        return [replace(one, vip="") for one in (*self.old, *self.new)]

    def unlike(self) -> Pair:
        """The same, but that of the last endpoints the old deployment has the one, and the new one has another."""
        port = max(self.ports) + 1
        shared, last = self.new[:-1], self.new[-1]
        own = replace(last, pool=PoolName(f"{last.pool}.own"), port=port, timeout_s=17.0)
        pools = {last.pool: own.pool}
        members = [
            replace(one, pools=tuple((pools.get(pool, pool), to) for pool, to in one.pools)) for one in self.members
        ]
        return replace(self, new=(*shared, own), members=members)

    def exchange(self, moments: list[float], *, swapped: bool) -> None:
        """Beside another balancer; notes when that would change (seconds, monotonic)."""
        after = self.both(swapped=swapped)
        patiently(lambda: self.shape_beside(after, lambda: moments.append(time.monotonic())))

    def lay(self) -> None:
        """The old deployment serves, the new one stands beside it."""
        self.balancer.shape(self.both(swapped=False))
        for one in self.members:
            self.balancer.join(one)
        until(lambda: all(seat.checked for seat in self.balancer.seats().values()), 30.0)


@dataclass(slots=True)
class Load:
    """Clients that never stop: who answered each, from when until when (seconds, monotonic), and what went wrong."""

    answers: list[tuple[float, float, str]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@contextlib.contextmanager
def load(pair: Pair, ports: Sequence[int] = ()) -> Iterator[Load]:
    """So many clients of each endpoint, or of these, until the context ends."""
    seen, stop = Load(), threading.Event()

    def ask(port: int) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                who = pair.ask(port)
            except OSError as error:
                seen.lost.append(f"{port}: {error}")
            else:
                seen.answers.append((began, time.monotonic(), who))

    threads = [threading.Thread(target=ask, args=(port,)) for port in ports or pair.ports for _ in range(CLIENTS)]
    for one in threads:
        one.start()
    try:
        yield seen
    finally:
        stop.set()
        for one in threads:
            one.join()


def goes_on(seen: Load, who: str) -> None:
    """Returns when somebody has been answered by `who`, and for a while after; clients wait for a processor, too."""
    until(lambda: any(name == who for _, _, name in list(seen.answers)), 30.0)
    time.sleep(0.2)


def overlap_s(seen: Load, of: str) -> float:
    """How long after the first answer of `of` a connection was begun that somebody else answered; below 0: never."""
    first = min(ended for _, ended, who in seen.answers if who == of)
    return max(began for began, _, who in seen.answers if who != of) - first


class ExchangeContract:
    """The suite."""

    def test_a_pool_without_a_vip_has_members_and_no_clients(self, pair: Pair) -> None:
        """They are asked how they are, drain and leave as any; the VIP is the other pool's alone."""
        pair.lay()
        seats = pair.balancer.seats()
        assert {name: seat.standing for name, seat in seats.items()} == dict.fromkeys((OLD, NEW), Standing.UP)
        assert {pair.ask(port) for port in pair.ports for _ in range(6)} == {"old"}
        pair.balancer.drain(NEW)
        seat = pair.balancer.seat(NEW)
        assert seat is not None
        assert seat.standing is Standing.DRAINING
        patiently(lambda: pair.balancer.leave(NEW))
        assert set(pair.balancer.seats()) == {OLD}

    def test_what_is_open_stays_and_what_is_new_goes_to_the_other(self, pair: Pair) -> None:
        """There, and back; members are disturbed by neither."""
        pair.lay()
        with contextlib.ExitStack() as stack:
            talks = [stack.enter_context(pair.talk(port)) for port in pair.ports]
            assert {one.says() for one in talks} == {"old"}
            patiently(lambda: pair.balancer.shape(pair.both(swapped=True)))
            assert {pair.ask(port) for port in pair.ports for _ in range(6)} == {"new"}
            assert {one.says() for one in talks} == {"old"}, "an open connection was moved or cut"
            carried = pair.balancer.traffic([one.pool for one in pair.old if one.mode is Mode.TCP])
            if any(
                one.whole.begun is None for one in carried.values()
            ):  # Who counts all that he knows, counts these.
                assert {one.whole.open for one in carried.values()} == {1}
            patiently(lambda: pair.balancer.shape(pair.both(swapped=False)))
            assert {pair.ask(port) for port in pair.ports for _ in range(6)} == {"old"}
            assert {one.says() for one in talks} == {"old"}
        standings = {name: seat.standing for name, seat in pair.balancer.seats().items()}
        assert standings == dict.fromkeys((OLD, NEW), Standing.UP)

    def test_no_request_is_lost_by_exchanging(self, pair: Pair) -> None:
        """Under clients that never stop, again and again."""
        pair.lay()
        with load(pair) as seen:
            for number in range(SWAPS):
                patiently(lambda number=number: pair.balancer.shape(pair.both(swapped=number % 2 == 0)))
                time.sleep(0.1)
        assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)} lost: {seen.lost[:3]}"
        assert {who for _, _, who in seen.answers} == {"old", "new"}

    def test_taking_away_first_loses_requests(self, pair: Pair) -> None:
        """The control: the VIP with nobody in between, and clients notice."""
        pair.lay()
        with load(pair) as seen:
            patiently(lambda: pair.balancer.shape(pair.nowhere()))
            time.sleep(0.05)
            patiently(lambda: pair.balancer.shape(pair.both(swapped=True)))
            until(lambda: any(who == "new" for _, _, who in list(seen.answers)), 30.0)
        assert seen.lost

    def test_all_endpoints_go_to_the_other_together(self, pair: Pair) -> None:
        """Who begins a connection when any endpoint has been answered by the other is answered by it, too."""
        pair.lay()
        with load(pair) as seen:
            goes_on(seen, "old")
            patiently(lambda: pair.balancer.shape(pair.both(swapped=True)))
            goes_on(seen, "new")
        assert not seen.lost
        assert overlap_s(seen, "new") <= TOGETHER_S

    def test_what_both_have_goes_together_and_the_rest_comes_and_goes(self, pair: Pair) -> None:
        """Deployments with other endpoints, there and back: what one of them has alone takes part in nothing else."""
        unlike = pair.unlike()
        *shared, (gone, comes) = *unlike.ports[:-1], (unlike.ports[-1], unlike.new[-1].port)
        unlike.lay()
        for swapped, own, others in ((True, comes, gone), (False, gone, comes)):
            before, who = ("old", "new") if swapped else ("new", "old")
            moments: list[float] = []
            with unlike.talk(others) as kept, load(unlike, shared) as seen:
                assert kept.says() == before
                goes_on(seen, before)
                unlike.exchange(moments, swapped=swapped)
                assert kept.says() == before
                goes_on(seen, who)
            assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)} lost: {seen.lost[:3]}"
            assert overlap_s(seen, who) <= TOGETHER_S
            early = [ended for _, ended, name in seen.answers if name == who and ended < moments[-1]]
            assert not early, "it changed before the other balancer was ready"
            assert {unlike.ask(port) for port in (*shared, own)} == {who}
            with pytest.raises(ConnectionRefusedError):
                unlike.ask(others)
        standings = {name: seat.standing for name, seat in unlike.balancer.seats().items()}
        assert standings == dict.fromkeys((OLD, NEW), Standing.UP)
