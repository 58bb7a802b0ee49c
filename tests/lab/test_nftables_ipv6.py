"""Pools in the kernel by IPv6: what those by IPv4 keep, a client outside, members in namespaces behind a bridge."""

from __future__ import annotations

import contextlib
import functools
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.model import Carrier, Endpoint, InstanceName, Member, Mode, PoolName, Standing
from tests.contract.suites.balancer import ONE, ZERO, patiently
from tests.contract.suites.limits import Front, LimitsContract
from tests.contract.suites.network import make_service
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.kernel_pools import DNS, POOL, SPACES, TCP, UDP, WITHIN_S, Begin, Serving, begin, says, woken
from tests.lab.stand_in import StandIn, in_namespace, members_behind, reaches
from tests.world.waiting import comes_true

__all__ = ["begin", "woken"]  # fixtures

NETWORK: Final = "2001:db8:77::"
CLIENT_ADDRESS, NEIGHBOUR, STRANGER = f"{NETWORK}2", f"{NETWORK}3", "2001:db8:99::2"
VIP: Final = f"{NETWORK}20"
GATEWAY: Final = "fd90:1:2:91::1"
DIPS: Final = {ZERO: "fd90:1:2:91::10", ONE: "fd90:1:2:91::11"}
IPV4: Final = {ZERO: "10.91.0.10", ONE: "10.91.0.11"}
TCP6, UDP6 = replace(TCP, vip=VIP), replace(UDP, vip=VIP)


@pytest.fixture
def outside(lab: Lab) -> Iterator[None]:
    """Three addresses of the client's, one of another network."""
    HOST.run(["ip", "address", "add", f"{NETWORK}1/64", "dev", OUTSIDE_LINK, "nodad"])
    HOST.run(["ip", "route", "add", f"{STRANGER}/128", "dev", OUTSIDE_LINK])
    for address in (CLIENT_ADDRESS, NEIGHBOUR, STRANGER):
        CLIENT.run(["ip", "address", "add", f"{address}/64", "dev", "up0", "nodad"])
    yield
    for address in (CLIENT_ADDRESS, NEIGHBOUR, STRANGER):
        CLIENT.run(["ip", "address", "del", f"{address}/64", "dev", "up0"])
    HOST.run(["ip", "route", "del", f"{STRANGER}/128", "dev", OUTSIDE_LINK])
    HOST.run(["ip", "address", "del", f"{NETWORK}1/64", "dev", OUTSIDE_LINK])


@pytest.fixture
def wire(outside: None) -> Iterator[None]:
    """The VIP, a bridge, and a namespace for each member."""
    HOST.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    with members_behind(VIP, GATEWAY, {space: DIPS[name] for name, space in SPACES.items()}):
        yield


@pytest.fixture
def members(wire: None) -> Iterator[dict[InstanceName, Serving]]:
    """Both members serve."""
    with Serving(ZERO, here="::") as zero, Serving(ONE, here="::") as one:
        yield {ZERO: zero, ONE: one}


def member(name: InstanceName, *pools: PoolName) -> Member:
    """A member of both endpoints."""
    ports = {POOL: 8080, DNS: 5353}
    served = tuple((pool, ports[pool]) for pool in pools or (POOL, DNS))
    return Member(name=name, address=IPV4[name], pools=served, address6=DIPS[name])


def connect(space: str = CLIENT_NAMESPACE, source: str = CLIENT_ADDRESS, port: int = 80) -> socket.socket:
    """A TCP connection to the VIP."""
    origin = (source, 0) if space == CLIENT_NAMESPACE else None
    return in_namespace(space, lambda: socket.create_connection((VIP, port), timeout=5, source_address=origin))


def ask(space: str = CLIENT_NAMESPACE, source: str = CLIENT_ADDRESS) -> str:
    """Who answers a new TCP connection, and whom it sees; "refused" when nobody does."""
    try:
        with connect(space, source) as talk:
            return says(talk).rpartition(" ")[0]
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silence"


