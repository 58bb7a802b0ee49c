"""The commands that go to nft, without a kernel: what is added and deleted, and whose."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.network import firewall
from orchestrator.drivers.network.tables import BRIDGE, INET
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import change, look, remake
from orchestrator.model import InternalEndpoint, Mode, Ports
from tests.contract.suites.network import make_service


def test_only_the_owners_elements_change() -> None:
    """What is missing is added with the owner's name, what is stale is deleted, and others' elements stay."""
    now = {("a",): "shop", ("b",): "shop", ("c",): "blog"}
    commands = change(INET, "bridges", now, [("b",), ("d",)], "shop")
    place = {"family": "inet", "table": "vmrole", "name": "bridges"}
    assert commands == [
        {"delete": {"element": {**place, "elem": ["a"]}}},
        {"add": {"element": {**place, "elem": [{"elem": {"val": "d", "comment": "shop"}}]}}},
    ]


def test_what_a_vanished_service_held_is_taken_over() -> None:
    """An element under another name is made anew under the new one, in the same transaction."""
    commands = change(INET, "bridges", {("a",): "gone", ("b",): "blog"}, [("a",)], "shop")
    place = {"family": "inet", "table": "vmrole", "name": "bridges"}
    assert commands == [
        {"delete": {"element": {**place, "elem": ["a"]}}},
        {"add": {"element": {**place, "elem": [{"elem": {"val": "a", "comment": "shop"}}]}}},
    ]


def test_nothing_to_change_is_no_command() -> None:
    """A set that is as it should be costs no transaction."""
    now = {("vrb-1", "10.90.0.1"): "shop"}
    assert change(INET, "gateways", now, [("vrb-1", "10.90.0.1")], "shop") == []


def test_elements_are_typed() -> None:
    """Prefixes, ports and concatenations go out as nft's JSON has them."""
    (subnet,) = change(INET, "subnets", {}, [("10.90.0.0/24",)], "shop")
    (endpoint,) = change(INET, "endpoints", {}, [("203.0.113.10", "80")], "shop")
    assert subnet["add"]["element"]["elem"][0]["elem"]["val"] == {"prefix": {"addr": "10.90.0.0", "len": 24}}
    assert endpoint["add"]["element"]["elem"][0]["elem"]["val"] == {"concat": ["203.0.113.10", 80]}


@pytest.mark.parametrize("table", [INET, BRIDGE])
def test_rules_are_made_anew_without_touching_elements(table: nft.Table) -> None:
    """Chains are flushed and filled in one transaction; a set that is there is left alone; nothing is deleted."""
    there = {one.name: {} for one in table.sets}
    commands = remake(table, nft.Found(fixed="", elements=there, drops={}))
    assert not [command for command in commands if "delete" in command or "set" in command.get("add", {})]
    flushed = {command["flush"]["chain"]["name"] for command in commands if "flush" in command}
    assert flushed == {chain.name for chain in table.chains}
    rules = [command for command in commands if "rule" in command.get("add", {})]
    assert len(rules) == sum(len(chain.rules) for chain in table.chains)


def test_every_drop_is_counted_and_says_why() -> None:
    """Each rule that drops has a comment of its own, so that a count can be told to a human."""
    reasons = []
    for table in (INET, BRIDGE):
        for chain in table.chains:
            for rule in chain.rules:
                if {"drop": None} in rule:
                    assert {"counter": None} in rule
                    reasons += [part["comment"] for part in rule if "comment" in part]
    assert len(reasons) == len(set(reasons))


