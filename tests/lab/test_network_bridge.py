"""Guests on a bridge of the host's: what they may say there, and what others may; guests are stand-ins."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.model import Instance, RoleNetwork, Service
from tests.contract.suites.network import make_service
from tests.lab.harness.places import HOST
from tests.lab.pretending import GAP_S, STRANGER, attacks, passed
from tests.lab.stand_in import ARRIVES_S, BROADCAST, StandIn, arp, bridge_ear, ethernet, icmpv6, udp
from tests.world.waiting import comes_true

BRIDGE = "office0"
_NETWORK = RoleNetwork(bridge=BRIDGE, addresses=("198.51.100.10/24", "198.51.100.11/24"))
_ARP, _IP, _IPV6, _LLDP = 0x0806, 0x0800, 0x86DD, 0x88CC


def on_bridge(instance: Instance) -> Instance:
    """The instance as if its card on the bridge were its only one, for its stand-in."""
    assert instance.lan is not None
    card = dataclasses.replace(instance.nic, mac=instance.lan.mac, tap=instance.lan.tap, address=instance.lan.ip)
    return dataclasses.replace(instance, nic=card)


@pytest.fixture
def shop(network: HostNetwork) -> Iterator[tuple[Service, list[Instance]]]:
    """A service with two instances, laid, and a bridge that nobody of it has made."""
    service, instances = make_service("shop", "", 2)
    wired = [dataclasses.replace(one, role=dataclasses.replace(one.role, network=_NETWORK)) for one in instances]
    HOST.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    HOST.run(["ip", "link", "set", BRIDGE, "up"])
    try:
        network.lay(service, wired)
        yield service, wired
    finally:
        HOST.run(["ip", "link", "del", BRIDGE], check=False)


@pytest.fixture
def pair(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> Iterator[tuple[StandIn, StandIn]]:
    """Stand-ins for both, plugged into that bridge."""
    service, instances = shop
    there = dataclasses.replace(service, network=dataclasses.replace(service.network, bridge=BRIDGE))
    with ExitStack() as stack:
        one, other = (stack.enter_context(StandIn(there, on_bridge(each)).plugged()) for each in instances)
        network.lay(service, instances)
        yield one, other


def test_a_guest_cannot_pretend_there_either(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """Nothing that lies about its sender leaves it, as in the private network; all of it does without the guard."""
    evil, victim = pair
    assert passed(evil, victim, BRIDGE) == set()
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    of_private_networks = {
        "another address",
        "the gateway's address",
    }  # which come from outside here: another table's
    assert passed(evil, victim, BRIDGE) >= set(attacks(evil, victim)) - of_private_networks
    network.lay(*shop)
    assert passed(evil, victim, BRIDGE) == set()


def test_a_guest_can_say_what_is_true_there(pair: tuple[StandIn, StandIn]) -> None:
    """Its own ARP and its own packets arrive."""
    one, other = pair
    mark = os.urandom(12)
    for frame in (
        ethernet(
            one.mac, BROADCAST, _ARP, arp(1, (one.mac, one.address), ("00:00:00:00:00:00", other.address)) + mark
        ),
        ethernet(one.mac, other.mac, _IP, udp(one.address, other.address, 4000, 4000, mark)),
    ):
        with other.listening() as ear:
            one.send(frame)
            assert ear.hears(mark, ARRIVES_S), frame.hex()


def test_the_bridge_learns_no_false_place_and_is_itself_as_it_was(pair: tuple[StandIn, StandIn]) -> None:
    """An LLDP frame draws nobody's traffic to a guest, though the bridge's own setting is left alone."""
    evil, _ = pair
    lie = ethernet(STRANGER, "01:80:c2:00:00:0e", _LLDP, bytes(46))

    def learned() -> bool:
        return STRANGER in HOST.run(["bridge", "fdb", "show", "br", BRIDGE]).stdout

    evil.send(lie)
    assert not comes_true(learned, GAP_S)
    assert evil.mac in HOST.run(["bridge", "fdb", "show", "br", BRIDGE]).stdout
    shown = HOST.run(["cat", f"/sys/class/net/{BRIDGE}/bridge/group_fwd_mask"]).stdout
    assert int(shown, 16) == 0
    tap = evil.namespace.removeprefix("in-")
    HOST.run(["bridge", "link", "set", "dev", tap, "learning", "on"])
    evil.send(lie)
    assert comes_true(learned, ARRIVES_S)


def test_a_frame_of_somebody_else_takes_no_guest_s_place(pair: tuple[StandIn, StandIn]) -> None:
    """As a loop among switches sends a guest's own frames back, or a machine out there that has its MAC."""
    guest, _ = pair
    frame = ethernet(guest.mac, BROADCAST, _ARP, arp(1, (guest.mac, guest.address), (BROADCAST, guest.address)))
    with ExitStack() as stack:
        HOST.run(["ip", "link", "add", "theirs0", "type", "veth", "peer", "name", "theirs0p"])
        stack.callback(HOST.run, ["ip", "link", "del", "theirs0"], check=False)
        HOST.run(["ip", "link", "set", "theirs0", "master", BRIDGE, "up"])
        HOST.run(["ip", "link", "set", "theirs0p", "up"])
        assert comes_true(lambda: _forwards("theirs0"), ARRIVES_S)
        with bridge_ear("theirs0p") as here:
            here.say(frame)
        assert not comes_true(lambda: "dev theirs0" in _places_of(guest.mac), GAP_S)
    assert guest.namespace.removeprefix("in-") in _places_of(guest.mac)


