"""Guests whose address on a bridge of the host's a DHCP server there gives: what the host believes, and of whom."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.given_watch import LOOK_S
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.model import Instance, RoleNetwork, Service
from tests.contract.suites.network import make_service
from tests.lab.harness.places import HOST
from tests.lab.pretending import GAP_S
from tests.lab.stand_in import ARRIVES_S, BROADCAST, StandIn, arp, bridge_ear, dhcp, ethernet, mac_bytes, udp
from tests.world.waiting import comes_true

BRIDGE, SERVER, SERVER_MAC = "office0", "198.51.100.2", "02:00:00:00:00:02"
_ARP, _IP = 0x0806, 0x0800
_OFFER, _ACK, _NAK = 2, 5, 6
_MORE_FRAGMENTS = 0x2000


@pytest.fixture
def shop(network: HostNetwork) -> Iterator[tuple[Service, list[Instance]]]:
    """A service with two instances, laid, on a bridge that nobody of it has made; a stranger is on it, too."""
    service, instances = make_service("shop", "", 2)
    wired = [
        dataclasses.replace(one, role=dataclasses.replace(one.role, network=RoleNetwork(bridge=BRIDGE)))
        for one in instances
    ]
    for command in (
        f"add {BRIDGE} type bridge",
        f"set {BRIDGE} up",
        "add theirs0 type veth peer name theirs0p",
        f"set theirs0 master {BRIDGE} up",
        "set theirs0p up",
    ):
        HOST.run(["ip", "link", *command.split()])
    try:
        network.lay(service, wired)
        assert comes_true(lambda: _forwards("theirs0"), ARRIVES_S)
        yield service, wired
    finally:
        for name in ("theirs0", BRIDGE):
            HOST.run(["ip", "link", "del", name], check=False)


@pytest.fixture
def pair(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> Iterator[tuple[StandIn, StandIn]]:
    """Stand-ins for both, plugged into that bridge."""
    service, instances = shop
    there = dataclasses.replace(service, network=dataclasses.replace(service.network, bridge=BRIDGE))
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(StandIn(there, on_bridge(each, f"198.51.100.5{at}")).plugged())
            for at, each in enumerate(instances)
        )
        network.lay(service, instances)
        yield one, other


def on_bridge(instance: Instance, address: str) -> Instance:
    """The instance as if its card on the bridge were its only one, for its stand-in."""
    assert instance.lan is not None
    card = dataclasses.replace(instance.nic, mac=instance.lan.mac, tap=instance.lan.tap, address=address)
    return dataclasses.replace(instance, nic=card)


def answered(mac: str, address: str, kind: int = _ACK, *, option: int = 53) -> bytes:
    """What a DHCP server answers (RFC 2131), with that option first."""
    fixed = struct.pack(
        "!BBBBIHH4x4s8x6s10x192x", 2, 1, 6, 0, 1, 0, 0, bytes(map(int, address.split("."))), mac_bytes(mac)
    )
    return fixed + bytes.fromhex("63825363") + bytes([option, 1, kind, 54, 4, 198, 51, 100, 2, 255])


def told(
    payload: bytes, *, port: int = 67, fragment: int = 0, to: tuple[str, str] = (BROADCAST, "255.255.255.255")
) -> bytes:
    """The frame by which a server there says it to that card; everybody hears it, or that MAC at that address."""
    packet = bytearray(udp(SERVER, to[1], port, 68, payload))
    packet[6:8] = struct.pack("!H", fragment)
    checksum = sum(struct.unpack("!10H", packet[:10] + b"\0\0" + packet[12:20]))
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    packet[10:12] = struct.pack("!H", ~checksum & 0xFFFF)
    return ethernet(SERVER_MAC, to[0], _IP, bytes(packet))


def says(frame: bytes, port: str = "theirs0p") -> None:
    """A machine on the bridge sends it; of the bridge itself, the host."""
    with bridge_ear(port) as here:
        here.say(frame)


def known(network: HostNetwork) -> set[tuple[str, str]]:
    """What the host believes by now."""
    return {(one.tap, one.address) for one in network.given()}


def test_an_address_is_known_by_the_server_s_own_word(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """Of each card its own, whoever hears it, also of a server on the host; no offer, no refusal, no word of a
    guest's, and nothing that only looks like it. The next daemon knows it as well.
    """
    evil, _ = pair
    first, other = (one.lan for one in shop[1])
    assert first is not None
    assert other is not None
    assert known(network) == set()
    lies = [
        told(answered(first.mac, "198.51.100.60", _OFFER)),
        told(answered(first.mac, "198.51.100.61", _NAK)),
        told(answered(first.mac, "198.51.100.62", option=52)),
        told(answered(first.mac, "0.0.0.0")),
        told(answered("52:54:00:ba:d0:01", "198.51.100.63")),
        told(answered("02:00:00:ba:d0:01", "198.51.100.64")),
        told(answered(first.mac, "198.51.100.65"), port=66),
        told(answered(first.mac, "198.51.100.66"), fragment=_MORE_FRAGMENTS),
        told(answered(first.mac, "198.51.100.67"), fragment=1),
        told(b"\1" + answered(first.mac, "198.51.100.68")[1:]),
        told(answered(first.mac, "198.51.100.69")[:-12]),
    ]
    for lie in lies:
        says(lie)
    evil.send(told(answered(other.mac, "198.51.100.70")))
    says(told(answered(first.mac, "198.51.100.50")))
    says(told(answered(other.mac, "198.51.100.51")), BRIDGE)
    both = {(first.tap, "198.51.100.50"), (other.tap, "198.51.100.51")}
    assert comes_true(lambda: known(network) == both, ARRIVES_S), known(network)
    assert not comes_true(lambda: known(network) != both, 2 * LOOK_S)
    after = HostNetwork(network._connection, SystemClock())
    after.lay(*shop)
    assert known(after) == both
    assert [abs(one.at_s - SystemClock().now_s()) < ARRIVES_S + 60 for one in after.given()] == [True, True]


def test_what_is_sent_to_one_gives_no_other_address(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """A packet that came to an address from anywhere may say anything; and so may one that came here by mistake. Who
    says too much is heard no more for a while, and the other is.
    """
    del pair
    first, other = (one.lan for one in shop[1])
    assert first is not None
    assert other is not None
    says(told(answered(first.mac, "198.51.100.71"), to=("02:00:00:00:00:99", "198.51.100.72")))
    says(told(answered(first.mac, "198.51.100.73"), to=(first.mac, "198.51.100.50")))
    assert comes_true(lambda: known(network) == {(first.tap, "198.51.100.50")}, ARRIVES_S), known(network)
    for last in range(100, 200):
        says(told(answered(first.mac, f"198.51.100.{last}")))
    says(told(answered(other.mac, "198.51.100.51"), to=(other.mac, "198.51.100.51")))
    assert comes_true(lambda: (other.tap, "198.51.100.51") in known(network), ARRIVES_S)
    assert len(known(network)) < 60


def test_whose_card_it_is_is_woken(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """Once for each word of the server's, and nobody whose addresses are written down."""
    service, instances = shop
    woken: list[str] = []
    fixed = dataclasses.replace(
        instances[1].role, network=RoleNetwork(bridge=BRIDGE, addresses=("198.51.100.8/24", "198.51.100.9/24"))
    )
    mixed = [instances[0], dataclasses.replace(instances[1], role=fixed)]
    with ExitStack() as stack:
        there = dataclasses.replace(service, network=dataclasses.replace(service.network, bridge=BRIDGE))
        for each in instances:
            stack.enter_context(StandIn(there, on_bridge(each, "198.51.100.50")).plugged())
        network.lay(service, mixed)
        stack.enter_context(network.watch(lambda name, why: None, lambda name, why: woken.append(f"{name}: {why}")))
        for at, each in enumerate(instances):
            assert each.lan is not None
            says(told(answered(each.lan.mac, f"198.51.100.5{at}")))
        line = "web-0.shop: a DHCP server has given it 198.51.100.50"
        assert comes_true(lambda: line in woken, ARRIVES_S), woken
        assert not comes_true(lambda: woken.count(line) > 1, 3 * LOOK_S)
        assert not any("web-1" in one for one in woken)


