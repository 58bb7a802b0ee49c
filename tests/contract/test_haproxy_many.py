"""With many members: what is asked of HAProxy, who waits for whom, and that nothing is read wrongly for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, ItemsView, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer import haproxy_config, haproxy_stat
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.haproxy_host import Surroundings, connections_with
from orchestrator.drivers.balancer.haproxy_process import HaproxyProcess
from orchestrator.drivers.clock import SystemClock
from orchestrator.errors import Busy, Unreachable
from orchestrator.model import InstanceName, Member, PoolName, Seat, Standing
from orchestrator.ports import Clock
from tests.world.endpoints import ADDRESSES, ADMIN, CORNER, HTTP, ONE, POOL, ZERO, member, patiently
from tests.world.raw_server import RawServer
from tests.world.waiting import until

MANY = 2_000
EVERYBODY = "show stat -1 4 -1"


class Listening(HaproxyProcess):
    """Keeps what was asked, and holds a load up until the test lets it go."""

    def __init__(self, place: Path, binary: str, clock: Clock) -> None:
        super().__init__(place, binary, clock)
        self.asked: list[str] = []
        self.asked_old: list[str] = []
        self.loading, self.may_load = threading.Event(), threading.Event()
        self.may_load.set()

    def ask(self, line: str) -> str:
        """Keeps the command."""
        self.asked.append(line)
        return super().ask(line)

    def tell_old(self, pid: int, line: str) -> str:
        """Keeps the command."""
        self.asked_old.append(line)
        return super().tell_old(pid, line)

    def load(self, text: str, leads: str) -> None:
        """Waits for the test."""
        self.loading.set()
        assert self.may_load.wait(60)
        super().load(text, leads)


@pytest.fixture
def processes() -> list[Listening]:
    """The one HAProxy of the test."""
    return []


@pytest.fixture
def haproxy(tmp_path: Path, processes: list[Listening]) -> Iterator[HaproxyBalancer]:
    """A real HAProxy that nobody watches, so that all that is asked is the test's."""

    def process(place: Path, binary: str, clock: Clock) -> HaproxyProcess:
        processes.append(Listening(place, binary, clock))
        return processes[0]

    balancer = HaproxyBalancer(tmp_path / "haproxy", "haproxy", lambda *_: None, SystemClock(), process=process)
    yield balancer
    balancer.shape([])


def crowd(haproxy: HaproxyBalancer) -> None:
    """Many members in one pool, and web-0 alone in another."""
    names = [InstanceName(f"web-{number}.crowd") for number in range(MANY)]
    members = {name: Member(name=name, address=f"{CORNER}.9", pools=((POOL, 9),)) for name in names}
    shape = replace(haproxy.desired.shape, frontends=(ADMIN, HTTP), members=members)
    haproxy.load(shape)
    haproxy.desired.keep(shape)
    haproxy.join(member(ZERO, ADMIN.pool))