def _places_of(mac: str) -> str:
    shown = HOST.run(["bridge", "fdb", "show", "br", BRIDGE]).stdout
    return "\n".join(line for line in shown.splitlines() if line.startswith(mac))


def test_others_on_a_bridge_of_theirs_speak_ipv6(pair: tuple[StandIn, StandIn]) -> None:
    """What passes between ports that are no guest's is nobody's business but theirs; none of it reaches a guest."""
    guest, _ = pair
    mark = os.urandom(12)
    echo = icmpv6("fe80::1", "ff02::1", bytes([128, 0, 0, 0, 0, 1, 0, 1]) + mark)
    frame = ethernet("02:00:00:00:00:01", "33:33:00:00:00:01", _IPV6, echo)
    with ExitStack() as stack:
        for name in ("theirs0", "theirs1"):
            HOST.run(["ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p"])
            stack.callback(HOST.run, ["ip", "link", "del", name], check=False)
            HOST.run(["ip", "link", "set", name, "master", BRIDGE, "up"])
            HOST.run(["ip", "link", "set", f"{name}p", "up"])
        for name in ("theirs0", "theirs1"):
            assert comes_true(lambda name=name: _forwards(name), ARRIVES_S)  # type: ignore[misc]
        with bridge_ear("theirs1p") as other, guest.listening() as ear:
            with bridge_ear("theirs0p") as here:
                here.say(frame)
            assert other.hears(mark, ARRIVES_S)
            assert not ear.hears(mark, GAP_S)


def _forwards(port: str) -> bool:
    return "state forwarding" in HOST.run(["bridge", "link", "show", "dev", port]).stdout


def test_a_port_that_somebody_took_away_is_put_back(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """And told; a bridge that is gone is told once, is found by a look, and made by nobody."""
    service, instances = shop
    del pair
    assert network.lay(service, instances) == ()
    assert network.missing(service, instances) != (), "the stand-ins have no card in the private network"
    first = instances[0].lan
    assert first is not None
    HOST.run(["ip", "link", "set", first.tap, "nomaster"])
    assert any(f"{first.tap} on the host is not on bridge {BRIDGE}" in one.message for one in network.missing(*shop))
    (notice,) = network.lay(service, instances)
    assert (notice.subject, notice.message) == (
        instances[0].name,
        f"its port was not on {BRIDGE}, the host's bridge: put there",
    )
    HOST.run(["ip", "link", "del", BRIDGE])
    told = [(one.subject, one.message) for one in network.lay(service, instances)]
    gone = f"there is no bridge {BRIDGE} on this host"
    assert told == [(one.name, f"{gone}: nobody reaches it there") for one in instances]
    assert network.lay(service, instances) == ()
    assert [one.message for one in network.missing(*shop)].count(gone) == 2
    assert HOST.run(["ip", "link", "show", BRIDGE], check=False).returncode != 0
    HOST.run(["ip", "link", "add", BRIDGE, "type", "bridge"])
    HOST.run(["ip", "link", "set", BRIDGE, "up"])
    assert [one.subject for one in network.lay(service, instances)] == [one.name for one in instances]
    assert not any(BRIDGE in one.message for one in network.missing(*shop))
