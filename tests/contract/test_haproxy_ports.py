"""Endpoints of several ports on a real HAProxy."""

from __future__ import annotations

import http.client
import socket
from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.errors import EndpointRefused, Permanent
from orchestrator.model import Member, Ports, Standing
from tests.contract.suites.balancer import ADDRESSES, HTTP, POOL, PORT, VIP, ZERO, patiently
from tests.world.balancing import ask, haproxy, woken
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["haproxy", "woken"]  # fixtures

FIRST = 18200  # of the member
SEVERAL = replace(HTTP, port=PORT + 10, range=Ports(PORT + 10, PORT + 12))


def led(first: int = FIRST) -> Member:
    """The member, whose ports begin there."""
    return Member(name=ZERO, address=ADDRESSES[ZERO], pools=((POOL, first),))


@pytest.mark.parametrize("first", [FIRST, PORT + 10])
def test_each_port_is_the_one_at_its_distance(haproxy: HaproxyBalancer, first: int) -> None:
    """Whether the member came before or after a load; its first port is asked; others of the VIP are closed."""
    with Origin("first", ADDRESSES[ZERO], first) as asked, Origin("last", ADDRESSES[ZERO], first + 2):
        haproxy.shape([SEVERAL])
        for _ in range(2):
            haproxy.join(led(first))
            haproxy.join(led(first))
            assert [ask(port=PORT + 10)[1], ask(port=PORT + 12)[1], ask(port=PORT + 11)[0]] == ["first", "last", 503]
            patiently(lambda: haproxy.shape([replace(SEVERAL, timeout_s=7.0)]))
        with pytest.raises(ConnectionRefusedError):
            ask(port=PORT + 13)
        until(lambda: haproxy.seats()[ZERO].checked)
        assert haproxy.seats()[ZERO].address == ADDRESSES[ZERO]
        asked.healthy = False
        until(lambda: haproxy.seats()[ZERO].standing is Standing.DOWN)


def test_one_that_is_taken_is_named(haproxy: HaproxyBalancer) -> None:
    """Half of the endpoint is none."""
    with socket.create_server((VIP, PORT + 11)), pytest.raises(EndpointRefused, match=f"port {PORT + 11} of"):
        haproxy.shape([SEVERAL])
    with pytest.raises((ConnectionRefusedError, http.client.HTTPException)):
        ask(port=PORT + 10)


def test_a_range_that_ends_beyond_all_ports_reaches_nobody(haproxy: HaproxyBalancer) -> None:
    """HAProxy would take 65536 for 0."""
    haproxy.shape([SEVERAL])
    with pytest.raises(Permanent):
        haproxy.join(led(65534))