def test_a_guest_says_nothing_but_dhcp_before_it_has_an_address(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """Then what is its own, until it has another; the address of another never."""
    service, instances = shop
    one, other = pair
    mark = os.urandom(12)

    def passes(source: str) -> list[bool]:
        nobody = "00:00:00:00:00:00"
        frames = (
            ethernet(one.mac, BROADCAST, _ARP, arp(1, (one.mac, source), (nobody, other.address)) + mark),
            ethernet(one.mac, other.mac, _IP, udp(source, other.address, 4000, 4000, mark)),
        )
        arrived = []
        for frame in frames:
            with other.listening() as ear:
                one.send(frame)
                arrived.append(ear.hears(mark, GAP_S))
        return arrived

    discover = udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(one.mac) + mark)
    with bridge_ear("theirs0p") as ear:
        one.send(ethernet(one.mac, BROADCAST, _IP, discover))
        assert ear.hears(mark, ARRIVES_S)
    fixed = dhcp(one.mac)
    turned = ":".join(one.mac.split(":")[:2] + one.mac.split(":")[:1:-1])
    for odd in (
        b"\2" + fixed[1:],  # an answer
        fixed[:16] + bytes((198, 51, 100, 2)) + fixed[20:],  # that gives an address, which a server might send back
        dhcp(turned),
    ):
        with bridge_ear("theirs0p") as ear:
            one.send(ethernet(one.mac, BROADCAST, _IP, udp("0.0.0.0", "255.255.255.255", 68, 67, odd + mark)))
            assert not ear.hears(mark, GAP_S)
    assert passes("198.51.100.50") == [False, False]
    for own, another in (("198.51.100.50", "198.51.100.60"), ("198.51.100.60", "198.51.100.50")):
        network.lay(service, [dataclasses.replace(instances[0], lan_given=own), instances[1]])
        assert comes_true(lambda own=own: passes(own) == [True, True], ARRIVES_S)  # type: ignore[misc]
        assert passes(another) == [False, False]
    network.lay(service, instances)
    assert passes("198.51.100.60") == [False, False]


