"""HAProxy asks its members as the service file says: how, how often, and how many answers it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.model import HttpProbe, Standing
from tests.contract.suites.balancer import ADDRESSES, ADMIN, HTTP, ZERO, member
from tests.world.balancing import place, start
from tests.world.raw_server import RawServer
from tests.world.waiting import until

__all__ = ["place", "start"]  # fixtures
WITHIN_S: Final = 30.0


class Answers:
    """A member that answers with `status`, and counts how often it was asked for each path."""

    def __init__(self) -> None:
        self.status = 200
        self.asked: list[str] = []

    def answer(self, request: bytes) -> bytes:
        """An HTTP answer."""
        self.asked.append(request.split()[1].decode())
        return b"HTTP/1.0 %d -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.status


@pytest.fixture
def haproxy(start: Callable[[], HaproxyBalancer]) -> HaproxyBalancer:
    """A real one."""
    return start()


@pytest.fixture
def well() -> Iterator[Answers]:
    """Who answers at the member's address."""
    one = Answers()
    with RawServer(ADDRESSES[ZERO], 8077, one.answer):
        yield one


def standing(haproxy: HaproxyBalancer) -> Standing:
    """The member's."""
    return haproxy.seats()[ZERO].standing


def test_the_status_that_is_expected_is_the_probe_s(haproxy: HaproxyBalancer, well: Answers) -> None:
    """One that is usually well is not, and one that is usually not is."""
    haproxy.shape([replace(HTTP, probe=HttpProbe(path="/h", status="300-302,401"))])
    haproxy.join(member(ZERO))
    until(lambda: standing(haproxy) is Standing.DOWN, WITHIN_S)
    well.status = 401
    until(lambda: standing(haproxy) is Standing.UP, WITHIN_S)


def test_how_many_answers_it_takes_is_the_probe_s(haproxy: HaproxyBalancer, well: Answers) -> None:
    """So many bad ones in a row take it out, so many good ones put it back."""
    haproxy.shape([replace(HTTP, probe=HttpProbe(path="/h", interval_s=0.4, rise=5, fall=4))])
    haproxy.join(member(ZERO))
    until(lambda: haproxy.seats()[ZERO].checked, WITHIN_S)
    well.status, before = 500, len(well.asked)
    until(lambda: standing(haproxy) is Standing.DOWN, WITHIN_S)
    assert len(well.asked) - before >= 4
    well.status, before = 200, len(well.asked)
    until(lambda: standing(haproxy) is Standing.UP, WITHIN_S)
    assert len(well.asked) - before >= 5


def test_how_often_is_the_probe_s(haproxy: HaproxyBalancer, well: Answers) -> None:
    """While one endpoint's is asked twenty times, another's that is asked every hour is asked once."""
    rarely, often = HttpProbe(path="/rarely", interval_s=3600.0), HttpProbe(path="/often", interval_s=0.1)
    haproxy.shape([replace(HTTP, probe=rarely), replace(ADMIN, probe=often)])
    haproxy.join(member(ZERO, HTTP.pool, ADMIN.pool))
    until(lambda: well.asked.count("/often") >= 20 and haproxy.seats()[ZERO].checked, WITHIN_S)
    assert well.asked.count("/rarely") == 1


def test_an_answer_that_takes_too_long_is_none(haproxy: HaproxyBalancer) -> None:
    """Where the probe says how long it may."""

    def slowly(_: bytes) -> bytes:
        time.sleep(1.0)
        return b"HTTP/1.0 200 -\r\n\r\n"

    with RawServer(ADDRESSES[ZERO], 8077, slowly):
        haproxy.shape([replace(HTTP, probe=HttpProbe(path="/h", interval_s=1.0, timeout_s=0.1))])
        haproxy.join(member(ZERO))
        until(lambda: standing(haproxy) is Standing.DOWN, WITHIN_S)


def test_the_first_check_waits_as_long_as_it_shall(haproxy: HaproxyBalancer, well: Answers) -> None:
    """Until then it counts as up and as not checked, over a reload, too. Then it is checked."""
    slow = replace(HTTP, probe=HttpProbe(path="/h", initial_delay_s=6.0))
    well.status = 500
    haproxy.shape([slow])
    began = time.monotonic()
    haproxy.join(member(ZERO))
    before = haproxy.seats()[ZERO]
    haproxy.shape([slow, ADMIN])
    after = haproxy.seats()[ZERO]
    if time.monotonic() < began + 6.0:  # A slow host proves nothing here.
        assert [(one.standing, one.checked) for one in (before, after)] == [(Standing.UP, False)] * 2
    until(lambda: standing(haproxy) is Standing.DOWN, WITHIN_S)
    well.status = 200
    until(lambda: standing(haproxy) is Standing.UP, WITHIN_S)
