"""The table of pools as text, without a kernel."""

from __future__ import annotations

import dataclasses
import random

import pytest

from orchestrator.drivers.balancer.nft_pools import (
    CLIENT_CONNECTIONS,
    Names,
    Place,
    Pools,
    change,
    pools,
    transaction,
)
from orchestrator.model import Frontend, Mode, PoolName, Ports

TCP = Frontend(pool=PoolName("shop.web.sql"), vip="203.0.113.10", port=5432, mode=Mode.TCP, probe=None)
UDP = dataclasses.replace(TCP, mode=Mode.UDP)


@pytest.mark.parametrize(
    ("endpoint", "most", "of_a_client", "counted"),
    [
        (TCP, None, None, {"ip saddr": CLIENT_CONNECTIONS}),
        (UDP, None, None, {}),
        (UDP, 9, None, {"ip saddr": 4, "ip daddr": 9}),
        (TCP, 1, None, {"ip saddr": 1, "ip daddr": 1}),
        (TCP, 9, 7, {"ip saddr": 7, "ip daddr": 9}),
        (TCP, None, 7, {"ip saddr": 7}),
    ],
)
def test_which_connections_are_counted(
    endpoint: Frontend, most: int | None, of_a_client: int | None, counted: dict[str, int]
) -> None:
    """What the service file says; else half for a client, and of tcp nobody takes all that the kernel has."""
    limited = dataclasses.replace(endpoint, connections_max=most, client_connections_max=of_a_client)
    place = Place(pool=endpoint.pool, address="10.90.0.10", port=5432)
    text = transaction(pools([limited], [place], [place]), Names())
    for key in ("ip saddr", "ip daddr"):
        assert (f"{{ {key} ct count over" in text) == (key in counted)
        assert f"{{ {key} ct count over {counted.get(key, '')}" in text or key not in counted


def test_another_number_is_another_set() -> None:
    """What a set holds of a client remembers the number that held when he came."""
    few, many = (pools([dataclasses.replace(TCP, connections_max=most)], [], []).names for most in (10, 20))
    assert len(few.sets) == len(many.sets) == 6
    assert not few.sets & many.sets


def test_whoever_has_met_a_limit_is_refused_before_he_is_counted_for_any() -> None:
    """A count of one limit is as long a walk as that of the other."""
    limited = dataclasses.replace(TCP, connections_max=9)
    place = Place(pool=TCP.pool, address="10.90.0.10", port=5432)
    rules = next(rules for rules in pools([limited], [place], [place]).chains.values() if "ct count" in str(rules))
    unseen = [number for number, rule in enumerate(rules) if "limit rate over" in rule]
    counted = [number for number, rule in enumerate(rules) if "ct count" in rule]
    assert len(unseen) == len(counted) == 2
    assert max(unseen) < min(counted)