def conversation(space: str = CLIENT_NAMESPACE) -> socket.socket:
    """A UDP socket to the VIP."""

    def make() -> socket.socket:
        fresh = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        fresh.settimeout(5)
        if space == CLIENT_NAMESPACE:
            fresh.bind((CLIENT_ADDRESS, 0))
        fresh.connect((VIP, 53))
        return fresh

    return in_namespace(space, make)


def asked(talk: socket.socket) -> str:
    """Who answers a datagram, and whom it sees."""
    try:
        talk.send(b"x")
        return talk.recv(100).decode().rpartition(" ")[0]
    except ConnectionRefusedError:
        return "refused"


def ask_udp(space: str = CLIENT_NAMESPACE) -> str:
    """The same, of a new socket."""
    with conversation(space) as talk:
        return asked(talk)


BOTH: Final = {f"web-0 {CLIENT_ADDRESS}", f"web-1 {CLIENT_ADDRESS}"}


class TestLimits(LimitsContract):
    """What every balancer keeps that carries connections; to whom the network belongs, all its addresses do."""

    @pytest.fixture
    def front(self, begin: Begin) -> Iterator[Front]:
        """Clients are outside, in two networks."""
        balancer = begin()
        with Serving(ZERO, here="::"):
            addresses = CLIENT_ADDRESS, STRANGER
            yield Front(
                balancer,
                TCP6,
                lambda: balancer.join(member(ZERO, POOL)),
                lambda client: connect(source=addresses[client]),
                addresses,
            )


@pytest.mark.usefixtures("members")
def test_members_see_the_client_and_an_empty_pool_refuses(begin: Begin) -> None:
    """By TCP and UDP: refused at once without a member, then both in turn, and each sees the client's own address."""
    balancer = begin()
    balancer.shape([TCP6, UDP6])
    assert (ask(), ask_udp()) == ("refused", "refused")
    balancer.join(member(ZERO))
    assert {ask() for _ in range(4)} == {ask_udp() for _ in range(4)} == {f"web-0 {CLIENT_ADDRESS}"}
    balancer.join(member(ONE))
    assert {ask() for _ in range(8)} == {ask_udp() for _ in range(8)} == BOTH
    for name in (ZERO, ONE):
        patiently(lambda name=name: balancer.leave(name))
    assert (ask(), ask_udp()) == ("refused", "refused")
    assert balancer.seats() == {}


@pytest.mark.usefixtures("members")
def test_a_drain_keeps_what_is_open_and_leaving_tells_its_client(begin: Begin) -> None:
    """New connections go to the other; open ones are counted, go on, and are reset when the member leaves."""
    balancer = begin()
    balancer.shape([TCP6, UDP6])
    balancer.join(member(ZERO))
    with connect() as talk, conversation() as datagrams:
        assert says(talk) == f"web-0 {CLIENT_ADDRESS} x"
        assert asked(datagrams) == f"web-0 {CLIENT_ADDRESS}"
        balancer.join(member(ONE))
        balancer.drain(ZERO)
        assert {ask() for _ in range(6)} == {f"web-1 {CLIENT_ADDRESS}"}
        assert asked(datagrams) == f"web-0 {CLIENT_ADDRESS}"
        seat = balancer.seat(ZERO)
        assert seat is not None
        assert (seat.standing, seat.connections) == (Standing.DRAINING, 2)
        assert balancer.traffic([POOL])[POOL].members[ZERO].open == 1
        assert says(talk, "y") == f"web-0 {CLIENT_ADDRESS} y"
        balancer.leave(ZERO)
        assert balancer.seat(ZERO) is None
        assert asked(datagrams) == f"web-1 {CLIENT_ADDRESS}"
        # Its kernel may be told before it writes: by a late acknowledgement of what it had read.
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            talk.sendall(b"z")
            talk.recv(100)


