"""Addresses are given out once, and a VIP is an address that a host can have."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import Conflict, InvalidInput
from orchestrator.model import (
    Carrier,
    Endpoint,
    InstanceEndpoint,
    Nic,
    Ports,
    ServiceNetwork,
    ServiceSpec,
    by_card,
)
from orchestrator.rules import addressing
from tests.world.fabric import web_role

POOL = "10.90.0.0/16"
POOL6 = "fd90:1:2::/48"
PROXY = Endpoint(name="http", port=80, target=8080)
KERNEL = Endpoint(name="tcp", port=81, target=8080, balancer=Carrier.NFTABLES)
OWN = InstanceEndpoint(name="own", ports=Ports(10022, 10023), target=22)
LABELS = st.from_regex(r"[a-z][a-z0-9-]{0,12}[a-z0-9]", fullmatch=True)


def full(pool: str) -> list[ServiceNetwork]:
    taken: list[ServiceNetwork] = []
    for number in range(2 ** (24 - ipaddress.ip_network(pool).prefixlen)):
        taken.append(addressing.allocate_network(f"s{number}", pool, taken))
    return taken


def test_a_whole_pool_has_no_network_twice() -> None:
    """All 256 networks of a /16 differ in subnet, bridge and name, and lie in the pool."""
    networks = full(POOL)
    for what in ("subnet", "bridge", "name"):
        assert len({getattr(one, what) for one in networks}) == 256
    assert all(ipaddress.IPv4Network(one.subnet).subnet_of(ipaddress.IPv4Network(POOL)) for one in networks)
    assert all(len(one.bridge) <= 15 for one in networks)


def test_every_nic_of_many_services_is_unique() -> None:
    """Thousands of instances share no MAC, no tap and no address, and none has the gateway's."""
    nics: list[Nic] = []
    for network in full("10.90.0.0/21"):
        nics = filled(network, nics)
    assert len(nics) == 8 * 245
    for what in ("mac", "tap", "address"):
        assert len({getattr(one, what) for one in nics}) == len(nics)
    assert not {one.address for one in nics} & {one.gateway for one in full("10.90.0.0/21")}
    assert all(len(one.tap) <= 15 and one.mac.startswith("52:54:00:") for one in nics)


def filled(network: ServiceNetwork, others: list[Nic]) -> list[Nic]:
    nics = list(others)
    for number in range(addressing.LAST_HOST - addressing.FIRST_HOST + 1):
        nics.append(addressing.allocate_nic(network, nics, f"web-{number}.shop"))
    return nics


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "remove"]), LABELS), max_size=30))
def test_no_order_of_coming_and_going_gives_anything_twice(steps: list[tuple[str, str]]) -> None:
    """Whatever comes and goes in whatever order, those that are there share nothing."""
    there: dict[str, ServiceNetwork] = {}
    nics: dict[str, Nic] = {}
    for verb, name in steps:
        if verb == "remove":
            there.pop(name, None)
            nics.pop(name, None)
        elif name not in there:
            there[name] = addressing.allocate_network(name, POOL, there.values())
            nics[name] = addressing.allocate_nic(there[name], nics.values(), f"web-0.{name}")
    for what in ("subnet", "bridge", "name"):
        assert len({getattr(one, what) for one in there.values()}) == len(there)
    for what in ("mac", "tap", "address"):
        assert len({getattr(one, what) for one in nics.values()}) == len(nics)


def test_the_same_hash_is_no_collision() -> None:
    """When a name or MAC is taken already, the next one is given."""
    network = addressing.allocate_network("shop", POOL, [])
    first = addressing.allocate_nic(network, [], "web-0.shop")
    second = addressing.allocate_nic(network, [first], "web-0.shop")
    assert (first.mac, first.tap, first.address) != (second.mac, second.tap, second.address)
    assert {first.mac, first.tap, first.address}.isdisjoint({second.mac, second.tap, second.address})


def test_a_dip_that_changes_hands_keeps_its_mac() -> None:
    """dnsmasq would refuse it to another card until the lease of the first has ended."""
    network = addressing.allocate_network("shop", POOL, [])
    before, after = (addressing.allocate_nic(network, [], name) for name in ("web-0.shop", "api-0.shop"))
    assert (before.address, before.mac) == (after.address, after.mac)
    other_pool = addressing.allocate_network("shop", POOL.replace("10.", "11."), [])
    elsewhere = addressing.allocate_nic(other_pool, [before], "web-0.shop")
    assert elsewhere.address.partition(".")[2] == before.address.partition(".")[2]
    assert elsewhere.mac != before.mac


def test_a_full_pool_and_a_full_network_say_what_to_do() -> None:
    """Exhaustion is a conflict with a hint."""
    with pytest.raises(Conflict, match="no private network is left") as no_network:
        addressing.allocate_network("late", "10.90.0.0/22", full("10.90.0.0/22"))
    network = addressing.allocate_network("shop", POOL, [])
    with pytest.raises(Conflict, match="no address is left") as no_address:
        addressing.allocate_nic(network, filled(network, []), "web-999.shop")
    assert no_network.value.hint
    assert no_address.value.hint


