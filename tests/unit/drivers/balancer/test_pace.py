"""How soon a member that hangs is out of its pool, by what HAProxy and the kernel's prober are told, and that nobody
who is slow is thought to hang.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.haproxy_config import server_options
from orchestrator.drivers.balancer.pace import again_s, pace_of
from orchestrator.model import CommandProbe, HttpProbe
from tests.world.endpoints import HTTP, ZERO, member

INTERVALS = [0.1, 0.5, 0.9, 1.0, 1.3, 2.0, 2.4, 3.0, 4.0, 5.0, 10.0, 60.0, 3600.0]
FALLS = [1, 2, 3, 10, 100]
CONNECT_S = 2.0  # `timeout connect` in HAProxy's defaults
BUSY_S = 0.15  # What a host that has other things to do takes of the second.


def worst_s(rest_s: float, wait_s: float, again_s: float, fall: int) -> float:
    """From when it hangs, just after it has passed a check, until the last of those that it must fail is over."""
    now_s = rest_s
    for number in range(fall):
        now_s += wait_s
        now_s += again_s if number < fall - 1 else 0.0
    return now_s


def haproxys(probe: HttpProbe) -> tuple[float, float]:
    """How long HAProxy leaves one that is well alone, and one whose check has just failed."""
    found = re.search(r"inter (\d+)ms fastinter (\d+)ms", server_options(replace(HTTP, probe=probe), 1, member(ZERO)))
    assert found is not None
    return int(found[1]) / 1000, int(found[2]) / 1000


@pytest.mark.parametrize("interval_s", INTERVALS)
@pytest.mark.parametrize("fall", FALLS)
def test_who_hangs_is_out_within_its_intervals_and_a_second(interval_s: float, fall: int) -> None:
    """At the worst moment, whatever carries the endpoint."""
    within_s = fall * interval_s + 1.0 - BUSY_S
    probe = HttpProbe(path="/h", interval_s=interval_s, fall=fall)
    rest_s, again = haproxys(probe)
    assert worst_s(rest_s, min(rest_s, CONNECT_S), again, fall) <= within_s
    pace = pace_of(probe)
    assert pace.rest_s is not None
    assert worst_s(pace.rest_s, pace.timeout_s, again_s(interval_s, pace.timeout_s), fall) <= within_s
    assert pace.rest_s <= interval_s


@pytest.mark.parametrize("interval_s", INTERVALS)
@pytest.mark.parametrize("fall", FALLS)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 1.0])
def test_who_is_slow_has_the_time_that_was_said(interval_s: float, fall: int, share: float) -> None:
    """An answer may take as long as the file says, and between two checks that fail there is as much as ever: what is
    shorter is only how long one that is well is left alone, and never by more than it has to be.
    """
    probe = HttpProbe(path="/h", interval_s=interval_s, timeout_s=interval_s * share, fall=fall)
    pace, (rest_s, again) = pace_of(probe), haproxys(probe)
    assert pace.timeout_s == interval_s * share
    assert again == pytest.approx(interval_s / 4, abs=0.001)
    assert again_s(interval_s, 0.0) == interval_s / 4, "a port that is closed for a moment"
    assert pace.rest_s is not None
    assert interval_s * 0.4 <= pace.rest_s <= interval_s
    # A check begins no sooner after another than an interval, or an answer's time and a quarter of it.
    apart_s = pace.timeout_s + again_s(interval_s, pace.timeout_s)
    assert apart_s >= min(interval_s, pace.timeout_s + interval_s / 4) - 1e-9
    assert min(interval_s, CONNECT_S) * 0.69 <= rest_s <= interval_s, "a connection has its time, too"


def test_who_says_no_interval_is_asked_as_usual() -> None:
    """Nothing is shortened for it."""
    assert pace_of(HttpProbe(path="/h")).rest_s is None
    assert pace_of(CommandProbe(command=("/bin/true",))).rest_s is None
    assert haproxys(HttpProbe(path="/h")) == (1.0, 0.25)