@pytest.mark.usefixtures("members")
def test_members_and_host_reach_the_vip_as_well(begin: Begin) -> None:
    """A member is answered also when it is itself who answers; so is the host."""
    balancer = begin()
    balancer.shape([TCP6, UDP6])
    balancer.join(member(ZERO))
    assert comes_true(lambda: ask(SPACES[ZERO]).startswith("web-0"), WITHIN_S), (
        "a member that is alone does not answer itself"
    )
    balancer.join(member(ONE))
    for space in (*SPACES.values(), ""):
        assert {ask(space).split(" ")[0] for _ in range(6)} == {"web-0", "web-1"}
        assert {ask_udp(space).split(" ")[0] for _ in range(6)} == {"web-0", "web-1"}


@pytest.mark.usefixtures("members")
def test_a_client_keeps_its_member(begin: Begin) -> None:
    """By its address; its own drains and it moves."""
    balancer = begin()
    balancer.shape([replace(TCP6, affinity_s=60.0)])
    balancer.join(member(ZERO, POOL))
    balancer.join(member(ONE, POOL))
    (first,) = {ask() for _ in range(8)}
    balancer.drain(ZERO if first.startswith("web-0") else ONE)
    assert {ask() for _ in range(4)} == BOTH - {first}


def test_who_is_sick_gets_nothing_new_and_is_told(
    begin: Begin, members: dict[InstanceName, Serving], woken: list[str]
) -> None:
    """Asked at the address to which its clients are sent."""
    balancer = begin()
    balancer.shape([TCP6])
    for name in (ZERO, ONE):
        balancer.join(member(name, POOL))
    assert comes_true(lambda: all(seat.checked for seat in balancer.seats().values()), WITHIN_S)
    members[ZERO].stop()
    assert comes_true(lambda: balancer.seats()[ZERO].standing is Standing.DOWN, WITHIN_S)
    assert comes_true(lambda: ZERO in woken, WITHIN_S)  # Said after the seats show it.
    assert {ask() for _ in range(6)} == {f"web-1 {CLIENT_ADDRESS}"}


@pytest.mark.usefixtures("members")
def test_who_has_no_address_of_ipv6_yet_has_no_seat_behind_it(begin: Begin) -> None:
    """And comes to have one as soon as it has that, without another turn of anybody else."""
    balancer = begin()
    balancer.shape([TCP6])
    balancer.join(replace(member(ZERO, POOL), address6=""))
    seat = balancer.seat(ZERO)
    assert seat is not None
    assert seat.pools == ()
    assert ask() == "refused"
    balancer.join(member(ZERO, POOL))
    assert balancer.seats()[ZERO].pools == (POOL,)
    assert ask() == f"web-0 {CLIENT_ADDRESS}"


@pytest.mark.usefixtures("members")
@pytest.mark.parametrize(
    "harm", ["flush ruleset", "delete table ip6 vmrole_pools", "flush map ip6 vmrole_pools pools"]
)
def test_a_table_that_somebody_took_away_or_changed_is_laid_again(begin: Begin, harm: str) -> None:
    """At once, as that of IPv4."""
    balancer = begin()
    balancer.shape([TCP6])
    balancer.join(member(ZERO, POOL))
    assert ask() == f"web-0 {CLIENT_ADDRESS}"
    HOST.run(["nft", harm])
    assert comes_true(lambda: ask() == f"web-0 {CLIENT_ADDRESS}", WITHIN_S)
    assert balancer.faults() == ()