def test_a_listing_is_read_without_handles_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counters and handles change by themselves and are no difference; a changed rule is one."""

    def listed(packets: int, handle: int, verdict: str) -> nft.Found:
        rule = {"family": "inet", "table": "vmrole", "chain": "input", "handle": handle, "comment": "why"}
        rule["expr"] = [{"counter": {"packets": packets, "bytes": 9}}, {verdict: None}]
        sets = {"name": "bridges", "handle": 1, "elem": [{"elem": {"val": "vrb-1", "comment": "shop"}}]}
        body = json.dumps({"nftables": [{"metainfo": {"version": "1"}}, {"set": sets}, {"rule": rule}]})
        (tmp_path / "nft").write_text(f"#!/bin/sh\necho '{body}'\n")
        (tmp_path / "nft").chmod(0o700)
        found = look(INET)
        assert found is not None
        return found

    monkeypatch.setenv("PATH", str(tmp_path))
    first = listed(1, 10, "drop")
    assert first.elements == {"bridges": {("vrb-1",): "shop"}}
    assert first.drops == {"why": 1}
    assert listed(5, 77, "drop").fixed == first.fixed
    assert listed(1, 10, "accept").fixed != first.fixed


def test_a_map_s_elements_give_something_and_ranges_are_whole() -> None:
    """What a role's tap gives is a number; a single port among ranges is a range of one, or nft does not find it."""
    (caller,) = change(BRIDGE, "callers", {}, [("vrt-a", "2")], "shop")
    gone, fresh = change(BRIDGE, "connections", {("1", "vrt-b", "80"): "shop"}, [("1", "vrt-b", "80-90")], "shop")
    assert caller["add"]["element"]["elem"] == [[{"elem": {"val": "vrt-a", "comment": "shop"}}, 2]]
    assert gone["delete"]["element"]["elem"] == [{"concat": [1, "vrt-b", {"range": [80, 80]}]}]
    assert fresh["add"]["element"]["elem"][0]["elem"]["val"] == {"concat": [1, "vrt-b", {"range": [80, 90]}]}


def between(*ends: InternalEndpoint) -> dict[str, set[tuple[str, ...]]]:
    """The elements of a service whose db has these, by set; taps are called by their instances."""
    shop, made = make_service("shop", "", 1)
    web = replace(shop.spec.roles[0], endpoints=())
    db = replace(web, name="db", internal_endpoints=ends)
    instances = [
        replace(made[0], role_name=name, nic=replace(made[0].nic, tap=name)) for name in ("web", "db", "old")
    ]
    service = replace(shop, spec=replace(shop.spec, roles=(web, db)))
    wanted = firewall._wanted(service, instances)
    return {name: set(found) for (family, name), found in wanted.items() if family == "bridge" and name in INNER}


INNER = ("callers", "peers", "connections", "datagrams")
OWN = {("1", "web"), ("2", "db"), ("3", "old")}  # A role that goes still has instances.
SQL = InternalEndpoint(name="sql", ports=Ports(3306, 3306), mode=Mode.TCP)


@pytest.mark.parametrize(
    ("ends", "peers", "connections", "datagrams"),
    [
        ((SQL,), OWN, {("1", "db", "3306"), ("2", "db", "3306")}, set()),
        ((replace(SQL, callers=("web",)),), OWN, {("1", "db", "3306")}, set()),
        ((replace(SQL, callers=("web",), ports=Ports(5, 9), mode=Mode.UDP),), OWN, set(), {("1", "db", "5-9")}),
        ((replace(SQL, callers=("web",), mode=None),), OWN, {("1", "db", "3306")}, {("1", "db", "3306")}),
        ((InternalEndpoint(name="all", callers=("web",)),), OWN | {("1", "db")}, set(), set()),
    ],
)
def test_who_reaches_whom_between_roles(
    ends: tuple[InternalEndpoint, ...],
    peers: set[tuple[str, ...]],
    connections: set[tuple[str, ...]],
    datagrams: set[tuple[str, ...]],
) -> None:
    """Instances of a role each other; others what endpoints say, all roles where none is named."""
    callers = {("web", "1"), ("db", "2"), ("old", "3")}
    expected = {"callers": callers, "peers": peers, "connections": connections, "datagrams": datagrams}
    assert between(*ends) == expected


def test_without_an_internal_endpoint_nothing_is_looked_at() -> None:
    """As ever: the instances of a service reach each other."""
    assert between() == {name: set() for name in INNER}
