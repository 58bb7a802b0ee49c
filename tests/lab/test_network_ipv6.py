"""IPv6 in the private network, on real libvirt, dnsmasq and nftables: what guests may say by it, and what not."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.errors import Permanent
from orchestrator.model import Instance, Part, Service
from tests.contract.suites.network import make_service
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.pretending import GAP_S, STRANGER, reaching
from tests.lab.stand_in import (
    ARRIVES_S,
    LONGEST_S,
    StandIn,
    bridge_ear,
    ethernet,
    icmpv6,
    ipv6,
    link_address,
    reaches,
    serving,
    udp_datagram,
)
from tests.world.waiting import comes_true

NETWORK6 = "2001:db8:77::"
VIP6 = f"{NETWORK6}10"
_FORWARDING = Path("/proc/sys/net/ipv6/conf/all/forwarding")
WITHIN_S = 30.0
_IPV6, _VLAN = 0x86DD, 0x8100
_HOP_BY_HOP, _FRAGMENT, _UDP, _ICMPV6, _NOTHING_MORE, _OPTIONS = 0, 44, 17, 58, 59, 60
_ROUTER_SOLICIT, _ROUTER, _SOLICIT, _ADVERT, _REDIRECT = 133, 134, 135, 136, 137
_ALL_NODES, _ALL_NODES_MAC = "ff02::1", "33:33:00:00:00:01"
_SENDER, _TARGET = 1, 2  # options of neighbour discovery
_PADDING = bytes([1, 4, 0, 0, 0, 0])  # PadN, RFC 8200


@pytest.fixture
def shop(network: HostNetwork) -> tuple[Service, list[Instance]]:
    """A service that has IPv6, with two instances, laid."""
    service, instances = make_service("shop", VIP6, 2, ipv6=True)
    network.lay(service, instances)
    return service, instances


@pytest.fixture
def pair(shop: tuple[Service, list[Instance]]) -> Iterator[tuple[StandIn, StandIn]]:
    """Stand-ins for both instances."""
    service, instances = shop
    with StandIn(service, instances[0]).plugged() as one, StandIn(service, instances[1]).plugged() as other:
        yield one, other


def marked(packet: bytes) -> tuple[bytes, bytes]:
    """The packet with a flow label of its own, and that, by which it is known whatever becomes of other headers."""
    label = int.from_bytes(os.urandom(4), "big") & 0xFFFFF
    packet = struct.pack("!I", 6 << 28 | label) + packet[4:]
    return packet, packet[:4]


def attacks(evil: StandIn, victim: StandIn) -> dict[str, tuple[bytes, bytes]]:
    """What a guest must not send by IPv6: the frame, and bytes in it by which it is known."""

    def frame(packet: bytes, source: str = evil.mac, tag: bytes = b"") -> tuple[bytes, bytes]:
        packet, mark = marked(packet)
        return ethernet(source, _ALL_NODES_MAC, _VLAN if tag else _IPV6, tag + packet), mark

    def says(source: str, body: bytes) -> tuple[bytes, bytes]:
        return frame(icmpv6(source, _ALL_NODES, body))

    own, host = evil.address6, evil.gateway6
    advert, solicit = struct.pack("!BBHI", _ADVERT, 0, 0, 0x20000000), struct.pack("!BBHI", _SOLICIT, 0, 0, 0)
    router = struct.pack("!BBHBBHII", _ROUTER, 0, 0, 64, 0, 1800, 0, 0)
    redirect = struct.pack("!BBHI", _REDIRECT, 0, 0, 0) + _packed(host) + _packed(victim.address6)
    datagram = udp_datagram(4000, 4000, b"")

    def card(kind: int, mac: str) -> bytes:
        return bytes([kind, 1]) + bytes.fromhex(mac.replace(":", ""))

    def behind(header: int, packet_of: int, payload: bytes) -> tuple[bytes, bytes]:
        extension = bytes([packet_of, 0]) + _PADDING
        return frame(ipv6(evil.link_local, _ALL_NODES, header, extension + payload))

    def part(packet_of: int, payload: bytes) -> tuple[bytes, bytes]:
        return frame(ipv6(own, _ALL_NODES, _FRAGMENT, struct.pack("!BBHI", packet_of, 0, 0, 77) + payload))

    told = icmpv6(evil.link_local, _ALL_NODES, router)[40:]
    lie = icmpv6(own, _ALL_NODES, advert + _packed(host))[40:]
    return {
        "another MAC": frame(ipv6(own, host, _UDP, datagram), STRANGER),
        "another address": frame(ipv6(own + "9", host, _UDP, datagram)),
        "the host's address": frame(ipv6(host, victim.address6, _UDP, datagram)),
        "a neighbour's address": frame(ipv6(victim.address6, host, _UDP, datagram)),
        "a neighbour's address of the link": frame(ipv6(victim.link_local, host, _UDP, datagram)),
        "nobody's address": frame(ipv6("::", host, _UDP, datagram)),
        "a place for the victim's address": says(own, advert + _packed(victim.address6)),
        "a place for the victim's address of the link": says(own, advert + _packed(victim.link_local)),
        "a place for the host's address": says(own, advert + _packed(host) + card(_TARGET, evil.mac)),
        "a place for the VIP": says(own, advert + _packed(VIP6) + card(_TARGET, evil.mac)),
        "another card as its own place": says(own, advert + _packed(own) + card(_TARGET, victim.mac)),
        "a second card behind its own": says(
            own, advert + _packed(own) + card(_TARGET, evil.mac) + card(_TARGET, victim.mac)
        ),
        "another option for its card": says(own, advert + _packed(own) + card(_SENDER, evil.mac)),
        "a question with another card": says(own, solicit + _packed(host) + card(_SENDER, victim.mac)),
        "a question from another address": says(victim.address6, solicit + _packed(host) + card(_SENDER, evil.mac)),
        "a claim of the victim's address": says("::", solicit + _packed(victim.address6)),
        "a call for routers with another card": says(
            evil.link_local, struct.pack("!BBHI", _ROUTER_SOLICIT, 0, 0, 0) + card(_SENDER, victim.mac)
        ),
        "a router": says(evil.link_local, router),
        "a router at the host's place": says("fe80::1", router),
        "a redirect": says(evil.link_local, redirect),
        "a router behind options of each hop": behind(_HOP_BY_HOP, _ICMPV6, told),
        "a router behind options of its target": behind(_OPTIONS, _ICMPV6, told),
        "a router as a fragment": frame(
            ipv6(evil.link_local, _ALL_NODES, _FRAGMENT, struct.pack("!BBHI", _ICMPV6, 0, 0, 7) + told)
        ),
        "a place for the host's address as a fragment": part(_ICMPV6, lie),
        "a fragment that begins with options": part(_OPTIONS, bytes([_ICMPV6, 0]) + _PADDING + lie),
        "a fragment from another address": frame(
            ipv6(victim.address6, host, _FRAGMENT, struct.pack("!BBHI", _UDP, 0, 0, 7) + datagram)
        ),
        "a DHCPv6 server": frame(ipv6(evil.link_local, _ALL_NODES, _UDP, udp_datagram(547, 546, b""))),
        "a VLAN tag": frame(ipv6(own, host, _UDP, datagram), tag=b"\0\x07\x86\xdd"),
    }


def _packed(address: str) -> bytes:
    return ipv6(address, "::", _NOTHING_MORE, b"")[8:24]


def passed(evil: StandIn, victim: StandIn, bridge: str) -> set[str]:
    """The names of the attacks that reach the victim or the host."""
    return reaching(attacks(evil, victim), evil, victim, bridge)


def test_a_guest_cannot_pretend(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """No frame of IPv6 that lies about its sender or a neighbour, or that plays router or server, leaves a guest.

    The same frames pass when the guard is away, and are dropped again after the next lay.
    """
    evil, victim = pair
    bridge = shop[0].network.bridge
    assert passed(evil, victim, bridge) == set()
    drops = network.drops()
    for reason in (
        "another MAC",
        "another address of IPv6",
        "a router of IPv6, or a lie about neighbours",
        "an extension header of IPv6",
        "a DHCPv6 server",
    ):
        assert drops[reason] > 0, drops
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    assert passed(evil, victim, bridge) == set(attacks(evil, victim))
    network.lay(*shop)
    assert passed(evil, victim, bridge) == set()


def truths(one: StandIn) -> dict[str, bytes]:
    """What a well-behaved guest sends its host, each a packet."""
    own, link, host = one.address6, one.link_local, one.gateway6
    advert, solicit = struct.pack("!BBHI", _ADVERT, 0, 0, 0x20000000), struct.pack("!BBHI", _SOLICIT, 0, 0, 0)
    call = struct.pack("!BBHI", _ROUTER_SOLICIT, 0, 0, 0)
    mine = bytes.fromhex(one.mac.replace(":", ""))
    nonce = bytes([14, 1]) + os.urandom(6)  # RFC 7527
    datagram = udp_datagram(4000, 4000, b"")
    said = {
        "is my address free": ("::", solicit + _packed(own)),
        "is it, with a nonce": ("::", solicit + _packed(own) + nonce),
        "is my address of the link free": ("::", solicit + _packed(link)),
        "where is the host": (own, solicit + _packed(host) + bytes([_SENDER, 1]) + mine),
        "is the host still there": (link, solicit + _packed(host)),
        "here I am": (own, advert + _packed(own) + bytes([_TARGET, 1]) + mine),
        "I am still here": (own, advert + _packed(own)),
        "here is my address of the link": (link, advert + _packed(link) + bytes([_TARGET, 1]) + mine),
        "where is a router": (link, call + bytes([_SENDER, 1]) + mine),
        "echo": (own, struct.pack("!BBHI", 128, 0, 0, 1)),
        "too large": (own, struct.pack("!BBHI", 2, 0, 0, 1280)),
    }
    packets = {name: icmpv6(source, host, body) for name, (source, body) in said.items()}
    packets["a datagram"] = ipv6(own, host, _UDP, datagram)
    packets["a part that is all of one"] = ipv6(own, host, _FRAGMENT, struct.pack("!BBHI", _UDP, 0, 0, 7) + datagram)
    return packets


def test_a_guest_can_say_what_is_true(shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]) -> None:
    """Whatever is its own reaches the host, by each of its addresses and in parts; a neighbour hears none of it."""
    one, other = pair
    bridge = shop[0].network.bridge
    for name, packet in truths(one).items():
        sent, mark = marked(packet)
        with bridge_ear(bridge) as host, other.listening() as ear:
            one.send(ethernet(one.mac, _ALL_NODES_MAC, _IPV6, sent))
            assert host.hears(mark, ARRIVES_S), name
            assert not ear.hears(mark, 0.0), f"the neighbour hears: {name}"


def test_instances_have_no_ipv6_of_each_other(
    shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """Not even what is true; without any guard it is heard."""
    one, other = pair

    def heard() -> bool:
        packet, mark = marked(ipv6(one.address6, other.address6, _UDP, udp_datagram(4000, 4000, b"")))
        with other.listening() as ear:
            one.send(ethernet(one.mac, other.mac, _IPV6, packet))
            return ear.hears(mark, GAP_S)

    assert not heard()
    HOST.run(["nft", "delete", "table", "inet", "vmrole"])
    assert not heard()
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    assert heard()


def test_without_ipv6_of_its_own_a_guest_has_none(network: HostNetwork) -> None:
    """Of a service that has no use for it, nothing of it leaves an instance: not what would be true elsewhere."""
    service, instances = make_service("plain", "203.0.113.10", 1)
    network.lay(service, instances)
    with StandIn(service, instances[0]).plugged() as one:
        one.address6, one.gateway6 = "fd90:1:2:5a00::10", "fd90:1:2:5a00::1"
        for name, packet in truths(one).items():
            sent, mark = marked(packet)
            with bridge_ear(service.network.bridge) as host:
                one.send(ethernet(one.mac, _ALL_NODES_MAC, _IPV6, sent))
                assert not host.hears(mark, GAP_S), name


def test_the_address_is_what_a_guest_makes_by_itself(pair: tuple[StandIn, StandIn]) -> None:
    """Of its card, as Linux does unless told otherwise: its address of the link is the one that we let it have."""
    one, _ = pair
    assert one.link_local in link_address(one.namespace)


# The host's side -----------------------------------------------------------------------------------------------


@pytest.fixture
def outside(lab: Lab) -> Iterator[None]:
    """The host and its client have addresses of IPv6 in one network; the client knows a way to private ones."""
    places = ((HOST.run, 1, OUTSIDE_LINK), (CLIENT.run, 2, "up0"))
    for run, number, link in places:
        run(["ip", "address", "add", f"{NETWORK6}{number}/64", "dev", link, "nodad"])
    CLIENT.run(["ip", "route", "add", "fd00::/8", "via", f"{NETWORK6}1"])
    yield
    CLIENT.run(["ip", "route", "del", "fd00::/8"])
    for run, number, link in places:
        run(["ip", "address", "del", f"{NETWORK6}{number}/64", "dev", link])


def configured(guest: StandIn) -> bool:
    """Whether the guest's kernel has made itself the instance's address, and knows the way out, of what it heard."""
    shown = HOST.run(["ip", "-6", "-n", guest.namespace, "address", "show", "dev", "eth0", "-tentative"]).stdout
    routes = HOST.run(["ip", "-6", "-n", guest.namespace, "route", "show", "default"]).stdout
    return f"inet6 {guest.address6}/64" in shown and "proto ra" in routes


@pytest.mark.usefixtures("outside")
def test_a_guest_has_its_address_by_itself_and_nobody_but_the_host_reaches_it(
    network: HostNetwork, pair: tuple[StandIn, StandIn]
) -> None:
    """The host reaches it by the address that we have recorded; from outside and from a neighbour nobody does."""
    one, other = pair
    assert comes_true(lambda: configured(one) and configured(other), WITHIN_S)
    with serving(one.namespace, 8080, "::"):
        assert comes_true(lambda: reaches("", one.address6, 8080), WITHIN_S)
        assert not reaches(CLIENT_NAMESPACE, one.address6, 8080)
        assert not reaches(other.namespace, one.address6, 8080)
        assert network.drops()["a new connection to a DIP of IPv6"] > 0
        HOST.run(["nft", "delete", "table", "inet", "vmrole"])
        assert reaches(CLIENT_NAMESPACE, one.address6, 8080), "the client knows no way, whoever is let through"


@pytest.mark.usefixtures("outside")
def test_a_guest_reaches_nothing_outside_by_ipv6_and_little_of_the_host(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """It is refused at once, whatever it asks for; names it asks for by IPv4, and is told of no other server."""
    one, _ = pair
    assert comes_true(lambda: configured(one), WITHIN_S)
    own = one.gateway6
    CLIENT.run(["ip", "route", "add", f"{one.address6}/128", "via", f"{NETWORK6}1"])
    with serving("", 2222, "::"), serving(CLIENT_NAMESPACE, 8080, "::"):
        began = time.monotonic()
        assert not one.reaches(f"{NETWORK6}2", 8080)
        assert time.monotonic() - began < LONGEST_S, "it is left to wait"
        assert network.drops()["IPv6 from a guest"] > 0
        assert not one.reaches(own, 2222)
        assert not one.reaches(f"{NETWORK6}1", 2222)
        assert not one.reaches(own, 53)
        for table in ("inet", "bridge"):
            HOST.run(["nft", "delete", "table", table, "vmrole"])
        assert one.reaches(own, 2222)
        assert one.reaches(f"{NETWORK6}2", 8080), "it has no way out, whoever is let through"
    CLIENT.run(["ip", "route", "del", f"{one.address6}/128"])


def test_what_somebody_took_away_is_told_and_put_back(
    network: HostNetwork, shop: tuple[Service, list[Instance]]
) -> None:
    """The host's address and its switch, as those of IPv4."""
    service, _ = shop
    bridge, gateway = service.network.bridge, service.network.gateway6
    network.lay(service, [])
    assert network.missing(service, []) == ()
    HOST.run(["ip", "address", "del", f"{gateway}/64", "dev", bridge])
    _FORWARDING.write_text("0")
    missing = {(one.part, one.message) for one in network.missing(service, [])}
    assert (Part.NETWORK, f"{gateway} is not on {bridge}") in missing
    assert (Part.ROUTING, "net.ipv6.conf.all.forwarding is 0") in missing
    said = {one.message for one in network.lay(service, [])}
    assert f"somebody removed {gateway} from {bridge}: put back" in said
    assert "somebody switched net.ipv6.conf.all.forwarding off: on again" in said
    assert network.missing(service, []) == ()


