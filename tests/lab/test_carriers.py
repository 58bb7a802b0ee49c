"""An endpoint that gets another balancer: its members go with it, and what is open stays where it is."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Carrier, Frontend, Mode, PoolName, Standing
from tests.lab.harness.places import CLIENT_ADDRESS
from tests.lab.kernel_pools import (
    POOL,
    TCP,
    UDP,
    Begin,
    ask,
    begin,
    connect,
    member,
    members,
    outside,
    says,
    ways,
    wire,
    woken,
)
from tests.world.endpoints import ONE, ZERO
from tests.world.waiting import until

__all__ = ["begin", "members", "outside", "ways", "wire", "woken"]  # fixtures

WEB = Frontend(pool=PoolName("shop.web.http"), vip=TCP.vip, port=8080, mode=Mode.HTTP, probe=None)
BY = {carrier: replace(TCP, carrier=carrier) for carrier in Carrier}


@pytest.fixture
def balancer(begin: Begin) -> Iterator[PerEndpoint]:
    """Both, as one."""
    kernel = begin()
    with (
        tempfile.TemporaryDirectory(dir="/run") as run,  # HAProxy's sockets take short names alone.
        HaproxyBalancer(Path(run) / "haproxy", "haproxy", lambda *_: None, SystemClock()) as haproxy,
    ):
        both = PerEndpoint(haproxy, kernel, SystemClock())
        yield both
        both.shape([])


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize("first", list(Carrier))
def test_members_go_with_it_and_what_is_open_stays(balancer: PerEndpoint, first: Carrier) -> None:
    """By one change, and without a turn of the members; who drains is not let in again, nor cut."""
    (other,) = {*Carrier} - {first}
    balancer.shape([BY[first], UDP, WEB])
    for name in (ZERO, ONE):
        balancer.join(member(name))
    balancer.drain(ONE)
    with connect() as talk:
        assert says(talk).startswith("web-0 ")
        balancer.shape([BY[other], UDP, WEB])
        assert {ask().partition(" ")[0] for _ in range(4)} == {"web-0"}
        assert (ask() == f"web-0 {CLIENT_ADDRESS}") is (other is Carrier.NFTABLES)
        assert says(talk).startswith("web-0 ")
        seat = balancer.seat(ZERO)
        assert seat is not None
        assert (seat.standing, POOL in seat.pools) == (Standing.UP, True)
    balancer.leave(ZERO)
    until(lambda: balancer.seat(ZERO) is None, 5.0)
    assert not answered()


def answered() -> bool:
    """Whether a new connection has somebody behind it: HAProxy closes it at once, nftables refuses it."""
    try:
        with connect() as talk:
            return says(talk) != ""
    except ConnectionRefusedError:
        return False
