"""The Balancer contract on the fake and on a real HAProxy, and what only a real one can show."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import World
from orchestrator.drivers.fake.parts import FakeBalancer
from orchestrator.drivers.fake.world import FakeMachine
from orchestrator.errors import EndpointRefused, Permanent, Unreachable
from orchestrator.model import InstanceName, Member, PoolName, Seat, Standing
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import (
    ADDRESSES,
    ADMIN,
    HTTP,
    ONE,
    OTHER_POOL,
    POOL,
    PORT,
    VIP,
    ZERO,
    BalancerContract,
    member,
    patiently,
)
from tests.world.balancing import answered, ask, haproxy, kill_all, origins, woken
from tests.world.fabric import Fabric
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["haproxy", "origins", "woken"]  # fixtures


class LivingBalancer(FakeBalancer):
    """Time passes with each look, as it does elsewhere."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.living = world

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        seats = super().seats()
        self.living.pass_time(0.05)
        return seats


class TestFake(BalancerContract):
    """The fake world's balancer."""

    @pytest.fixture
    def balancer(self) -> Balancer:
        """A world in which both members have a VM."""
        world = World()
        fabric = Fabric()
        fabric.deploy()
        for one in fabric.instances():
            nic = dataclasses.replace(one.nic, address=ADDRESSES[one.name])
            world.machines[one.name] = FakeMachine(dataclasses.replace(one, nic=nic))
            world.machines[one.name].start_boot(world.time_s)
            world.machines[one.name].has_port = True
        world.machines[InstanceName("web-0.blog")] = world.machines[ONE]  # Of another service, at that address.
        return LivingBalancer(world)

    @pytest.fixture
    def send(self, balancer: LivingBalancer) -> Callable[[], None]:
        """What a member carries is counted from its joining on."""

        def sent() -> None:
            balancer.living.carry(ZERO, POOL, 100)

        return sent

    def test_a_new_member_is_believed_before_it_is_known(self, balancer: LivingBalancer) -> None:
        """As with HAProxy: one that cannot be reached counts as up until its first check, and only until then."""
        balancer.shape([HTTP])
        balancer.living.faults.check_fails.add(ZERO)
        balancer.join(member(ZERO))
        first = balancer.seats()[ZERO]
        assert (first.standing, first.checked) == (Standing.UP, False)
        balancer.living.pass_time(5.0)
        later = balancer.seats()[ZERO]
        assert (later.standing, later.checked) == (Standing.DOWN, True)


