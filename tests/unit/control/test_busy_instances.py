"""Nobody counts on an instance whose guest says that it is busy: no lease, no rollout, no healing, no name."""

from __future__ import annotations

import pytest

from orchestrator.errors import Conflict
from orchestrator.model import InstanceName, Says, ServiceSpec, Slot, Verb
from tests.unit.control.fleet import OTHER, WEB, serving
from tests.world.fabric import Fabric, web_role
from tests.world.lending import Clients

LONG_S = 900.0


def with_a_busy_one(instances: int) -> Fabric:
    """So many serve, the first of which is busy."""
    fabric = serving(instances)
    fabric.world.say(WEB, Says.BUSY, for_s=LONG_S)
    fabric.round()
    return fabric


def test_it_is_given_to_no_client_before_it_is_ready_again() -> None:
    """He waits, and is told what for; then it is his."""
    fabric = with_a_busy_one(1)
    clients = Clients(fabric)
    mine = clients.ask()
    for _ in range(20):
        fabric.round()
    assert fabric.control.lease_place(fabric.control.leases("shop")[0]) == (1, "1 busy")
    fabric.world.say(WEB, Says.READY)
    assert clients.until_given(mine).instance == WEB


def test_of_two_the_other_one_is_given() -> None:
    """Whoever has rested for longer."""
    fabric = with_a_busy_one(2)
    clients = Clients(fabric)
    assert clients.until_given(clients.ask()).instance == OTHER


def test_a_verb_for_another_waits_for_it() -> None:
    """The role has one out already; it goes on when the guest is ready again."""
    fabric = with_a_busy_one(2)
    boot = fabric.instance(OTHER).boot
    fabric.control.act(Verb.RESTART, OTHER)
    for _ in range(50):
        fabric.round()
    assert fabric.instance(OTHER).boot == boot
    assert "waits until web-0.shop serves again" in fabric.present.running_operations("shop")[0].message
    fabric.world.say(WEB, Says.READY)
    fabric.until(fabric.quiet)
    assert fabric.instance(OTHER).boot == boot + 1


def test_nobody_misses_it_when_it_is_taken_itself() -> None:
    """It has no new connection to lose."""
    fabric = with_a_busy_one(2)
    boot = fabric.instance().boot
    fabric.control.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().boot == boot + 1)


def test_healing_counts_it_as_out() -> None:
    """Another that is ill waits for its turn, and is healed when the guest is ready again."""
    fabric = with_a_busy_one(5)
    sick = "web-3.shop"
    boot = fabric.instance(sick).boot
    fabric.world.faults.check_fails.add(sick)
    for _ in range(200):
        fabric.round(2.0)
    assert fabric.instance(sick).boot == boot
    assert "web-0.shop" in fabric.instance(sick).waiting
    fabric.world.say(WEB, Says.READY)
    fabric.until(lambda: fabric.instance(sick).boot == boot + 1)


def test_the_name_of_its_role_leads_to_the_others_at_once() -> None:
    """With the turn that takes it out, and back with the one that lets it in."""
    fabric = serving(2)
    both = fabric.world.called["shop"]["web"]
    fabric.world.say(WEB, Says.BUSY, for_s=LONG_S)
    fabric.daemon.attend(("instance", WEB))
    assert fabric.world.called["shop"]["web"] == both - {fabric.instance().nic.address}
    fabric.world.say(WEB, Says.READY)
    fabric.daemon.attend(("instance", WEB))
    assert fabric.world.called["shop"]["web"] == both


def test_a_deployment_that_is_busy_is_not_swapped_in() -> None:
    """Its clients would find nobody."""
    fabric = Fabric()
    for slot in (Slot.PRODUCTION, Slot.STAGING):
        fabric.control.apply_spec(
            ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=1),)), slot=slot
        )
    fabric.until(fabric.quiet)
    fabric.world.say(InstanceName("web-0.shop--b"), Says.BUSY, for_s=LONG_S)
    fabric.round()
    with pytest.raises(Conflict, match="no instance of role web of shop@staging serves"):
        fabric.control.swap("shop")
