"""Swaps of deployments that are not alike, under load, on a real network with both balancers."""

from __future__ import annotations

import contextlib
import statistics
from dataclasses import replace

from orchestrator.model import ServiceSpec, Slot
from orchestrator.rules.pool import member_of
from tests.contract.suites.exchange import overlap_s
from tests.lab.deployments import (
    ENDS,
    STAGING_VIP,
    SWAPS,
    TOGETHER_BUSY_MS,
    VIP,
    Stage,
    asked,
    dial,
    load,
    stage,
    who,
)
from tests.world.balancing import place
from tests.world.endpoints import patiently
from tests.world.fabric import web_role
from tests.world.waiting import until

__all__ = ["place", "stage"]  # fixtures


def test_deployments_that_are_not_alike_go_together(stage: Stage) -> None:
    """What both have, on both balancers, there and back; what one has alone comes and goes, and disturbs nobody."""
    own = {Slot.PRODUCTION: (81, 83), Slot.STAGING: (84, 85)}
    ends = (
        replace(ENDS[0], timeout_s=17.0),
        replace(ENDS[1], name="tcp4", port=84),
        replace(ENDS[2], max_connections_per_client=500),
        replace(ENDS[3], name="more5", port=85),
    )
    spec = ServiceSpec(name="shop", vip=VIP, staging_vip=STAGING_VIP, roles=(web_role(instances=1, endpoints=ends),))
    stage.control.apply_spec(spec, slot=Slot.STAGING)
    stage.turns()
    for one in stage.control.instances():
        patiently(lambda one=one: stage.host.front.balancer.join(member_of(one)))  # type: ignore[misc]
    until(lambda: {who(port, STAGING_VIP) for port in (80, 82, *own[Slot.STAGING])} == {"shop--b"}, 30.0)
    overlaps_ms = []
    for number in range(SWAPS // 2):
        wanted, there = ("shop--b", Slot.STAGING) if number % 2 == 0 else ("shop", Slot.PRODUCTION)
        (gone,) = (ports for slot, ports in own.items() if slot is not there)
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(dial(port)) for port in gone]
            before = {asked(one) for one in kept}
            with load(80, 82) as seen:
                until(lambda seen=seen: len(seen.answers) > 20, 30.0)  # type: ignore[misc]
                stage.swap()
                until(lambda wanted=wanted: {who(port) for port in (80, 82)} == {wanted}, 30.0)  # type: ignore[misc]
            assert {asked(one) for one in kept} == before != {wanted}
        assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)}: {seen.lost[:3]}"
        assert {who(port) for port in own[there]} == {wanted}
        assert {who(port) for port in gone} == {""}
        overlaps_ms.append(1000 * overlap_s(seen, wanted))
    print(f"overlap of deployments that are not alike, ms: {' '.join(f'{one:.2f}' for one in sorted(overlaps_ms))}")
    assert statistics.median(overlaps_ms) <= TOGETHER_BUSY_MS
