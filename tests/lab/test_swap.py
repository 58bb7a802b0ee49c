"""Swaps of a service and its staging twin under load, on a real network with both balancers."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.model import Carrier, Slot
from tests.contract.suites.exchange import overlap_s
from tests.lab.deployments import (
    PORTS,
    REQUESTS,
    STAGING_VIP,
    SWAPS,
    TOGETHER_BUSY_MS,
    VIP,
    Stage,
    load,
    stage,
    swapped_in_the_wrong_order,
    swapped_under_load,
    who,
)
from tests.world.balancing import place
from tests.world.waiting import until

__all__ = ["place", "stage"]  # fixtures

DROPPED_S: Final = 0.9  # A packet that is dropped is sent again after a second.
TOGETHER_S: Final = 0.001


@pytest.fixture(params=list(Carrier), ids=[str(one) for one in Carrier])
def ports(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Of the endpoints of a balancer."""
    return PORTS[request.param]


def test_swaps_lose_no_request(stage: Stage, ports: tuple[int, ...]) -> None:
    """Twenty, under constant load of ten thousand requests and more; open connections stay where they are."""
    seen = swapped_under_load(stage, ports)
    print(f"lost_requests {len(seen.lost)} of {len(seen.lost) + len(seen.answers)}")
    assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)}: {seen.lost[:3]}"
    assert len(seen.answers) >= REQUESTS


def test_the_wrong_order_loses_requests(stage: Stage, ports: tuple[int, ...]) -> None:
    """The control: production is taken away, and then staging comes."""
    seen = swapped_in_the_wrong_order(stage, ports)
    print(f"lost_requests in the wrong order: {len(seen.lost)} of {len(seen.lost) + len(seen.answers)}")
    assert seen.lost


def test_guards_that_know_of_one_deployment_at_a_time_lose_requests(stage: Stage) -> None:
    """The control for what the network lets through: one deployment's guards are laid, and then the other's."""
    lay: Callable[..., object] = stage.host.machine.network.lay
    first, second = (
        replace(one, slot=other) for one, other in zip(stage.control.services(), reversed(Slot), strict=True)
    )
    assert who(82) == "shop"
    lay(first, stage.control.instances("shop"))
    assert who(82, within_s=DROPPED_S) == "", "the port is let through though the VIP is nobody's"
    lay(second, stage.control.instances("shop@staging"), first)
    assert who(82) == "shop"


def test_all_endpoints_go_together(stage: Stage, ports: tuple[int, ...]) -> None:
    """Who begins when one has been answered by the other deployment is answered by it, whichever the endpoint."""
    for wanted in ("shop--b", "shop"):
        with load(*ports) as seen:
            time.sleep(0.3)
            stage.swap()
            until(lambda wanted=wanted: {who(port) for port in ports} == {wanted}, 30.0)  # type: ignore[misc]
            time.sleep(0.3)
        assert not seen.lost
        print(f"overlap {1000 * overlap_s(seen, wanted):.3f} ms")
        assert overlap_s(seen, wanted) <= TOGETHER_S


def test_both_balancers_go_together(stage: Stage) -> None:
    """A service with endpoints on both: who begins when one has been answered by the other deployment is answered by
    it, whichever the balancer. Nothing is reloaded for it, and nothing is lost.
    """
    overlaps_ms = []
    workers = set()
    for number in range(SWAPS // 2):
        wanted = ("shop--b", "shop")[number % 2]
        with load(80, 81, 82, 83) as seen:
            until(lambda: len(seen.answers) > 20, 30.0)
            stage.swap()
            until(lambda wanted=wanted: {who(port) for port in (80, 81, 82, 83)} == {wanted}, 30.0)  # type: ignore[misc]
        assert not seen.lost
        overlaps_ms.append(1000 * overlap_s(seen, wanted))
        workers.add(stage.haproxy.process.worker())
    print(f"overlap of both balancers, ms: {' '.join(f'{one:.2f}' for one in sorted(overlaps_ms))}")
    assert len(workers) == 1, "HAProxy was reloaded"
    assert statistics.median(overlaps_ms) <= TOGETHER_BUSY_MS


def test_the_staging_vip_goes_the_other_way(stage: Stage) -> None:
    """Each VIP leads to one deployment, before and after; neither leaves the host."""
    vips = stage.host.front.vips
    for production, staging in (("shop", "shop--b"), ("shop--b", "shop")):
        until(lambda production=production: {who(port) for port in (80, 82)} == {production}, 30.0)  # type: ignore[misc]
        assert {who(port, STAGING_VIP) for port in (80, 81, 82, 83)} == {staging}
        assert vips.held() == {VIP, STAGING_VIP}
        stage.swap()