@pytest.mark.parametrize(
    ("vip", "why"),
    [
        ("", "no IP address"),
        ("203.0.113", "no IP address"),
        ("203.0.113.10/32", "no IP address"),
        ("203.0.113.010", "no IP address"),
        ("::1", "loopback"),
        ("10.90.3.4", "lies in 10.90.0.0/16"),
        ("0.0.0.0", "this network"),
        ("0.1.2.3", "this network"),
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
    ],
)
def test_an_address_that_cannot_be_a_vip_is_refused(vip: str, why: str) -> None:
    """A VIP is an address that a host can have, outside the private networks."""
    with pytest.raises(InvalidInput, match=why):
        addressing.check_vip(vip, POOL)


def test_a_vip_is_taken_from_the_networks_for_vips() -> None:
    """Any other address is refused with the networks and the key; a host without any refuses all."""
    pools = ("203.0.113.0/28", "192.0.2.7/32")
    for vip in ("203.0.113.10", "192.0.2.7"):
        assert addressing.check_vip(vip, POOL, pools) == vip
    for vip, among in (("203.0.113.16", pools), ("8.8.8.8", pools), ("203.0.113.10", ())):
        with pytest.raises(InvalidInput, match="is not among the addresses for services") as refused:
            addressing.check_vip(vip, POOL, among)
        (problem,) = refused.value.problems
        assert problem.key == "vip"
        assert "vip_pool" in problem.hint


def test_no_network_is_cut_where_the_host_is_routed_already() -> None:
    """A VPN's, Docker's or a neighbour's subnet is gone round, of whatever size; when nothing is left it is said."""
    routed = ["10.90.0.0/24", "10.90.1.7/32", "10.90.2.0/23", "192.168.0.0/16"]
    assert addressing.allocate_network("shop", POOL, [], routed).subnet == "10.90.4.0/24"
    with pytest.raises(Conflict, match="no private network is left"):
        addressing.allocate_network("shop", POOL, [], ["10.0.0.0/8"])


@pytest.mark.parametrize("vip", ["203.0.113.10", "10.91.0.1", "192.168.1.7"])
def test_an_ordinary_address_can_be_a_vip(vip: str) -> None:
    """Public and private addresses outside the pool are fine."""
    assert addressing.check_vip(vip, POOL) == vip


def test_a_vip_may_be_of_ipv6() -> None:
    """Taken from the networks of its family; what names no host of everybody's is refused."""
    pools = ("203.0.113.0/28", "2001:db8::/64")
    assert addressing.check_vip("2001:db8::10", POOL, pools) == "2001:db8::10"
    with pytest.raises(InvalidInput, match="is not among"):
        addressing.check_vip("2001:db9::10", POOL, pools)
    for unfit in ("::1", "::", "fe80::1", "ff02::1"):
        with pytest.raises(InvalidInput):
            addressing.check_vip(unfit, POOL)


def test_an_address_of_ipv6_is_the_cards_own() -> None:
    """As RFC 4291, appendix A, makes it; and no two instances share one."""
    assert by_card("2001:db8::/64", "34:56:78:9a:bc:de") == "2001:db8::3656:78ff:fe9a:bcde"
    network = addressing.with_ipv6(addressing.allocate_network("shop", POOL, []), POOL6, [])
    nics = filled(network, [])
    assert len({nic.address6 for nic in nics}) == len(nics)
    assert all(nic.gateway6 == network.gateway6 for nic in nics)
    assert network.gateway6 not in {nic.address6 for nic in nics}


def test_each_service_has_a_network_of_ipv6_of_its_own_and_keeps_it() -> None:
    """Also where the pool of IPv4 was another in between, and two of them would end alike."""
    taken: list[ServiceNetwork] = []
    for number, pool in enumerate([*["10.90.0.0/16"] * 3, *["172.90.0.0/16"] * 3, "10.91.0.0/16"]):
        fresh = addressing.allocate_network(f"s{number}", pool, taken)
        taken.append(addressing.with_ipv6(fresh, POOL6, taken))
    subnets = [ipaddress.IPv6Network(one.subnet6) for one in taken]
    assert len(set(subnets)) == len(taken)
    assert all(one.prefixlen == 64 and one.subnet_of(ipaddress.IPv6Network(POOL6)) for one in subnets)
    assert all(addressing.with_ipv6(one, POOL6, taken) is one for one in taken)


@pytest.mark.parametrize(
    ("vip", "staging", "ends", "needs"),
    [
        ("2001:db8::1", "", {"endpoints": (KERNEL,)}, True),
        ("203.0.113.1", "", {"endpoints": (KERNEL,)}, False),
        ("2001:db8::1", "", {"endpoints": (PROXY,)}, False),
        ("2001:db8::1", "2001:db8::2", {"endpoints": (PROXY, KERNEL)}, True),
        ("", "", {"endpoints": (KERNEL,)}, False),
        ("2001:db8::1", "", {"endpoints": (), "instance_endpoints": (OWN,)}, True),
    ],
)
def test_who_needs_ipv6(vip: str, staging: str, ends: dict[str, Any], needs: bool) -> None:
    """Whose clients come by it and are sent on by the kernel; HAProxy asks members by IPv4."""
    spec = ServiceSpec(name="shop", vip=vip, staging_vip=staging, roles=(web_role(**ends),))
    assert addressing.needs_ipv6(spec) is needs