@pytest.mark.parametrize(
    ("allow", "rule"),
    [
        ((), None),
        (("10.0.0.0/8", "0.0.0.0/0"), None),
        (("::/0",), "return"),
        (("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "::/0"), "ip saddr != { 10.0.0.0/8, 192.0.2.7/32 } return"),
    ],
)
def test_who_may_not_come_is_refused_before_he_is_counted(allow: tuple[str, ...], rule: str | None) -> None:
    """By networks of the VIP's own family that are apart, as the kernel wants them."""
    place = Place(pool=TCP.pool, address="10.90.0.10", port=5432)
    made = pools([dataclasses.replace(TCP, allow=allow)], [place], [place])
    rules = next(rules for rules in made.chains.values() if "ct count" in str(rules))
    assert [one for one in rules[:1] if one.endswith("return") and "@" not in one] == ([rule] if rule else [])


def test_several_ports_lead_to_a_pool_and_keep_their_distance() -> None:
    """All are served; what a port becomes is said only where it becomes another."""
    several = dataclasses.replace(TCP, port=8000, range=Ports(8000, 8002))
    place = Place(pool=TCP.pool, address="10.90.0.10", port=8000)
    moved = dataclasses.replace(place, port=9000)
    same, other = (transaction(pools([several], [one], [one]), Names()) for one in (place, moved))
    for text in (same, other):
        assert text.count("203.0.113.10 . tcp . 800") == 6  # served, and leading somewhere
    assert "dnat to 10.90.0.10\n" in same
    assert "dnat to 10.90.0.10 : tcp dport map { 8000 : 9000, 8001 : 9001, 8002 : 9002 }" in other


def test_each_port_leads_to_one_member_where_each_is_one_s() -> None:
    """By its index; the port of who is not there is served, and leads nowhere."""
    doors = dataclasses.replace(TCP, port=10022, range=Ports(10022, 10024), each=True)
    places = [Place(pool=TCP.pool, address=f"10.90.0.1{index}", port=22, index=index) for index in (2, 0)]
    text = transaction(pools([doors], places, places), Names())
    assert "add element ip vmrole_pools refused { 203.0.113.10 . tcp . 10022, " in text
    assert "tcp . 10023 : goto" not in text
    assert text.count("tcp dport vmap @e") == 1
    assert text.count("{ 10022 : goto m") == 1
    assert "10023 : goto m" not in text
    assert "dnat to 10.90.0.10:22\n" in text
    assert "dnat to 10.90.0.12:22\n" in text


def crowd(members: int, of: Frontend = TCP, subnet: str = "10.90.0") -> list[Place]:
    """So many members behind an endpoint."""
    return [Place(pool=of.pool, address=f"{subnet}.{10 + number}", port=5432) for number in range(members)]


@pytest.mark.parametrize("affinity_s", [None, 60.0])
@pytest.mark.parametrize("leaving", [0, 50, 99])
def test_a_change_says_what_it_changes_and_nothing_of_the_others(affinity_s: float | None, leaving: int) -> None:
    """As much for the third member of one pool as for the hundredth beside nine other pools."""
    sizes = []
    for members, others in ((3, 0), (100, 9)):
        kept = dataclasses.replace(TCP, affinity_s=affinity_s)
        ends = [kept, *(dataclasses.replace(TCP, pool=PoolName(f"blog{one}.web.sql")) for one in range(others))]
        beside = [one for number, end in enumerate(ends[1:]) for one in crowd(50, end, f"10.91.{number}")]
        all_of_it = crowd(members)
        one = all_of_it[min(leaving, members - 1)]
        rest = [other for other in all_of_it if other != one]
        full = pools(ends, [*all_of_it, *beside], [*all_of_it, *beside])
        fewer = pools(ends, [*rest, *beside], [*rest, *beside], full)
        back = pools(ends, [*all_of_it, *beside], [*all_of_it, *beside], fewer)
        again = pools(ends, [*rest, *beside], [*rest, *beside], back)
        sizes.append([len(change(*pair)) for pair in ((full, fewer), (fewer, back), (back, again))])
    (few, many) = sizes
    assert all(long - short <= 140 for short, long in zip(few, many, strict=True)), sizes  # a gap to fill, and digits
    assert max(many) < 2_000


def test_whatever_comes_and_goes_each_member_is_dealt_its_share() -> None:
    """Numbers without a gap, each member's once: in a pool that changes at random by one or by several."""
    chance, here, table = random.Random(1), set(crowd(5)), None
    for _ in range(200):
        here ^= set(chance.sample(crowd(20), chance.randint(1, 4)))
        table = pools([TCP], here, here, table)
        if not here:
            assert not table.numbered
            continue
        ((name, order),) = table.numbered.items()
        assert len(order) == len(set(order)) == len(here)
        assert table.elements[name] == {str(number): f"goto {one}" for number, one in enumerate(order)}
        (dealing,) = (rules for rules in table.chains.values() if f"numgen inc mod {len(here)} vmap @{name}" in rules)
        assert dealing[-1] == f"numgen inc mod 1 vmap @{name}", "who came as the last number went is refused"
        assert {rule for one in order for rule in table.chains[one]} == {
            f"meta l4proto tcp dnat to {one.address}:5432" for one in here
        }


def test_a_change_that_changes_nothing_says_nothing() -> None:
    """And the first says all."""
    table = pools([TCP], crowd(3), crowd(3))
    assert change(table, pools([TCP], crowd(3), crowd(3), table)) == ""
    assert all(name in change(Pools(), table) for name in table.chains)
