"""Two deployments exchange their VIP on a real HAProxy: by tcp and by http, and on connections that clients keep."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Self

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.model import Frontend, HttpProbe, InstanceName, Member, Mode, PoolName
from tests.contract.suites.balancer import ADDRESSES, ADMIN, HTTP, ONE, PORT, VIP, ZERO
from tests.contract.suites.exchange import NEW, OLD, ExchangeContract, Pair, Talk
from tests.world.balancing import haproxy, woken
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["haproxy", "woken"]  # fixtures

SECURE = replace(HTTP, probe=HttpProbe(path="/healthz"), port=PORT + 2, pool=PoolName("shop.web.more"), mode=Mode.TCP)


class Kept(Talk):
    """A connection on which a request follows another."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(VIP, port, timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def says(self) -> str:
        """See Talk."""
        try:
            self._connection.request("GET", "/")
            return self._connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return ""


def ask(port: int) -> str:
    """Who answers a new connection; OSError when nobody does, or with another status."""
    with contextlib.closing(http.client.HTTPConnection(VIP, port, timeout=5)) as fresh:
        try:
            fresh.request("GET", "/")
            answer = fresh.getresponse()
            text = answer.read().decode()
        except http.client.HTTPException as error:
            raise OSError(repr(error)) from error
        if answer.status != 200:
            raise OSError(f"status {answer.status}")
        return text


def at(name: InstanceName, address: str, service: str) -> Member:
    """A member of every pool of a deployment."""
    pools = tuple((PoolName(f"{service}.{pool}"), 8077) for pool in ("web.http", "web.admin", "web.more"))
    return Member(name=name, address=address, pools=pools)


class TestHaproxy(ExchangeContract):
    """HAProxy itself."""

    @pytest.fixture
    def pair(self, haproxy: HaproxyBalancer) -> Iterator[Pair]:
        """By http, and by tcp."""
        old = (HTTP, ADMIN, SECURE)
        new = tuple(replace(one, pool=PoolName(one.pool.replace("shop.", "shop--b."))) for one in old)
        with Origin("old", ADDRESSES[ZERO], 8077), Origin("new", ADDRESSES[ONE], 8077):
            yield Pair(
                balancer=haproxy,
                shape_beside=lambda frontends, other: beside(haproxy, frontends, other),
                old=old,
                new=new,
                members=(at(OLD, ADDRESSES[ZERO], "shop"), at(NEW, ADDRESSES[ONE], "shop--b")),
                ask=ask,
                talk=Kept,
            )

    def test_an_exchange_reloads_nothing_and_any_other_change_does(
        self, pair: Pair, haproxy: HaproxyBalancer
    ) -> None:
        """The same worker goes on, there and back; an endpoint that is another one as well needs a new one."""
        pair.lay()
        worker = haproxy.process.worker()
        for swapped in (True, False, True):
            pair.balancer.shape(pair.both(swapped=swapped))
            assert {pair.ask(port) for port in pair.ports} == {"new" if swapped else "old"}
        assert haproxy.process.worker() == worker
        slower = [replace(one, timeout_s=17.0) for one in pair.both(swapped=False)]
        pair.balancer.shape(slower)
        assert haproxy.process.worker() != worker
        assert {pair.ask(port) for port in pair.ports} == {"old"}

    def test_who_starts_again_leads_where_it_was_led_last(self, pair: Pair, haproxy: HaproxyBalancer) -> None:
        """HAProxy is killed after an exchange; what comes up leads to the new deployment."""
        pair.lay()
        pair.balancer.shape(pair.both(swapped=True))
        pid = haproxy.process.pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: haproxy.process.pid() not in (None, pid), 30.0)
        until(lambda: answering(pair) == {"new"}, 30.0)


def beside(haproxy: HaproxyBalancer, frontends: Sequence[Frontend], other: Callable[[], None]) -> None:
    """The other's change stands right before the last step of HAProxy's."""
    with haproxy.shaping(frontends) as last:
        other()
        last()


def answering(pair: Pair) -> set[str]:
    """Who answers; nobody while one of the ports has none."""
    try:
        return {pair.ask(port) for port in pair.ports}
    except OSError:
        return set()