def test_a_service_that_has_run_without_gets_it_while_its_guests_go_on(network: HostNetwork) -> None:
    """Their ports come back, and nobody is said to have done it."""
    before, instances = make_service("shop", "203.0.113.10", 1)
    network.lay(before, instances)
    with StandIn(before, instances[0]).plugged() as one:
        one.configure()
        assert HOST.run(["ping", "-c1", "-W5", one.address], check=False).returncode == 0
        after, speaking = make_service("shop", VIP6, 1, ipv6=True)
        told = network.lay(after, speaking)
        assert [one.message for one in told if "shape" in one.message] == []
        one.address6 = speaking[0].nic.address6
        assert HOST.run(["ping", "-c1", "-W5", one.address], check=False).returncode == 0
        assert comes_true(lambda: configured(one), WITHIN_S)
        assert comes_true(lambda: network.missing(after, speaking) == (), WITHIN_S)


def test_a_host_that_would_lose_its_own_way_out_is_left_as_it_is(network: HostNetwork) -> None:
    """Where the kernel has it from a router and listens only while it does not forward; the remedy is said."""
    service, instances = make_service("shop", VIP6, 1, ipv6=True)
    listens = Path(f"/proc/sys/net/ipv6/conf/{OUTSIDE_LINK}/accept_ra")
    before = listens.read_text()
    HOST.run(["ip", "-6", "route", "add", "default", "via", "fe80::1", "dev", OUTSIDE_LINK, "proto", "ra"])
    try:
        listens.write_text("1")
        with pytest.raises(Permanent, match=f"{OUTSIDE_LINK} has its IPv6 routes from routers") as refused:
            network.lay(service, instances)
        assert f"sysctl -w net.ipv6.conf.{OUTSIDE_LINK}.accept_ra=2" in refused.value.hint
        listens.write_text("2")
        network.lay(service, instances)
    finally:
        HOST.run(["ip", "-6", "route", "del", "default", "dev", OUTSIDE_LINK, "proto", "ra"])
        listens.write_text(before)
