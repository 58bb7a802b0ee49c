"""A service of an IPv6 VIP that the kernel carries: its network comes to have IPv6, and each instance an address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import deployment
from orchestrator.control.deployment import Capacity
from orchestrator.control.installation import installation_id, ipv6_prefix
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import InvalidInput
from orchestrator.model import Carrier, Endpoint, Service, ServiceSpec, by_card
from tests.world.fabric import Fabric, web_role

END = Endpoint(name="http", port=80, target=8080, balancer=Carrier.NFTABLES)
BEFORE = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(endpoints=(END,)),))
AFTER = replace(BEFORE, vip="2001:db8::10")


def test_it_comes_with_the_service_that_needs_it() -> None:
    """In the records, of the network and of each instance; a member is known by it from its first seat on."""
    fabric = Fabric()
    fabric.control.apply_spec(AFTER)
    fabric.until(fabric.quiet)
    (service,) = fabric.present.all(Service)
    assert service.network.subnet6.endswith("::/64")
    addresses = {one.name: one.nic.address6 for one in fabric.instances()}
    assert addresses == {one.name: by_card(service.network.subnet6, one.nic.mac) for one in fabric.instances()}
    assert all(addresses.values())
    assert len(set(addresses.values())) == 2


def test_one_that_has_served_without_gets_it_by_an_apply_and_keeps_its_vms() -> None:
    """And keeps it when it has no use for it any more; others have none."""
    fabric = Fabric()
    for spec in (BEFORE, replace(BEFORE, name="other", vip="203.0.113.11")):
        fabric.control.apply_spec(spec)
    fabric.until(fabric.quiet)
    vms = {one.name: one.vm_uuid for one in fabric.instances()}
    assert {one.nic.address6 for one in fabric.instances()} == {""}
    for spec in (AFTER, BEFORE):
        fabric.control.apply_spec(spec)
        fabric.until(fabric.quiet)
        assert {bool(one.nic.address6) for one in fabric.instances() if one.service == "shop"} == {True}
        assert {one.nic.address6 for one in fabric.instances() if one.service == "other"} == {""}
        assert {one.name: one.vm_uuid for one in fabric.instances()} == vms
        assert {one.service: bool(one.network.subnet6) for one in fabric.present.all(Service)} == {
            "shop": True,
            "other": False,
        }


def test_a_host_that_cannot_is_told_at_the_vip() -> None:
    """Before anything is recorded; who has it already goes on, and so does whom HAProxy carries."""
    poor = Capacity(pool="10.90.0.0/16", memory_mib=64_000, ipv6_fault=lambda: ("it is deaf", "let it hear"))
    with pytest.raises(InvalidInput) as refused:
        deployment.check(AFTER, [], poor)
    (problem,) = refused.value.problems
    assert (problem.key, problem.hint) == ("vip", "let it hear")
    assert "2001:db8::10" in problem.message
    assert "it is deaf" in problem.message
    deployment.check(AFTER, [], poor, before=AFTER)
    deployment.check(BEFORE, [], poor)
    by_haproxy = replace(END, balancer=Carrier.HAPROXY)
    deployment.check(replace(AFTER, roles=(web_role(endpoints=(by_haproxy,)),)), [], poor)


def test_two_installations_have_two_prefixes() -> None:
    """Of unique local addresses (RFC 4193), as long as their records are; two hosts may be joined some day."""
    stores = [MemoryStore() for _ in range(2)]
    one, other = (ipv6_prefix(installation_id(store)) for store in stores)
    assert one != other
    assert one == ipv6_prefix(installation_id(stores[0]))
    assert one.startswith("fd")
    assert one.endswith("::/48")
