"""Endpoints at a VIP of IPv6, whose members are reached by IPv4: real HAProxies, real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.errors import EndpointRefused
from orchestrator.model import Frontend, Mode
from tests.contract.suites.balancer import ADMIN, HTTP, OTHER_POOL, POOL, ZERO, member
from tests.world.balancing import origins, place, start
from tests.world.waiting import until

__all__ = ["origins", "place", "start"]  # fixtures
pytestmark = pytest.mark.usefixtures("origins")
VIP: Final = "::1"
WITHIN_S: Final = 30.0
QUIET_S: Final = 0.5  # Who is refused hears it sooner.


def free_port() -> int:
    """One of ::1 that nobody has: all runs share that address."""
    with socket.create_server((VIP, 0), family=socket.AF_INET6) as ear:
        return int(ear.getsockname()[1])


@pytest.fixture
def http6() -> Frontend:
    """An endpoint of http."""
    return replace(HTTP, vip=VIP, port=free_port())


@pytest.fixture
def tcp6() -> Frontend:
    """An endpoint of tcp."""
    return replace(ADMIN, vip=VIP, port=free_port())


@pytest.fixture
def haproxy(start: Callable[[], HaproxyBalancer]) -> HaproxyBalancer:
    """A real one."""
    return start()


def answer(port: int) -> int:
    """The status that a client gets; 0 when it is refused."""
    to = http.client.HTTPConnection(VIP, port, timeout=20)
    with contextlib.suppress(ConnectionError, http.client.HTTPException), contextlib.closing(to):
        to.request("GET", "/")
        return to.getresponse().status
    return 0


def held(stack: contextlib.ExitStack, port: int) -> bool:
    """Whether a connection is taken, and stays open; the end of the one before may not have been counted yet."""
    with contextlib.ExitStack() as undo, contextlib.suppress(ConnectionError):
        connection = undo.enter_context(socket.create_connection((VIP, port), 20))
        connection.settimeout(QUIET_S)
        with contextlib.suppress(TimeoutError):
            connection.recv(1)
            return False
        stack.push(undo.pop_all())
        return True
    return False


@pytest.mark.parametrize("mode", [Mode.HTTP, Mode.TCP])
def test_a_member_of_ipv4_serves_clients_of_ipv6(haproxy: HaproxyBalancer, http6: Frontend, mode: Mode) -> None:
    """Beside a VIP of IPv4, and what is shaped again is known for what it is."""
    http6 = replace(http6, mode=mode)
    haproxy.shape([http6, ADMIN])
    haproxy.join(member(ZERO, POOL, OTHER_POOL))
    until(lambda: answer(http6.port) == 200, WITHIN_S)
    assert f"[{VIP}]:{http6.port}" in haproxy.process.listening()
    haproxy.shape([http6])
    assert answer(http6.port) == 200


def test_a_port_of_another_program_is_refused(haproxy: HaproxyBalancer, http6: Frontend) -> None:
    """As with IPv4."""
    taken = socket.create_server((VIP, http6.port), family=socket.AF_INET6)
    with taken, pytest.raises(EndpointRefused, match="is taken by another program"):
        haproxy.shape([http6])
    haproxy.shape([http6])


def test_who_may_come_and_how_often_holds_for_ipv6(haproxy: HaproxyBalancer, tcp6: Frontend) -> None:
    """Networks that clients may come from, and how many connections one of them has at a time."""
    haproxy.shape([replace(tcp6, allow=("2001:db8::/32",))])
    haproxy.join(member(ZERO, OTHER_POOL))
    assert answer(tcp6.port) == 0
    haproxy.shape([replace(tcp6, allow=("2001:db8::/32", f"{VIP}/128"), client_connections_max=2)])
    until(lambda: answer(tcp6.port) == 200, WITHIN_S)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            until(lambda: held(stack, tcp6.port), WITHIN_S, what="a connection that counts")
        until(lambda: answer(tcp6.port) == 0, WITHIN_S)
    until(lambda: answer(tcp6.port) == 200, WITHIN_S)


def test_a_client_of_ipv6_keeps_its_member_over_a_reload(haproxy: HaproxyBalancer, tcp6: Frontend) -> None:
    """By its address, which the next worker is taught."""
    haproxy.shape([replace(tcp6, affinity_s=60.0)])
    haproxy.join(member(ZERO, OTHER_POOL))
    until(lambda: answer(tcp6.port) == 200, WITHIN_S)
    before = haproxy.members.clients([OTHER_POOL])
    assert set(before[OTHER_POOL]) == {VIP}
    haproxy.shape([replace(tcp6, affinity_s=60.0), HTTP])
    assert haproxy.members.clients([OTHER_POOL]) == before
