"""Pools in the kernel by IPv6: what there is beside what those by IPv4 keep as well, whose tests run by either."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.model import Carrier, Endpoint, InstanceName, Mode
from tests.contract.suites.balancer import ZERO
from tests.contract.suites.network import make_service
from tests.lab.harness.places import CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.kernel_pools import (
    DNS,
    IPV6,
    NETWORK6,
    POOL,
    SPACES,
    TCP,
    WITHIN_S,
    Begin,
    Serving,
    begin,
    by_ipv6,
    members,
    outside,
    says,
    wire,
    woken,
)
from tests.lab.stand_in import StandIn, in_namespace, reaches
from tests.world.waiting import comes_true

__all__ = ["begin", "members", "outside", "wire", "woken"]  # fixtures


@by_ipv6
@pytest.mark.usefixtures("members", "ways")
def test_who_has_no_address_of_ipv6_yet_has_no_seat_behind_it(begin: Begin) -> None:
    """And comes to have one as soon as it has that, without another turn of anybody else."""
    balancer = begin()
    balancer.shape([IPV6.tcp])
    balancer.join(replace(IPV6.member(ZERO, POOL), address6=""))
    seat = balancer.seat(ZERO)
    assert seat is not None
    assert seat.pools == ()
    assert IPV6.ask() == "refused"
    balancer.join(IPV6.member(ZERO, POOL))
    assert balancer.seats()[ZERO].pools == (POOL,)
    assert IPV6.ask() == f"web-0 {IPV6.client}"


@by_ipv6
@pytest.mark.usefixtures("members", "ways")
def test_a_pool_moves_from_one_family_to_the_other_with_what_is_open(begin: Begin) -> None:
    """New clients come by the VIP of IPv6, and what was begun by IPv4 goes on until it is cut."""
    balancer = begin()
    with contextlib.ExitStack() as undo:
        HOST.run(["ip", "address", "add", f"{TCP.vip}/32", "dev", OUTSIDE_LINK])
        undo.callback(HOST.run, ["ip", "address", "del", f"{TCP.vip}/32", "dev", OUTSIDE_LINK])
        balancer.shape([TCP])
        balancer.join(IPV6.member(ZERO, POOL))
        old = functools.partial(socket.create_connection, (TCP.vip, 80), timeout=5)
        with in_namespace(CLIENT_NAMESPACE, old) as talk:
            assert says(talk).startswith("web-0 ::ffff:203.0.113.2")
            balancer.shape([IPV6.tcp])
            assert IPV6.ask() == f"web-0 {IPV6.client}"
            assert says(talk, "y").endswith(" y")
            assert balancer.seats()[ZERO].connections >= 1
            with pytest.raises(ConnectionRefusedError):
                in_namespace(CLIENT_NAMESPACE, old)
            balancer.leave(ZERO)
            assert says(talk, "z") == ""


def too_large(packet: bytes, size: int) -> bytes:
    """A router's word that this packet is, and how large one may be (RFC 4443 section 3.2); without its checksum."""
    return struct.pack("!BBHI", 2, 0, 0, size) + packet[: 1280 - 48]


@contextlib.contextmanager
def serves(network: HostNetwork) -> Iterator[tuple[StandIn, StandIn]]:
    """A service of an IPv6 VIP and another one, laid, a guest of each that has its address; the VIP is held."""
    ends = (
        Endpoint(name="tcp", port=80, target=8080, balancer=Carrier.NFTABLES),
        Endpoint(name="dns", port=53, target=5353, mode=Mode.UDP, balancer=Carrier.NFTABLES),
    )
    shop, (web,) = make_service("shop", IPV6.vip, 1, ipv6=True)
    shop = replace(shop, spec=replace(shop.spec, roles=(replace(shop.spec.roles[0], endpoints=ends),)))
    blog, (guest,) = make_service("blog", f"{NETWORK6}21", 1, [shop], ipv6=True)
    network.lay(shop, [web])
    network.lay(blog, [guest])
    vips = VipAddresses(OUTSIDE_LINK, SystemClock())
    assert vips.hold({IPV6.vip, blog.spec.vip}).refused == {}
    try:
        with StandIn(shop, web).plugged() as inside, StandIn(blog, guest).plugged() as other:
            for one in (inside, other):
                assert comes_true(lambda one=one: has_ipv6(one), WITHIN_S)
            yield inside, other
    finally:
        vips.hold(())