@pytest.mark.usefixtures("members")
def test_a_pool_moves_from_one_family_to_the_other_with_what_is_open(begin: Begin) -> None:
    """New clients come by the VIP of IPv6, and what was begun by IPv4 goes on until it is cut."""
    balancer = begin()
    with contextlib.ExitStack() as undo:
        for space, address in ((SPACES[ZERO], IPV4[ZERO]), (SPACES[ONE], IPV4[ONE])):
            HOST.run(["ip", "-n", space, "address", "add", f"{address}/24", "dev", "eth0"])
            HOST.run(["ip", "-n", space, "route", "add", "default", "via", "10.91.0.1"])
        HOST.run(["ip", "address", "add", "10.91.0.1/24", "dev", "pb0"])
        HOST.run(["ip", "address", "add", f"{TCP.vip}/32", "dev", OUTSIDE_LINK])
        undo.callback(HOST.run, ["ip", "address", "del", f"{TCP.vip}/32", "dev", OUTSIDE_LINK])
        balancer.shape([TCP])
        balancer.join(member(ZERO, POOL))
        old = functools.partial(socket.create_connection, (TCP.vip, 80), timeout=5)
        with in_namespace(CLIENT_NAMESPACE, old) as talk:
            assert says(talk).startswith("web-0 ::ffff:203.0.113.2")
            balancer.shape([TCP6])
            assert ask() == f"web-0 {CLIENT_ADDRESS}"
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
    shop, (web,) = make_service("shop", VIP, 1, ipv6=True)
    shop = replace(shop, spec=replace(shop.spec, roles=(replace(shop.spec.roles[0], endpoints=ends),)))
    blog, (guest,) = make_service("blog", f"{NETWORK}21", 1, [shop], ipv6=True)
    network.lay(shop, [web])
    network.lay(blog, [guest])
    vips = VipAddresses(OUTSIDE_LINK, SystemClock())
    assert vips.hold({VIP, blog.spec.vip}).refused == {}
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
        Serving(ZERO, here="::"),
    ):
        balancer.shape([TCP6, UDP6])
        spaces = {CLIENT_NAMESPACE: CLIENT_ADDRESS, other.namespace: other.address6}
        for space in spaces:
            assert (ask(space), ask_udp(space)) == ("refused", "refused")
        web = replace(member(ZERO), address6=inside.address6)
        balancer.join(web)
        for space, sees in spaces.items():
            assert (ask(space), ask_udp(space)) == (f"web-0 {sees}", f"web-0 {sees}")
        assert ask("").startswith("web-0 ")
        assert comes_true(lambda: ask(inside.namespace) == f"web-0 {inside.gateway6}", WITHIN_S)
        assert not reaches(CLIENT_NAMESPACE, inside.address6, 8080)
        assert not other.reaches(inside.address6, 8080)
        assert not inside.reaches(CLIENT_ADDRESS, 80)
        with conversation() as words, in_namespace(CLIENT_NAMESPACE, _sniffer) as ear:
            assert comes_true(lambda: tell(ear, words, inside), WITHIN_S), "the member hears no router"
        with connect() as talk:
            assert says(talk)
            balancer.leave(ZERO)
            assert says(talk) == ""
        balancer.join(replace(web, pools=((DNS, 5354),)))
        assert ask_udp() == "refused"  # The member's word, for nobody listens there.
        balancer.shape([])


def _sniffer() -> socket.socket:
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD))
    ear.bind(("up0", 0x86DD))
    ear.settimeout(0.2)
    return ear


def tell(ear: socket.socket, words: socket.socket, guest: StandIn) -> bool:
    """Tells the VIP that a datagram of its was too large; whether the guest goes by it."""
    asked(words)
    with contextlib.suppress(TimeoutError):
        while True:
            packet = ear.recv(2048)
            if packet[6] == socket.IPPROTO_UDP and packet[8:24] == socket.inet_pton(socket.AF_INET6, VIP):
                break
        raw = functools.partial(socket.socket, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        with in_namespace(CLIENT_NAMESPACE, raw) as router:
            router.sendto(too_large(packet, 1280), (VIP, 0))
    route = HOST.run(["ip", "-6", "-n", guest.namespace, "route", "get", CLIENT_ADDRESS]).stdout
    return "mtu 1280" in route


@contextlib.contextmanager
def in_space(name: InstanceName, space: str) -> Iterator[None]:
    """The member is in that namespace."""
    before, SPACES[name] = SPACES[name], space
    try:
        yield
    finally:
        SPACES[name] = before