def running_version() -> tuple[int, int]:
    """Of the HAProxy that is installed."""
    told = subprocess.run(["haproxy", "-v"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", told)
    assert found is not None, told
    return int(found[1]), int(found[2])


@pytest.mark.usefixtures("origins")
class TestHaproxy(BalancerContract):
    """HAProxy itself."""

    @pytest.fixture
    def balancer(self, haproxy: HaproxyBalancer) -> Balancer:
        """The real one."""
        return haproxy

    @pytest.fixture
    def send(self) -> Callable[[], None]:
        """Over a connection of its own."""
        return lambda: _answered(ask())

    def test_traffic_reaches_members_and_nobody_else(self, haproxy: HaproxyBalancer) -> None:
        """503 while the pool is empty, then both members in turn."""
        haproxy.shape([HTTP])
        assert ask()[0] == 503
        haproxy.join(member(ZERO))
        assert ask() == (200, "zero")
        haproxy.join(member(ONE))
        assert {ask()[1] for _ in range(6)} == {"zero", "one"}

    def test_draining_lets_open_requests_finish(self, haproxy: HaproxyBalancer) -> None:
        """A request that is under way is answered; new ones go elsewhere."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        slow = http.client.HTTPConnection(VIP, PORT, timeout=5)
        slow.request("GET", "/slow")
        until(lambda: haproxy.seats()[ZERO].connections == 1)
        haproxy.join(member(ONE))
        haproxy.drain(ZERO)

        assert {ask()[1] for _ in range(6)} == {"one"}
        assert slow.getresponse().read() == b"zero"
        until(lambda: haproxy.seats()[ZERO].connections == 0)
        patiently(lambda: haproxy.leave(ZERO))
        slow.close()

    def test_leaving_cuts_what_is_open(self, haproxy: HaproxyBalancer) -> None:
        """Without a drain the open request is lost, in HAProxy 3.0 without a word: this is what draining is for."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        slow = http.client.HTTPConnection(VIP, PORT, timeout=5)
        slow.request("GET", "/slow")
        until(lambda: haproxy.seats()[ZERO].connections == 1)
        patiently(lambda: haproxy.leave(ZERO))
        with contextlib.suppress(http.client.RemoteDisconnected):
            assert slow.getresponse().status >= 500
        slow.close()

    def test_a_sick_member_gets_no_traffic_and_is_told(
        self, haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin], woken: list[InstanceName]
    ) -> None:
        """A failing check takes the member out within seconds, and a passing one brings it back."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        origins[ZERO].healthy = False
        until(lambda: haproxy.seats()[ZERO].standing is Standing.DOWN)
        assert ask()[0] == 503
        until(lambda: ZERO in woken)
        origins[ZERO].healthy = True
        until(lambda: haproxy.seats()[ZERO].standing is Standing.UP)

    def test_traffic_is_counted(self, haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin]) -> None:
        """Answers by kind, of each member and of the pool, which counts who has left and what found nobody, too."""
        haproxy.shape([HTTP])
        assert ask()[0] == 503
        haproxy.join(member(ZERO))
        for status in (200, 200, 404, 500):
            assert ask(f"/status/{status}")[0] == status
        until(lambda: haproxy.traffic([POOL])[POOL].whole.open == 0)  # The last is over a moment after its answer.
        carried = haproxy.traffic([POOL])[POOL]
        zero, whole = carried.members[ZERO], carried.whole
        assert (zero.begun, zero.refusals, zero.errors, zero.open) == (4, 1, 1, 0)
        assert (whole.begun, whole.refusals, whole.errors) == (5, 1, 2)
        assert min(zero.received_bytes or 0, zero.sent_bytes or 0) > 100
        haproxy.join(member(ONE))
        patiently(lambda: haproxy.leave(ZERO))
        carried = haproxy.traffic([POOL])[POOL]
        assert (set(carried.members), carried.whole.begun) == ({ONE}, 5)

    def test_an_answer_that_breaks_off_is_an_error(self, haproxy: HaproxyBalancer) -> None:
        """Once of the member and once of the pool, by http; by tcp nothing is known of answers."""
        haproxy.shape([HTTP, ADMIN])
        haproxy.join(member(ZERO, POOL, OTHER_POOL))
        assert ask("/nothing")[0] == 502
        with pytest.raises(http.client.RemoteDisconnected):
            ask("/nothing", port=PORT + 1)
        until(lambda: haproxy.seats()[ZERO].connections == 0)
        carried = haproxy.traffic([POOL, OTHER_POOL])
        counts = {pool: (one.members[ZERO], one.whole) for pool, one in carried.items()}
        # HAProxy 3.0 counts an answer that ends before it begins twice (eresp) of a member, and once of the pool.
        of_member = 1 if running_version() < (3, 0) else 2
        assert [(one.begun, one.refusals, one.errors) for one in counts[POOL]] == [(1, 0, of_member), (1, 0, 1)]
        assert [(one.begun, one.refusals, one.errors) for one in counts[OTHER_POOL]] == [(1, None, 0)] * 2

    def test_a_reload_loses_no_request(self, haproxy: HaproxyBalancer) -> None:
        """Endpoints come and go under requests on kept and fresh connections; none fails."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        kept = http.client.HTTPConnection(VIP, PORT, timeout=5)
        answers = []
        for number in range(6):
            patiently(lambda number=number: haproxy.shape([HTTP, ADMIN] if number % 2 == 0 else [HTTP]))
            for _ in range(30):
                answers += [ask(), ask_kept(kept)]
        kept.close()
        assert set(answers) == {(200, "zero")}

    def test_a_killed_haproxy_comes_back_with_its_members(self, haproxy: HaproxyBalancer) -> None:
        """kill -9 of every process of it: the watcher starts it again, and the member serves."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        haproxy.join(member(ONE))
        haproxy.drain(ONE)
        kill_all(haproxy)

        until(lambda: answered() == (200, "zero"))

        seats = haproxy.seats()
        assert (seats[ZERO].standing, seats[ONE].standing) == (Standing.UP, Standing.DRAINING)

    def test_the_next_daemon_adopts_it(self, haproxy: HaproxyBalancer, tmp_path: Path) -> None:
        """A daemon that died leaves HAProxy serving; the next one finds members and endpoints, and starts nothing."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        before = haproxy.process.pid()
        with HaproxyBalancer(tmp_path / "haproxy", "haproxy", lambda *_: None, SystemClock()) as successor:
            successor.shape([HTTP])
            assert successor.process.pid() == before
            assert successor.seats()[ZERO].standing is Standing.UP

    def test_a_taken_port_is_told_and_nothing_is_lost(self, haproxy: HaproxyBalancer) -> None:
        """Another program's port is named in the error; the endpoints that were stay."""
        haproxy.shape([HTTP])
        haproxy.join(member(ZERO))
        with Origin("foreign", VIP, PORT + 1):
            with pytest.raises(EndpointRefused, match="taken by another program") as refused:
                haproxy.shape([HTTP, ADMIN])
            assert refused.value.pools == {ADMIN.pool}
            assert ask() == (200, "zero")
            with pytest.raises(Unreachable, match="taken by another program"):
                haproxy.join(dataclasses.replace(member(ZERO), pools=((ADMIN.pool, 8077),)))
            haproxy.leave(ZERO)
            with pytest.raises(Unreachable, match="taken by another program"):
                haproxy.join(member(ZERO, HTTP.pool, ADMIN.pool))
            until(lambda: answered() == (200, "zero"))  # By its other endpoint it is served.
        haproxy.shape([HTTP, ADMIN])
        assert ask() == (200, "zero")

    @pytest.mark.parametrize(
        ("name", "port"),
        [("web-0.shop; disable frontend shop.web.http", 8077), ("web-0.shop\n", 8077), ("web-0.shop", 99999)],
    )
    def test_nothing_is_injected(self, haproxy: HaproxyBalancer, name: str, port: int) -> None:
        """HAProxy splits at ';' and wraps ports: neither ever reaches it."""
        haproxy.shape([HTTP])
        hostile = Member(name=InstanceName(name), address=ADDRESSES[ZERO], pools=((PoolName("shop.web.http"), port),))
        with pytest.raises(Permanent):
            haproxy.join(hostile)
        assert haproxy.seats() == {}
        assert ask()[0] == 503

    def test_no_endpoints_no_haproxy(self, haproxy: HaproxyBalancer) -> None:
        """After the last endpoint has gone no process and no file of it is left."""
        haproxy.shape([HTTP])
        pid = haproxy.process.pid()
        haproxy.shape([])
        assert pid is not None
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
        assert not list(haproxy.process.config.parent.iterdir())


def _answered(answer: tuple[int, str]) -> None:
    assert answer[0] == 200


def ask_kept(connection: http.client.HTTPConnection) -> tuple[int, str]:
    """A request on a kept connection; one that the old worker closed between two requests is opened again."""
    try:
        return ask(connection=connection)
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        connection.close()
        return ask(connection=connection)
