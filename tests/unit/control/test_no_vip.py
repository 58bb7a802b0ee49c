"""A service that no client comes to: it has no VIP, and all the rest of its life is that of any other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import Conflict
from orchestrator.model import InternalEndpoint, Ports, Service, ServiceSpec, Slot
from tests.world.fabric import Fabric, web_role

VIP = "203.0.113.10"
RPC = InternalEndpoint(name="rpc", ports=Ports(8080, 8080))
FACED = ServiceSpec(name="shop", vip=VIP, roles=(web_role(),))
QUIET = ServiceSpec(name="shop", vip="", roles=(web_role(endpoints=(), internal_endpoints=(RPC,)),))


@pytest.fixture
def fabric() -> Fabric:
    """One without a VIP; all its instances serve."""
    fabric = Fabric()
    fabric.control.apply_spec(QUIET)
    fabric.until(fabric.quiet)
    return fabric


def generations(fabric: Fabric) -> dict[str, tuple[int, int]]:
    """Which VM of how many each instance is in."""
    return {one.name: (one.generation, one.boot) for one in fabric.instances()}


def test_its_instances_serve_and_the_host_has_no_address_of_it(fabric: Fabric) -> None:
    """They are in no pool, and the balancer has nothing of it; it goes as it came."""
    assert [one.serving for one in fabric.instances()] == [True, True]
    assert (fabric.world.vips, fabric.world.frontends, fabric.world.seats_taken) == (set(), (), {})
    fabric.control.remove("shop")
    fabric.until(lambda: not fabric.control.services())
    fabric.world.nothing_is_left()


def test_an_address_comes_and_goes_without_a_rollout(fabric: Fabric) -> None:
    """With the endpoint that wants it; no instance is touched, neither way, and none is in a pool too long."""
    before = generations(fabric)
    for spec, vips, seats in ((FACED, {VIP}, 2), (QUIET, set(), 0), (FACED, {VIP}, 2)):
        done = fabric.control.apply_spec(spec)
        assert all("no restart" in one.effect for one in done.changes), done.changes
        fabric.until(
            lambda vips=vips, seats=seats: (fabric.world.vips, len(fabric.world.seats_taken)) == (vips, seats)
        )
        fabric.until(fabric.quiet)
        assert [one.vip for one in fabric.present.all(Service)] == [spec.vip]
        assert generations(fabric) == before


def test_staging_and_a_swap_want_no_address(fabric: Fabric) -> None:
    """What is in staging becomes production, and back; nothing of the front changes, for there is none."""
    (role,) = QUIET.roles
    newer = replace(QUIET, roles=(replace(role, user_data="#!/bin/sh\n# newer\n"),))
    fabric.control.apply_spec(newer, slot=Slot.STAGING)
    with pytest.raises(Conflict):
        fabric.control.swap("shop")
    fabric.until(fabric.quiet)
    for production in ("shop--b", "shop"):
        swapped = fabric.control.swap("shop")
        assert {one.slot: (one.name, one.vip) for one in swapped}[Slot.PRODUCTION] == (production, "")
    fabric.until(fabric.quiet)
    assert (fabric.world.vips, fabric.world.vips_taken_off) == (set(), [])
