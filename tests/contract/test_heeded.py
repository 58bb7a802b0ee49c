"""HAProxy's members by what our own prober thinks of them, beside its own checks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.balancer.prober import Health, Target
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import HttpProbe, InstanceName, PoolName, Probed, Standing
from tests.contract.suites.balancer import HTTP, ZERO, member, patiently
from tests.world.balancing import answered, ask, haproxy, kill_all, origins, woken
from tests.world.origin import Origin
from tests.world.waiting import until

__all__ = ["haproxy", "origins", "woken"]  # fixtures


class Thinks:
    """Of everybody the same."""

    def __init__(self) -> None:
        self.health_of_all = Health()
        self.targets: Mapping[Hashable, Target] = {}

    def watch(self, targets: Mapping[Hashable, Target], *, spared_s: float = 0.0) -> None:
        """Notes them."""
        assert spared_s > 0 or not targets
        self.targets = targets

    def healths(self) -> dict[Hashable, Health]:
        """See the class."""
        return dict.fromkeys(self.targets, self.health_of_all)

    def has_checked(self, key: Hashable) -> bool:
        """See the class."""
        return key in self.targets and self.health_of_all.checked

    def results(self) -> dict[Hashable, tuple[Probed, ...]]:
        """None: nobody is asked."""
        return {}


@pytest.fixture
def thinks() -> Thinks:
    """What is thought."""
    return Thinks()


@pytest.fixture
def both(haproxy: HaproxyBalancer, thinks: Thinks, tmp_path: Path) -> PerEndpoint:
    """Both balancers; the kernel's has no endpoint."""
    clock = SystemClock()
    balancer = PerEndpoint(haproxy, NftablesBalancer(tmp_path / "pools", lambda *_: None, clock), clock, thinks)
    balancer.shape([HTTP])
    balancer.join(member(ZERO))
    return balancer


@pytest.mark.usefixtures("origins")
def test_who_is_thought_unwell_gets_no_requests(
    both: PerEndpoint, thinks: Thinks, haproxy: HaproxyBalancer, woken: list[InstanceName]
) -> None:
    """Though HAProxy's own check passes, and from an HAProxy that was killed; then he gets them again."""
    until(lambda: answered()[0] == 200, 30.0)
    thinks.health_of_all = Health(up=False, checked=True)
    both.heed_health()
    assert ask()[0] == 503
    until(lambda: woken == [ZERO], 30.0)
    kill_all(haproxy)
    until(lambda: answered()[0] == 503, 30.0)
    thinks.health_of_all = Health()  # Nobody has asked yet.
    both.heed_health()
    assert ask()[0] == 503
    thinks.health_of_all = Health(checked=True)
    both.heed_health()
    until(lambda: answered()[0] == 200, 30.0)


def test_a_member_that_dies_and_comes_back_is_asked(
    haproxy: HaproxyBalancer, tmp_path: Path, origins: dict[InstanceName, Origin]
) -> None:
    """By a prober of its own, as long as the balancer is looked after."""
    sick = origins[ZERO]
    clock = SystemClock()
    with PerEndpoint(haproxy, NftablesBalancer(tmp_path / "pools", lambda *_: None, clock), clock) as both:
        both.shape([HTTP])
        patiently(lambda: both.join(member(ZERO)))
        sick.healthy = False
        until(lambda: haproxy.desired.shape.unwell == {ZERO}, 30.0)
        sick.healthy = True
        until(lambda: not haproxy.desired.shape.unwell, 30.0)
        until(lambda: both.seats()[ZERO].standing is Standing.UP, 30.0)


def test_the_last_checks_are_told(
    haproxy: HaproxyBalancer, tmp_path: Path, origins: dict[InstanceName, Origin]
) -> None:
    """Of the pools asked for, with what they met; of who has left, nothing."""
    sick = origins[ZERO]
    clock = SystemClock()
    http = replace(HTTP, probe=HttpProbe(path="/healthz", interval_s=0.1))
    with PerEndpoint(haproxy, NftablesBalancer(tmp_path / "pools", lambda *_: None, clock), clock) as both:
        both.shape([http])
        assert both.probed([HTTP.pool]) == {}
        patiently(lambda: both.join(member(ZERO)))
        until(lambda: bool(both.probed([HTTP.pool])), 30.0)
        [first, *_] = both.probed([HTTP.pool])[HTTP.pool][ZERO]
        assert (first.why, abs(first.at_s - clock.now_s()) < 30.0) == ("", True)
        sick.healthy = False
        until(lambda: both.probed([HTTP.pool])[HTTP.pool][ZERO][-1].why == "the answer is 503", 30.0)
        assert both.probed([PoolName("shop.web.other")]) == {}
        patiently(lambda: both.leave(ZERO))
        both.heed_health()
        assert both.probed([HTTP.pool]) == {}