def test_everybody_is_looked_at_together(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """Each of many instances asks for all seats at about the same time: HAProxy is asked a few times."""
    crowd(haproxy)
    processes[0].asked.clear()
    for _ in range(MANY):
        assert haproxy.seats()[ZERO].pools == (ADMIN.pool,)
    assert len(processes[0].asked) < MANY / 50


def test_a_member_is_looked_at_alone(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """Where it must be exact, its own pools are asked for; joining, draining and leaving need no more."""
    crowd(haproxy)
    processes[0].asked.clear()
    for _ in range(3):
        haproxy.join(member(ZERO, ADMIN.pool))
        seat = haproxy.seat(ZERO)
        assert seat is not None
        assert (seat.standing, seat.pools) == (Standing.UP, (ADMIN.pool,))
        haproxy.drain(ZERO)
        assert haproxy.seat(ZERO) == replace(seat, standing=Standing.DRAINING)
    assert not [line for line in processes[0].asked if EVERYBODY in line or POOL in line]
    patiently(lambda: haproxy.leave(ZERO))
    assert haproxy.seat(ZERO) is None
    assert ZERO not in haproxy.seats()


def test_a_member_is_looked_at_alone_in_former_workers_too(
    haproxy: HaproxyBalancer, processes: list[Listening]
) -> None:
    """Who is where in one of them is asked once, for it does not change; what is open there is counted each time."""
    crowd(haproxy)
    with (
        RawServer(ADDRESSES[ZERO], 8077, lambda _: b"said"),
        socket.create_connection((ADMIN.vip, ADMIN.port), timeout=30) as talk,
    ):
        talk.sendall(b"x")
        assert talk.recv(4) == b"said"
        for _ in range(2):
            haproxy.load(haproxy.desired.shape)
            assert len(haproxy.process.old_pids()) == 1
            processes[0].asked.clear()
            processes[0].asked_old.clear()
            for _ in range(5):
                seat = haproxy.seat(ZERO)
                assert seat is not None
                assert seat.connections == 1
            assert processes[0].asked_old.count(EVERYBODY) <= 1
            assert not [line for line in processes[0].asked if EVERYBODY in line or POOL in line]
            assert not [line for line in processes[0].asked_old if POOL in line]

    def over() -> bool:
        seat = haproxy.seat(ZERO)
        return seat is not None and seat.connections == 0

    until(over, 30.0)


def test_a_configuration_goes_through_all_members_once() -> None:
    """However many endpoints there are beside theirs."""

    class Counted(dict[str, Member]):
        count = 0

        def items(self) -> ItemsView[str, Member]:
            self.count += 1
            return super().items()

    frontends = tuple(replace(HTTP, pool=PoolName(f"shop-{number}.web.http"), port=number) for number in range(1, 51))
    members = Counted(
        {
            f"web-{number}.shop": Member(
                name=InstanceName(f"web-{number}.shop"), address=f"{CORNER}.9", pools=((frontends[number].pool, 9),)
            )
            for number in range(50)
        }
    )
    text = haproxy_config.render(Shape(frontends=frontends, members=members), Path("/x/socket"), Surroundings())
    assert text.count("    server ") == 50
    assert members.count == 1


def test_who_is_absent_costs_nothing(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """A VM that is shut down leaves at each look, twenty times a second."""
    crowd(haproxy)
    haproxy.leave(ONE)
    processes[0].asked.clear()
    for _ in range(20):
        haproxy.leave(ONE)
        haproxy.drain(ONE)
        assert haproxy.seat(ONE) is None
    assert processes[0].asked == []


def test_who_was_put_in_by_a_daemon_that_died_is_found(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """HAProxy has a member that nobody has noted: it drains and leaves like any other."""
    haproxy.shape([HTTP, ADMIN])
    for pool in (HTTP.pool, ADMIN.pool):
        haproxy.members.add(
            pool, ZERO, f"{ADDRESSES[ZERO]}:8077", haproxy_config.server_options(HTTP, 1, member(ZERO))
        )
    haproxy.drain(ZERO)
    seat = haproxy.seat(ZERO)
    assert seat is not None
    assert (seat.standing, set(seat.pools)) == (Standing.DRAINING, {HTTP.pool, ADMIN.pool})
    patiently(lambda: haproxy.leave(ZERO))
    assert str(ZERO) not in processes[0].ask(EVERYBODY)


def test_a_join_that_failed_half_way_can_be_undone(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """Nothing has noted the member, and yet HAProxy has it: leaving takes it out."""
    haproxy.shape([HTTP])
    haproxy.leave(ONE)

    def full(*_: object) -> None:
        raise Busy("no room to note it")

    keep, haproxy.desired.keep = haproxy.desired.keep, full  # type: ignore[method-assign]
    with pytest.raises(Busy, match="no room"):
        haproxy.join(member(ONE))
    haproxy.desired.keep = keep  # type: ignore[method-assign]
    assert str(ONE) in processes[0].ask(EVERYBODY)
    patiently(lambda: haproxy.leave(ONE))
    assert str(ONE) not in processes[0].ask(EVERYBODY)


def test_nobody_waits_for_a_reload(haproxy: HaproxyBalancer, processes: list[Listening]) -> None:
    """Who comes while HAProxy is given other endpoints is asked to come again; what was seen can be read."""
    haproxy.shape([HTTP])
    haproxy.join(member(ZERO))
    before = haproxy.seats()
    process = processes[0]
    process.loading.clear()
    process.may_load.clear()
    shaping = threading.Thread(target=lambda: haproxy.shape([HTTP, ADMIN]))
    shaping.start()
    try:
        assert process.loading.wait(30)
        verbs: list[Callable[[], object]] = [
            lambda: haproxy.join(member(ONE)),
            lambda: haproxy.drain(ZERO),
            lambda: haproxy.leave(ZERO),
            lambda: haproxy.seat(ZERO),
            lambda: haproxy.shape([HTTP]),
        ]
        for verb in verbs:
            with pytest.raises(Busy, match="other endpoints"):
                verb()
        assert haproxy.seats() == before
    finally:
        process.may_load.set()
        shaping.join()
    patiently(lambda: haproxy.join(member(ONE)))
    assert set(haproxy.seats()) == {ZERO, ONE}


@pytest.mark.parametrize("reason", ["a,b,c", 'x",9.9.9.9:1,"', "'", '""', ",,,,,,,,,,,,,,,,,,,"])
def test_what_a_check_has_heard_moves_no_column(haproxy: HaproxyBalancer, reason: str) -> None:
    """A hostile member answers its check with commas and quotes: its address and those of others stay theirs."""
    with socket.create_server((ADDRESSES[ZERO], 8077)) as listener:

        def serve() -> None:
            while True:
                try:
                    talk, _ = listener.accept()
                except OSError:
                    return
                with talk, contextlib.suppress(OSError):
                    talk.recv(1000)
                    talk.sendall(f"HTTP/1.0 503 {reason}\r\n\r\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        haproxy.join(member(ONE))
        until(lambda: haproxy.seats()[ZERO].standing is Standing.DOWN, 30.0)
        assert {name: seat.address for name, seat in haproxy.seats().items()} == {
            ZERO: ADDRESSES[ZERO],
            ONE: ADDRESSES[ONE],
        }
        listener.shutdown(socket.SHUT_RDWR)


def test_statistics_of_another_form_are_refused() -> None:
    """A column that is missing, a line that is short, a line that is long."""
    head = ",".join([*haproxy_stat.Row._fields, ""])
    good = "p,s,0,0,UP,1,L4OK,1.2.3.4:5,"
    assert haproxy_stat.parsed(f"# {head}\n{good}\n")[PoolName("p"), InstanceName("s")].addr == "1.2.3.4:5"
    for answer in (f"# {head.replace('weight', 'height')}\n{good}", f"# {head}\n{good[:-9]}", f"# {head}\n{good},"):
        with pytest.raises(Unreachable):
            haproxy_stat.parsed(answer)


@pytest.mark.parametrize("members", [0, 999, 1000, 3500])
@pytest.mark.parametrize("files", [1024, 20_000, 1_000_000])
def test_haproxy_never_needs_more_descriptors_than_it_may_have(members: int, files: int) -> None:
    """It would not start: two a connection, two a member, and some of its own."""
    host = Surroundings(connections_max=200_000, files_max=files)
    connections = connections_with(host, members)
    assert connections == 100 or 2 * connections + 2 * members + 100 <= files
    assert 100 <= connections <= 200_000


@pytest.mark.parametrize(("members", "every"), [(1, "1000ms"), (200, "1000ms"), (600, "3000ms"), (9000, "5000ms")])
def test_the_more_there_are_the_slower_each_is_checked(members: int, every: str) -> None:
    """The kernel remembers each check for two minutes, and its memory is everybody's."""
    assert f"check inter {every} " in haproxy_config.server_options(HTTP, members, member(ZERO))


def test_who_has_not_changed_has_the_seat_that_there_was() -> None:
    """Everybody is looked at each second: what counts up beside what matters makes no seat anew."""
    head = ",".join(["lastchg", *haproxy_stat.Row._fields, ""])

    def look(second: int, connections: int) -> tuple[Seat, Seat]:
        rows = [f"{second},p,web-{number},0,{number * connections},UP,1,L4OK,1.2.3.{number}:5," for number in (0, 1)]
        seats = haproxy_stat.seats(haproxy_stat.parsed("\n".join([f"# {head}", *rows])), {})
        return seats[InstanceName("web-0")], seats[InstanceName("web-1")]

    before, after = look(1, 2), look(2, 3)
    assert after[0] is before[0]
    assert after[1] == replace(before[1], connections=3)