def has_ipv6(guest: StandIn) -> bool:
    """Whether it has the instance's address and a way out."""
    shown = HOST.run(["ip", "-6", "-n", guest.namespace, "address", "show", "dev", "eth0", "-tentative"]).stdout
    route = HOST.run(["ip", "-6", "-n", guest.namespace, "route", "show", "default"]).stdout
    return guest.address6 in shown and bool(route)


@pytest.mark.usefixtures("outside")
def test_a_service_s_firewall_lets_its_endpoints_through_and_nothing_else(
    network: HostNetwork, tmp_path: Path
) -> None:
    """By the VIP a client, another service's guest, the member itself and the host reach it; its DIP stays closed.

    What a router says of packets on their way to a client reaches the member, too.
    """
    with (
        serves(network) as (inside, other),
        NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()) as balancer,
        in_space(ZERO, inside.namespace),
        Serving(ZERO, here=IPV6.here),
    ):
        balancer.shape([IPV6.tcp, IPV6.udp])
        spaces = {CLIENT_NAMESPACE: IPV6.client, other.namespace: other.address6}
        for space in spaces:
            assert (IPV6.ask(space), IPV6.ask_udp(space)) == ("refused", "refused")
        web = replace(IPV6.member(ZERO), address6=inside.address6)
        balancer.join(web)
        for space, sees in spaces.items():
            assert (IPV6.ask(space), IPV6.ask_udp(space)) == (f"web-0 {sees}", f"web-0 {sees}")
        assert IPV6.ask("").startswith("web-0 ")
        assert comes_true(lambda: IPV6.ask(inside.namespace) == f"web-0 {inside.gateway6}", WITHIN_S)
        assert not reaches(CLIENT_NAMESPACE, inside.address6, 8080)
        assert not other.reaches(inside.address6, 8080)
        assert not inside.reaches(IPV6.client, 80)
        with IPV6.conversation() as words, in_namespace(CLIENT_NAMESPACE, _sniffer) as ear:
            assert comes_true(lambda: tell(ear, words, inside), WITHIN_S), "the member hears no router"
        with IPV6.connect() as talk:
            assert says(talk)
            balancer.leave(ZERO)
            assert says(talk) == ""
        balancer.join(replace(web, pools=((DNS, 5354),)))
        assert IPV6.ask_udp() == "refused"  # The member's word, for nobody listens there.
        balancer.shape([])


def _sniffer() -> socket.socket:
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
    ear.bind(("up0", 0x86DD))
    ear.settimeout(0.2)
    return ear


def tell(ear: socket.socket, words: socket.socket, guest: StandIn) -> bool:
    """Tells the VIP that a datagram of its was too large; whether the guest goes by it."""
    IPV6.ask_udp(talk=words)
    with contextlib.suppress(TimeoutError):
        while True:
            packet = ear.recv(2048)
            if packet[6] == socket.IPPROTO_UDP and packet[8:24] == socket.inet_pton(socket.AF_INET6, IPV6.vip):
                break
        raw = functools.partial(socket.socket, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with in_namespace(CLIENT_NAMESPACE, raw) as router:
            router.sendto(too_large(packet, 1280), (IPV6.vip, 0))
    route = HOST.run(["ip", "-6", "-n", guest.namespace, "route", "get", IPV6.client]).stdout
    return "mtu 1280" in route


@contextlib.contextmanager
def in_space(name: InstanceName, space: str) -> Iterator[None]:
    """The member is in that namespace."""
    before, SPACES[name] = SPACES[name], space
    try:
        yield
    finally:
        SPACES[name] = before
