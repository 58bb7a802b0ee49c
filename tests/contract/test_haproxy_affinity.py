"""A client keeps its member behind HAProxy, known by a cookie or by its address: real HAProxies, real servers."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.model import Frontend, InstanceName, Member, Mode, Standing
from tests.contract.suites.balancer import ADMIN, CORNER, HTTP, ONE, PORT, VIP, ZERO, member, patiently
from tests.world.balancing import kill_all, origins, place, start
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["origins", "place", "start"]  # fixtures
BY_COOKIE: Final = replace(HTTP, probe=None, affinity_cookie=True)
BY_ADDRESS: Final = replace(HTTP, probe=None, affinity_s=3600.0)
TCP_BY_ADDRESS: Final = replace(BY_ADDRESS, mode=Mode.TCP)
KINDS: Final = [BY_COOKIE, BY_ADDRESS, TCP_BY_ADDRESS]
OTHERS: Final = replace(ADMIN, affinity_cookie=False)
WITHIN_S: Final = 30.0


@dataclass
class Client:
    """One with an address and a cookie jar of its own; each request is a connection."""

    address: str
    cookies: str = ""

    def asks(self, port: int = PORT) -> str:
        """Who answered it."""
        with contextlib.closing(
            http.client.HTTPConnection(VIP, port, timeout=10, source_address=(self.address, 0))
        ) as to:
            to.request("GET", "/", headers={"Cookie": f"a=b; {self.cookies}; c=d"} if self.cookies else {})
            answer = to.getresponse()
            if cookie := answer.getheader("Set-Cookie"):
                self.cookies = cookie.partition(";")[0]
            return answer.read().decode()


@pytest.fixture
def haproxy(start: Callable[[], HaproxyBalancer]) -> HaproxyBalancer:
    """A real one."""
    return start()


@pytest.fixture
def clients(origins: dict[InstanceName, Origin]) -> list[Client]:
    """Forty, in front of two members."""
    assert len(origins) == 2
    return [Client(f"{CORNER}.{100 + index}") for index in range(40)]


def serve(haproxy: HaproxyBalancer, frontend: Frontend) -> None:
    """With both members."""
    haproxy.shape([frontend])
    for name in (ZERO, ONE):
        haproxy.join(member(name, frontend.pool))


def seats(clients: list[Client]) -> list[str]:
    """Who answers each of them."""
    return [client.asks() for client in clients]


@pytest.mark.parametrize("frontend", KINDS)
def test_a_client_keeps_its_member(haproxy: HaproxyBalancer, clients: list[Client], frontend: Frontend) -> None:
    """However often it comes, and both members have some. Over a reload and the end of the HAProxy as well."""
    serve(haproxy, frontend)
    first = seats(clients)
    assert set(first) == {"zero", "one"}
    assert [seats(clients) for _ in range(3)] == [first] * 3
    for others in ([ADMIN], [], [ADMIN]):
        haproxy.shape([frontend, *others])
        assert seats(clients) == first
    kill_all(haproxy)
    until(lambda: haproxy.process.pid() is not None, WITHIN_S)
    until(lambda: _answers(clients[0]), WITHIN_S)
    assert seats(clients) == first


def _answers(client: Client) -> bool:
    with contextlib.suppress(OSError):
        return bool(client.asks())
    return False


@pytest.mark.parametrize("frontend", KINDS)
def test_who_drains_keeps_its_clients_and_gets_no_others(
    haproxy: HaproxyBalancer, clients: list[Client], frontend: Frontend
) -> None:
    """Until it leaves, over reloads, too; then they have another one, and keep that."""
    serve(haproxy, frontend)
    old, new = clients[:20], clients[20:]
    first = seats(old)
    assert "zero" in first
    haproxy.drain(ZERO)
    assert seats(old) == first
    haproxy.shape([frontend, ADMIN])
    assert seats(old) == first
    assert set(seats(new)) == {"one"}
    assert haproxy.seats()[ZERO].standing is Standing.DRAINING
    patiently(lambda: haproxy.leave(ZERO))
    assert set(seats(clients)) == {"one"}
    haproxy.join(member(ZERO))
    assert set(seats(clients)) == {"one"}


def test_who_is_down_keeps_nobody(haproxy: HaproxyBalancer, clients: list[Client]) -> None:
    """A client of a member that is down has another one at once."""
    for frontend in (replace(BY_COOKIE, probe=HTTP.probe), replace(BY_ADDRESS, probe=HTTP.probe)):
        haproxy.shape([])
        serve(haproxy, frontend)
        dead = Member(name=InstanceName("web-2.shop"), address=f"{CORNER}.12", pools=((frontend.pool, 8077),))
        with Origin("two", dead.address, 8077):
            haproxy.join(dead)
            assert "two" in seats(clients)
        until(lambda: haproxy.seats()[dead.name].standing is Standing.DOWN, WITHIN_S)  # noqa: B023
        after = seats(clients)
        assert set(after) == {"zero", "one"}
        assert seats(clients) == after


@pytest.mark.parametrize("frontend", KINDS)
def test_who_is_thought_unwell_keeps_nobody(
    haproxy: HaproxyBalancer, clients: list[Client], frontend: Frontend
) -> None:
    """Though it answers: not one that is in rotation, nor one that drains, also over a reload. Well, it gets some."""
    serve(haproxy, frontend)
    assert set(seats(clients)) == {"zero", "one"}
    for drains in (False, True):
        if drains:
            haproxy.drain(ZERO)
        haproxy.heed(ZERO, well=False)
        assert set(seats(clients)) == {"one"}
        haproxy.shape([frontend, ADMIN])
        assert set(seats(clients)) == {"one"}
        haproxy.heed(ZERO, well=True)
        haproxy.shape([frontend])
        others = [Client(f"{CORNER}.{150 + 40 * drains + index}") for index in range(40)]
        assert set(seats(others)) == ({"one"} if drains else {"zero", "one"})


def test_a_cookie_of_nobody_s_is_none(haproxy: HaproxyBalancer, clients: list[Client]) -> None:
    """Whoever makes one up is given one of ours; one pool's does not count for another's."""
    serve(haproxy, BY_COOKIE)
    clients[0].cookies = f"vmrole-{BY_COOKIE.pool}=nobody"
    assert clients[0].asks() in ("zero", "one")
    assert clients[0].cookies in (f"vmrole-{BY_COOKIE.pool}={ZERO}", f"vmrole-{BY_COOKIE.pool}={ONE}")
    clients[1].cookies = f"vmrole-{OTHERS.pool}={ZERO}"
    clients[2].cookies = f"vmrole-{OTHERS.pool}={ZERO}"
    clients[3].cookies = f"vmrole-{OTHERS.pool}={ZERO}"
    assert set(seats(clients[1:4])) == {"zero", "one"}


def test_without_affinity_nobody_keeps_anything(haproxy: HaproxyBalancer, clients: list[Client]) -> None:
    """And no cookie is set."""
    serve(haproxy, replace(BY_COOKIE, affinity_cookie=False))
    assert {clients[0].asks() for _ in range(4)} == {"zero", "one"}
    assert clients[0].cookies == ""