@contextlib.contextmanager
def giving(address: str) -> Iterator[None]:
    """A real DHCP server on the stranger's port that has one address to give away."""
    asked = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping", "--pid-file=",
             "--interface=theirs0p", "--bind-interfaces", f"--dhcp-range={address},{address},2m", "--leasefile-ro",
             "--dhcp-authoritative"]  # fmt: skip
    server = subprocess.Popen([*HOST.prefix, *asked], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def test_a_real_server_is_understood(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn], tmp_path: Path
) -> None:
    """As a real client asks it, by broadcast, and anew when it has another address to give."""
    one, _ = pair
    lan = shop[1][0].lan
    assert lan is not None
    script = tmp_path / "udhcpc.sh"
    script.write_text('#!/bin/sh\n[ "$1" = bound ] && echo "$ip"\nexit 0\n')
    script.chmod(0o755)
    client = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "10", "-T", "1", "-s", str(script)]
    HOST.run(["ip", "address", "add", f"{SERVER}/24", "dev", "theirs0p"])
    for address in ("198.51.100.77", "198.51.100.88"):
        with giving(address):
            assert address in one.place.run(client).stdout
        assert comes_true(lambda address=address: (lan.tap, address) in known(network), ARRIVES_S)  # type: ignore[misc]
    assert known(network) == {(lan.tap, "198.51.100.77"), (lan.tap, "198.51.100.88")}


def _forwards(port: str) -> bool:
    return "state forwarding" in HOST.run(["bridge", "link", "show", "dev", port]).stdout
