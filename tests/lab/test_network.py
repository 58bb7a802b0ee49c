"""The Network port on real libvirt, dnsmasq and nftables; guests are stand-ins that send what a VM could send."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network import connection_limits, tables
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import REFUSED_FOR_S, VipAddresses
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.drivers.tools.ruleset_watch import ruleset_watch
from orchestrator.errors import Foreign, Transient
from orchestrator.model import Instance, Notice, Part, Service, instance_name
from orchestrator.ports import Held, Network
from orchestrator.rules import addressing
from tests.contract.suites.network import Leads, NetworkContract, make_service
from tests.contract.suites.vips import VipsContract
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, CLIENT_ADDRESS, CLIENT_NAMESPACE, HOST, HOST_ADDRESS, OUTSIDE_LINK
from tests.lab.pretending import GAP_S, STRANGER, VIP, attacks, passed
from tests.lab.stand_in import (
    ARRIVES_S,
    BROADCAST,
    StandIn,
    addresses,
    answering_udp,
    arp,
    asks,
    dhcp,
    echoes_udp,
    ethernet,
    in_namespace,
    reaches,
    serving,
    udp,
)
from tests.world.waiting import comes_true, until

LAID_AGAIN_S = 60.0
_FULL = "too many connections of a guest"
_UDP_STAYS = Path("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
_ARP, _IP, _IPV6, _VLAN, _QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8


@pytest.fixture
def vips(lab: Lab) -> Iterator[VipAddresses]:
    """The host's addresses for services; none is left after the test."""
    addresses = VipAddresses(OUTSIDE_LINK, SystemClock())
    yield addresses
    addresses.hold(())


class TestHostNetwork(NetworkContract):
    """What every Network does, done by the real one."""

    def again(self, network: Network) -> Network:
        """One that asks libvirt and the tables."""
        assert isinstance(network, HostNetwork)
        return HostNetwork(network._connection, SystemClock())

    @pytest.fixture
    def leads(self) -> Leads:
        """As the service's name server says."""
        return lambda service, role: set(addresses("", role, service.network.gateway))


class TestVipAddresses(VipsContract):
    """What every holder of VIPs does, done by the real one."""


# Guards -------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(network: HostNetwork, vips: VipAddresses) -> tuple[Service, list[Instance]]:
    """A service with two instances, laid, and its VIP held."""
    service, instances = make_service("shop", VIP, 2)
    network.lay(service, instances)
    vips.hold({VIP})
    return service, instances


@pytest.fixture
def pair(shop: tuple[Service, list[Instance]]) -> Iterator[tuple[StandIn, StandIn]]:
    """Stand-ins for both instances."""
    service, instances = shop
    with StandIn(service, instances[0]).plugged() as one, StandIn(service, instances[1]).plugged() as other:
        yield one, other


def test_a_guest_cannot_pretend(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """No frame that lies about its sender, plays server or router, or is neither ARP nor IPv4 leaves a guest.

    The same frames pass when the guard is away, and are dropped again after the next lay.
    """
    evil, victim = pair
    bridge = shop[0].network.bridge
    assert passed(evil, victim, bridge) == set()
    drops = network.drops()
    for reason in (
        "another MAC",
        "another address",
        "ARP for another address",
        "a DHCP server",
        "DHCP for another card",
        "a VLAN tag",
    ):
        assert drops[reason] > 0, drops
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    assert passed(evil, victim, bridge) == set(attacks(evil, victim))
    network.lay(*shop)
    assert passed(evil, victim, bridge) == set()


def test_a_guest_can_say_what_is_true(shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]) -> None:
    """Its own ARP, its probe, its DHCP request and its own packets leave a guest."""
    one, other = pair
    mark = os.urandom(12)
    nobody = "00:00:00:00:00:00"
    for frame in (
        ethernet(one.mac, BROADCAST, _ARP, arp(1, (one.mac, one.address), (nobody, other.address)) + mark),
        ethernet(one.mac, other.mac, _ARP, arp(2, (one.mac, one.address), (other.mac, other.address)) + mark),
        ethernet(one.mac, BROADCAST, _ARP, arp(1, (one.mac, "0.0.0.0"), (nobody, one.address)) + mark),
        ethernet(one.mac, BROADCAST, _IP, udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(one.mac) + mark)),
        ethernet(one.mac, BROADCAST, _IP, udp(one.address, one.gateway, 68, 67, dhcp(one.mac) + mark)),
        ethernet(one.mac, other.mac, _IP, udp(one.address, other.address, 4000, 4000, mark)),
    ):
        with other.listening() as ear:
            one.send(frame)
            assert ear.hears(mark, ARRIVES_S), frame.hex()


@pytest.mark.parametrize("last", ["00", "02", "03", "0e"])
def test_the_bridge_learns_no_false_place(
    shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn], last: str
) -> None:
    """A frame to the bridge itself (01:80:c2:00:00:xx) cannot draw the victim's traffic to the attacker."""
    evil, _ = pair
    bridge = shop[0].network.bridge
    lie = ethernet(STRANGER, f"01:80:c2:00:00:{last}", 0x88CC, bytes(46))

    def learned() -> bool:
        return STRANGER in HOST.run(["bridge", "fdb", "show", "br", bridge]).stdout

    evil.send(lie)
    assert not comes_true(learned, GAP_S)
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    evil.send(lie)
    assert comes_true(learned, ARRIVES_S)


def test_a_stranger_on_the_bridge_is_not_heard(
    shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """A tap with our prefix that no record knows may say nothing at all."""
    service, _ = shop
    _, unknown = make_service("shop", VIP, 3)
    with StandIn(service, unknown[2]).plugged() as stranger:
        stranger.configure()
        pair[0].configure()
        with serving(pair[0].namespace, 8080):
            assert not stranger.reaches(pair[0].address, 8080)


# DHCP and names -----------------------------------------------------------------------------------------------


def lease(guest: StandIn, tmp_path: Path, *extra: str) -> str:
    """The address that a real DHCP client gets in the guest's place; "" when nobody answers."""
    script = tmp_path / "udhcpc.sh"
    script.write_text(
        '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $router $dns $hostname $domain" >' + f"{tmp_path}/lease\n"
    )
    script.chmod(0o700)
    (tmp_path / "lease").unlink(missing_ok=True)
    command = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1", "-s", str(script), *extra]
    guest.place.run(command, check=False)
    return (tmp_path / "lease").read_text().strip() if (tmp_path / "lease").exists() else ""


def test_an_instance_gets_its_own_address_and_name(pair: tuple[StandIn, StandIn], tmp_path: Path) -> None:
    """DHCP gives the recorded address, gateway, name server and name, whatever name the guest asks for."""
    one, other = pair
    assert lease(one, tmp_path) == f"{one.address} {one.gateway} {one.gateway} web-0 shop"
    assert lease(other, tmp_path, "-x", "hostname:web-0") == f"{other.address} {one.gateway} {one.gateway} web-1 shop"
    one.configure()
    assert one.asks("web-0") == one.asks("web-0.shop") == one.address


def test_guests_with_one_machine_id_have_a_lease_each(
    lab: Lab, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn], tmp_path: Path
) -> None:
    """What a client makes of its machine-id says nothing: copies of one image may all have the same."""
    same = "-x", "0x3d:ff5df8ee5b0002000000ab11e77a53d2a5d7b2"
    for _ in range(2):
        for guest in pair:
            assert lease(guest, tmp_path, *same).startswith(f"{guest.address} ")
    leases = lab.virsh("net-dhcp-leases", shop[0].network.name)
    for guest in pair:
        assert f"{guest.mac}" in leases
        assert f"{guest.address}/24" in leases


def test_a_network_from_before_learns_what_is_new_and_goes_on(
    lab: Lab, network: HostNetwork, shop: tuple[Service, list[Instance]]
) -> None:
    """One that was defined without our options for dnsmasq gets them for its next start and is not stopped now."""
    service, _ = shop
    name, bridge = service.network.name, service.network.bridge
    options = "dhcp-ignore-clid"
    old = lab.virsh("net-dumpxml", name, "--inactive")
    assert options in old
    file = lab.root / "old.xml"
    file.write_text("\n".join(line for line in old.splitlines() if "dnsmasq:" not in line))
    lab.virsh("net-define", str(file))
    file.unlink()
    assert options not in lab.virsh("net-dumpxml", name, "--inactive")
    before = state(bridge)
    network.lay(*shop)
    assert state(bridge) == before
    assert lab.virsh("net-dumpxml", name, "--inactive") == old
    network.lay(*shop)
    assert state(bridge) == before


def test_a_guest_that_is_not_answered_is_told_of(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn], tmp_path: Path
) -> None:
    """A firewall of the host drops its requests, whether it had a lease or not: the ledger says so, of it alone."""
    service, instances = shop
    chain = "add chain ip theirs in { type filter hook input priority 0; }"
    for guest, index in ((pair[0], 0), (pair[1], 1)):
        assert index == 0 or lease(guest, tmp_path)
        time.sleep(3.0 * index)  # Leases are told in whole seconds.
        HOST.run(["nft", f"add table ip theirs; {chain}; add rule ip theirs in udp dport 67 drop"])
        assert lease(guest, tmp_path) == ""
        told: list[Notice] = []
        assert comes_true(lambda: told.extend(network.lay(service, instances)) or told != [], 60.0)  # noqa: B023 - at once
        assert [(one.subject, "by DHCP, and no request" in one.message) for one in told] == [
            (instances[index].name, True)
        ]
        assert network.lay(service, instances) == ()
        HOST.run(["nft", "delete", "table", "ip", "theirs"])
        assert lease(guest, tmp_path)
        assert network.lay(service, instances) == ()


def test_a_dip_that_changes_hands_is_leased_to_the_next(
    network: HostNetwork, shop: tuple[Service, list[Instance]], tmp_path: Path
) -> None:
    """An instance that gets the address of one that has just gone, and that never released it, gets it at once."""
    service, (before, *_) = shop
    name = instance_name("shop", "api", 0)
    nic = addressing.allocate_nic(service.network, [], name)
    assert nic.address == before.nic.address
    after = dataclasses.replace(before, name=name, role_name="api", nic=nic)
    with StandIn(service, before).plugged() as guest:
        assert lease(guest, tmp_path).startswith(nic.address)
    network.lay(service, [after])
    with StandIn(service, after).plugged() as guest:
        assert lease(guest, tmp_path).startswith(nic.address)


def test_instances_find_each_other(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """`web-1` and `web-1.shop` resolve within the service, at once after a change, and nowhere else."""
    service, instances = shop
    one, other = pair
    one.configure()
    for name in ("web-1", "web-1.shop"):
        assert one.asks(name) == other.address
    network.lay(service, instances[:1])
    assert comes_true(lambda: one.asks("web-1") == "", 60.0)
    assert one.asks("web-0.shop") == one.address
    network.lay(service, instances)
    assert comes_true(lambda: one.asks("web-1") == other.address, 60.0)
    assert asks(CLIENT_NAMESPACE, "web-1.shop", one.gateway) == ""


def test_a_dnsmasq_that_died_is_brought_back(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn], tmp_path: Path
) -> None:
    """The next lay has libvirt start it again, with everything that it knew."""
    one, other = pair
    os.kill(int(Path("/run/libvirt/network/vmrole-shop.pid").read_text()), signal.SIGKILL)
    one.configure()
    assert comes_true(lambda: one.asks("web-1") == "", 60.0)
    network.lay(*shop)
    assert comes_true(lambda: one.asks("web-1") == other.address, 60.0)
    assert lease(other, tmp_path).startswith(other.address)


def test_what_a_vanished_service_left_is_taken_over(network: HostNetwork) -> None:
    """A service that gets the range and the VIP of one whose record is lost works, and lifting it leaves nothing."""
    lost, _ = make_service("lost", VIP, 1)
    network.lay(lost, [])
    HOST.run(["virsh", "net-destroy", lost.network.name])
    HOST.run(["virsh", "net-undefine", lost.network.name])
    service, instances = make_service("shop", VIP, 1)
    assert service.network.subnet == lost.network.subnet
    network.lay(service, instances)
    rules = HOST.run(["nft", "list", "set", "inet", "vmrole", "subnets"]).stdout
    assert '"shop"' in rules
    assert '"lost"' not in rules
    network.lift(service)
    network.lift(lost)
    assert network.inventory() == frozenset()
    assert "vmrole" not in HOST.run(["nft", "list", "tables"]).stdout  # libvirt has tables of its own.


def test_an_unknown_card_gets_no_address(network: HostNetwork, tmp_path: Path) -> None:
    """There is no range from which a stranger is served, with the guard away as well."""
    service, instances = make_service("shop", VIP, 2)
    network.lay(service, instances[:1])
    HOST.run(["nft", "delete", "table", "bridge", "vmrole"])
    with StandIn(service, instances[0]).plugged() as known, StandIn(service, instances[1]).plugged() as unknown:
        assert lease(unknown, tmp_path) == ""
        assert lease(known, tmp_path).startswith(known.address)


# Who reaches whom ---------------------------------------------------------------------------------------------


def test_only_the_host_and_the_service_reach_a_dip(network: HostNetwork) -> None:
    """Outside and other services cannot open a connection to a DIP; the host and the same service can."""
    shop, shops = make_service("shop", VIP, 2)
    blog, blogs = make_service("blog", "203.0.113.11", 1, [shop])
    network.lay(shop, shops)
    network.lay(blog, blogs)
    with contextlib.ExitStack() as stack:
        one, friend = (stack.enter_context(StandIn(shop, each).plugged()) for each in shops)
        other = stack.enter_context(StandIn(blog, blogs[0]).plugged())
        for guest in (one, friend, other):
            guest.configure()
        stack.enter_context(serving(one.namespace, 8080))
        assert friend.reaches(one.address, 8080)
        assert HOST.run(["busybox", "nc", "-w", "2", one.address, "8080"], text="", check=False).returncode == 0
        assert not reaches(CLIENT_NAMESPACE, one.address, 8080)
        assert not other.reaches(one.address, 8080)
        assert not asks(CLIENT_NAMESPACE, "web-0.shop", one.gateway)
        assert not other.asks("web-0.shop", one.gateway)
        HOST.run(["nft", "delete", "table", "inet", "vmrole"])
        assert reaches(CLIENT_NAMESPACE, one.address, 8080)
        assert other.reaches(one.address, 8080)


def test_a_guest_reaches_outside_behind_the_host_and_little_of_the_host(pair: tuple[StandIn, StandIn]) -> None:
    """Outside sees the host's address; of the host a guest reaches DNS, an echo and the endpoints of VIPs."""
    guest, _ = pair
    guest.configure()
    with serving(CLIENT_NAMESPACE, 8080) as callers:
        assert guest.reaches(CLIENT_ADDRESS, 8080)
        # A connection may wait to be accepted.
        assert comes_true(lambda: callers == [HOST_ADDRESS], ARRIVES_S), callers
    with serving("", 2222), serving("", 80, VIP):
        assert guest.reaches(VIP, 80)
        for address in (guest.gateway, HOST_ADDRESS, VIP):
            assert not guest.reaches(address, 2222)
    assert guest.asks("web-0") == guest.address
    assert guest.place.run(["busybox", "ping", "-c1", "-W1", guest.gateway], check=False).returncode == 0
    assert guest.place.run(["busybox", "ping", "-c1", "-W1", HOST_ADDRESS], check=False).returncode == 1


def told_of(network: HostNetwork, service: Service, instances: list[Instance]) -> list[str]:
    """Whom the next lay with anything for the ledger tells of."""
    told: list[Notice] = []
    assert comes_true(lambda: bool(told.extend(network.lay(service, instances)) or told), ARRIVES_S)
    return [one.subject for one in told]


def test_a_guest_fills_no_table_of_the_host(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """More connections than a limit are not opened, which the ledger tells once; nobody else notices."""
    service, instances = shop
    noisy, other = pair
    noisy.configure()
    other.configure()
    bridge = json.loads(HOST.run(["ip", "-j", "link", "show", service.network.bridge]).stdout)[0]["address"]
    noisy.send(
        *(
            ethernet(noisy.mac, bridge, _IP, udp(noisy.address, CLIENT_ADDRESS, 10_000 + number % 50_000, 99, b""))
            for number in range(connection_limits.FLOWS_MAX + 500)
        )
    )
    drops = network.drops()
    assert drops[_FULL] >= 1
    assert drops[_FULL] + drops[f"{_FULL}, again"] >= 400
    with serving(CLIENT_NAMESPACE, 8080):
        assert not noisy.reaches(CLIENT_ADDRESS, 8080)
        assert other.reaches(CLIENT_ADDRESS, 8080)
    assert told_of(network, service, instances) == [instances[0].name]
    assert network.lay(service, instances) == ()


@pytest.fixture
def udp_stays(lab: Lab) -> Iterator[Callable[[int], object]]:
    """Says for how many seconds the host knows of UDP that passes from now on; as it was, in the end."""
    before = _UDP_STAYS.read_text()
    yield lambda seconds: _UDP_STAYS.write_text(f"{seconds}")
    _UDP_STAYS.write_text(before)


def test_a_guest_that_knocks_at_its_limit_is_counted_seldom(
    network: HostNetwork,
    shop: tuple[Service, list[Instance]],
    pair: tuple[StandIn, StandIn],
    udp_stays: Callable[[int], object],
) -> None:
    """Each count is a walk through all its connections: what knocks on is refused without, and the others' new
    connections are opened meanwhile. It may open some itself as soon as it has room.
    """
    service, _ = shop
    noisy, other = pair
    noisy.configure()
    other.configure()
    bridge = json.loads(HOST.run(["ip", "-j", "link", "show", service.network.bridge]).stdout)[0]["address"]

    def knock(times: int) -> None:
        frames = (udp(noisy.address, CLIENT_ADDRESS, 10_000 + number, 99, b"") for number in range(times))
        noisy.send(*(ethernet(noisy.mac, bridge, _IP, frame) for frame in frames))

    udp_stays(600)
    knock(connection_limits.FLOWS_MAX + 500)
    before, began_s = network.drops(), time.monotonic()
    with serving(CLIENT_NAMESPACE, 8080):
        knock(10_000)
        assert other.reaches(CLIENT_ADDRESS, 8080)
        drops, took_s = network.drops(), time.monotonic() - began_s
        counted, again = (drops[why] - before[why] for why in (_FULL, f"{_FULL}, again"))
        assert counted <= connection_limits.KNOCKS_PER_S * (took_s + 2)
        assert again > counted
        assert not noisy.reaches(CLIENT_ADDRESS, 8080)
        udp_stays(2)
        knock(connection_limits.FLOWS_MAX)
        assert comes_true(lambda: noisy.reaches(CLIENT_ADDRESS, 8080), 3 * ARRIVES_S)


def test_a_guest_takes_no_more_than_its_share_of_the_name_server(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """A few TCP connections each; the names of the others go on, by TCP as by UDP."""
    service, instances = shop
    noisy, other = pair
    noisy.configure()
    other.configure()
    with contextlib.ExitStack() as stack:
        for _ in range(tables.QUESTIONS_MAX):
            connect = functools.partial(socket.create_connection, (noisy.gateway, 53), ARRIVES_S)
            stack.enter_context(in_namespace(noisy.namespace, connect))
        assert not noisy.reaches(noisy.gateway, 53)
        assert other.reaches(noisy.gateway, 53)
        assert noisy.asks("web-1") == other.asks("web-1") == other.address
        assert told_of(network, service, instances) == [instances[0].name]
    assert comes_true(lambda: noisy.reaches(noisy.gateway, 53), ARRIVES_S)


def test_a_vip_answers_its_endpoints_and_an_echo_alone(
    network: HostNetwork, shop: tuple[Service, list[Instance]], pair: tuple[StandIn, StandIn]
) -> None:
    """Whatever else listens on the host, or is published by a DNAT of others, is not to be had at a VIP."""
    service, instances = shop
    guest, _ = pair
    guest.configure()
    published = "add chain ip theirs in { type nat hook prerouting priority -100; }"
    rule = f"add rule ip theirs in tcp dport 8081 dnat to {HOST_ADDRESS}:2222"
    HOST.run(["nft", f"add table ip theirs; {published}; {rule}"])
    with serving("", 2222), serving("", 80, VIP), answering_udp("", 5353):
        for namespace in (CLIENT_NAMESPACE, guest.namespace, ""):
            assert reaches(namespace, VIP, 80), namespace
        assert reaches(CLIENT_NAMESPACE, HOST_ADDRESS, 2222)
        assert reaches(CLIENT_NAMESPACE, HOST_ADDRESS, 8081)
        assert echoes_udp(CLIENT_NAMESPACE, HOST_ADDRESS, 5353)
        for port in (2222, 8081):
            assert not reaches(CLIENT_NAMESPACE, VIP, port), port
        assert not guest.reaches(VIP, 2222)
        assert not echoes_udp(CLIENT_NAMESPACE, VIP, 5353)
        assert CLIENT.run(["busybox", "ping", "-c1", "-W2", VIP], check=False).returncode == 0
        assert network.drops()["a VIP, but no endpoint"] >= 3
        assert CLIENT.run(["busybox", "ping", "-6", "-c1", "-W2", f"{link_local(OUTSIDE_LINK)}%up0"]).returncode == 0
        network.lay(with_port(service, 8082), instances)
        assert not reaches(CLIENT_NAMESPACE, VIP, 80)
        with serving("", 8082, VIP):
            assert reaches(CLIENT_NAMESPACE, VIP, 8082)
    HOST.run(["nft", "delete", "table", "ip", "theirs"])


def test_a_shared_vip_answers_the_endpoints_of_all_and_an_echo_alone(
    network: HostNetwork, shop: tuple[Service, list[Instance]]
) -> None:
    """Of those who share it, in whichever order they come, and of nobody who has gone; it is guarded all the time."""
    service, instances = shop
    blog, posts = make_service("blog", VIP, 1, [service])
    blog = with_port(blog, 8082)

    def answers() -> set[int]:
        return {port for port in (80, 8082, 2222) if reaches(CLIENT_NAMESPACE, VIP, port)}

    with serving("", 2222), serving("", 80, VIP), serving("", 8082, VIP):
        assert answers() == {80}
        network.lay(blog, posts)
        assert answers() == {80, 8082}
        for one, its in ((service, instances), (blog, posts)):
            assert "FIREWALL-MISSING" not in {missing.part for missing in network.missing(one, its)}
            network.lay(one, its)
            assert answers() == {80, 8082}
        network.lift(service)
        assert answers() == {8082}
        assert "FIREWALL-MISSING" not in {missing.part for missing in network.missing(blog, posts)}
        network.lay(service, instances)
        assert answers() == {80, 8082}
        network.lift(blog)
        assert answers() == {80}
        assert CLIENT.run(["busybox", "ping", "-c1", "-W2", VIP], check=False).returncode == 0


def test_what_a_vip_has_begun_goes_on(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """A connection to an endpoint that is gone meanwhile is not cut, nor one that the host opened from the VIP."""
    service, instances = shop
    with (
        socket.create_server((VIP, 80)) as server,
        in_namespace(CLIENT_NAMESPACE, lambda: socket.create_connection((VIP, 80), ARRIVES_S)) as client,
        server.accept()[0] as served,
        serving(CLIENT_NAMESPACE, 8080),
    ):
        network.lay(with_port(service, 8082), instances)
        client.sendall(b"still here")
        served.settimeout(ARRIVES_S)
        assert served.recv(64) == b"still here"
        with socket.create_connection((CLIENT_ADDRESS, 8080), ARRIVES_S, source_address=(VIP, 0)):
            pass


def link_local(link: str) -> str:
    """The IPv6 address that the host's interface has by itself."""
    return HOST.run(["ip", "-6", "-br", "address", "show", link]).stdout.split()[2].split("/")[0]


def with_port(service: Service, port: int) -> Service:
    """The service with its only endpoint on another port of the VIP."""
    (role,) = service.spec.roles
    moved = dataclasses.replace(role, endpoints=tuple(dataclasses.replace(one, port=port) for one in role.endpoints))
    return dataclasses.replace(service, spec=dataclasses.replace(service.spec, roles=(moved,)))


# Repeating, repairing, other people's things ------------------------------------------------------------------


def state(bridge: str) -> tuple[str, ...]:
    """What must not change under a lay that changes nothing: rules with handles, link numbers, dnsmasq."""
    rules = "".join(
        HOST.run(["nft", "-as", "list", "table", *table]).stdout
        for table in (("inet", "vmrole"), ("bridge", "vmrole"))
    )
    link = json.loads(HOST.run(["ip", "-j", "link", "show", bridge]).stdout)[0]["ifindex"]
    return rules, str(link), Path("/run/libvirt/network/vmrole-shop.pid").read_text()


def test_laying_again_changes_nothing(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """A lay of what stands touches neither rules nor links nor dnsmasq; one of more instances not the network."""
    bridge = shop[0].network.bridge
    before = state(bridge)
    network.lay(*shop)
    assert state(bridge) == before
    _, more = make_service("shop", VIP, 5)
    network.lay(shop[0], [*shop[1], *more[2:]])
    assert state(bridge)[1:] == before[1:]
    assert state(bridge)[0] != before[0]


def listings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """How the rule set was read since the last call."""
    commands = [record.getMessage() for record in caplog.records if record.getMessage().startswith("run: nft")]
    caplog.clear()
    return [command for command in commands if "list table" in command]


def test_an_audit_reads_no_rules_that_nobody_has_touched(
    network: HostNetwork, shop: tuple[Service, list[Instance]], caplog: pytest.LogCaptureFixture
) -> None:
    """However many guests there are: all is read again only when somebody has changed something, and then rightly."""
    caplog.set_level("DEBUG", "orchestrator.drivers.tools.command")
    service, instances = shop

    def rules_lack() -> bool:  # Their ports do: no VM runs here.
        return any(one.part is Part.FIREWALL for one in network.missing(service, instances))

    blog, blogs = make_service("blog", "203.0.113.11", 2, [service])
    network.lay(service, instances)
    listings(caplog)
    network.lay(blog, blogs)
    network.lay(blog, blogs[:1])
    network.lay(service, instances)
    assert not rules_lack()
    assert listings(caplog) == []
    listed = json.loads(HOST.run(["nft", "-j", "list", "set", "bridge", "vmrole", "macs"]).stdout)["nftables"]
    elements = {one["elem"]["val"]["concat"][0]: one["elem"]["comment"] for one in listed[1]["set"]["elem"]}
    assert elements == {one.nic.tap: one.service for one in (*instances, *blogs[:1])}
    tap, mac = instances[0].nic.tap, instances[0].nic.mac
    HOST.run(["nft", "delete", "element", "bridge", "vmrole", "macs", f"{{ {tap} . {mac} }}"])
    assert rules_lack()
    network.lay(service, instances)
    assert not rules_lack()
    assert tap in HOST.run(["nft", "list", "set", "bridge", "vmrole", "macs"]).stdout
    network.lift(blog)
    network.lay(service, instances)
    listings(caplog)
    network.lay(service, instances)
    assert listings(caplog) == []


def test_a_service_waits_for_nothing_of_another(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """While a lay of one waits for its name server that hangs, others are laid."""
    blog, blogs = make_service("blog", "203.0.113.11", 1, [shop[0]])
    network.lay(blog, blogs)
    server = int(Path("/run/libvirt/network/vmrole-shop.pid").read_text())
    slow = threading.Thread(target=network.lay, args=shop)
    os.kill(server, signal.SIGSTOP)
    try:
        slow.start()
        network.lay(blog, blogs)
        assert slow.is_alive()
    finally:
        os.kill(server, signal.SIGCONT)
        slow.join()


def test_what_others_broke_is_mended(lab: Lab, network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """After a flushed ruleset, a stopped network and a restarted libvirtd the next lay restores all."""
    service, instances = shop
    HOST.run(["nft", "flush", "ruleset"])
    lab.virsh("net-destroy", service.network.name)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
    lab.kill_libvirtd()
    lab.start_libvirtd()
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    with contextlib.closing(connection):
        laid = HostNetwork(connection, SystemClock())
        until(lambda: not refused(lambda: laid.lay(service, instances)), LAID_AGAIN_S, what="the network")
    with StandIn(service, instances[0]).plugged() as one, StandIn(service, instances[1]).plugged() as other:
        assert passed(one, other, service.network.bridge) == set()
        one.configure()
        assert one.asks("web-1.shop") == other.address
        with serving(CLIENT_NAMESPACE, 8080):
            assert one.reaches(CLIENT_ADDRESS, 8080)


def refused(do: Callable[[], object]) -> bool:
    """Whether it is to be asked again: on a busy host a name server ends a while after its network."""
    try:
        do()
    except Transient:
        return True
    return False


def mends(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> list[tuple[str, str]]:
    """Subjects and sentences of the next lay."""
    return [(one.subject, one.message) for one in network.lay(*shop)]


@pytest.mark.parametrize(
    "broken",
    [
        ("ip", "link", "set", "{tap}", "nomaster"),
        ("ip", "link", "set", "{tap}", "down"),
        ("ip", "link", "set", "{bridge}", "down"),
        ("ip", "link", "del", "{bridge}"),
        ("ip", "address", "del", "{gateway}/24", "dev", "{bridge}"),
        ("virsh", "net-destroy", "{network}"),
        ("sh", "-c", "virsh net-destroy {network}; virsh net-start {network}"),
        ("sh", "-c", "virsh net-destroy {network}; virsh net-undefine {network}"),
        ("sh", "-c", "ip link add elsewhere type bridge; ip link set {tap} master elsewhere"),
        ("sysctl", "-qw", "net.ipv4.ip_forward=0"),
        ("sysctl", "-qw", "net.ipv4.conf.{bridge}.forwarding=0"),
    ],
    ids=" ".join,
)
def test_what_somebody_changed_is_noticed_mended_and_told(
    network: HostNetwork,
    shop: tuple[Service, list[Instance]],
    pair: tuple[StandIn, StandIn],
    broken: tuple[str, ...],
) -> None:
    """A port, a bridge, a network, an address or routing: told at once, named by `missing`, and back with a lay."""
    service, instances = shop
    one, other = pair
    names = {"tap": instances[0].nic.tap, "bridge": service.network.bridge, "network": service.network.name}
    names["gateway"] = service.network.gateway
    one.configure()
    other.configure()
    assert mends(network, shop) == []
    assert network.missing(*shop) == ()
    with (
        network.watch(lambda name, _: woken.append(name), lambda name, _: woken.append(name)),
        serving(other.namespace, 8080),
    ):
        woken: list[str] = []
        network.lay(*make_service("shop", VIP, 3))
        network.lay(*shop)
        assert one.reaches(other.address, 8080)
        assert woken == []
        HOST.run([word.format(**names) for word in broken])
        assert comes_true(lambda: woken != [], ARRIVES_S)
        assert network.missing(*shop)
        mended = network.lay(*shop)
        assert mended
        assert all(each.message.startswith("somebody ") for each in mended)
        assert network.missing(*shop) == ()
        # dnsmasq hears by itself that its address is back; a resolver asks more than once, too.
        assert comes_true(lambda: one.asks("web-1") == other.address, 60.0)
        assert one.reaches(other.address, 8080)
        assert one.reaches(CLIENT_ADDRESS, 1) is False
    assert mends(network, shop) == []
    with serving(CLIENT_NAMESPACE, 8080), serving("", 80, VIP):
        assert one.reaches(CLIENT_ADDRESS, 8080)
        assert reaches(CLIENT_NAMESPACE, VIP, 80)
    HOST.run(["ip", "link", "del", "elsewhere"], check=False)


REDEFINED = {
    "undefined": ("", ""),
    "another gateway": ("address='{gateway}'", "address='10.90.0.77'"),
    "another bridge": ("name='{bridge}'", "name='vrb-other'"),
    "another mode": ("mode='open'", "mode='nat'"),
}


def redefine(lab: Lab, service: Service, was: str, becomes: str) -> None:
    """What `virsh net-edit` does, or `net-undefine` where there is nothing to change."""
    name = service.network.name
    if not was:
        lab.virsh("net-undefine", name)
        return
    now = lab.virsh("net-dumpxml", name, "--inactive")
    was = was.format(gateway=service.network.gateway, bridge=service.network.bridge)
    assert was in now
    file = lab.root / "redefined.xml"
    file.write_text(now.replace(was, becomes))
    lab.virsh("net-define", str(file))
    file.unlink()


@pytest.mark.parametrize(("was", "becomes"), REDEFINED.values(), ids=REDEFINED)
def test_a_definition_that_somebody_changed_cuts_nobody_off(
    lab: Lab,
    network: HostNetwork,
    shop: tuple[Service, list[Instance]],
    pair: tuple[StandIn, StandIn],
    was: str,
    becomes: str,
) -> None:
    """What runs goes on, its bridge, its ports and dnsmasq; the definition is again as it was, for the next start,
    and somebody is told of; connections that are open stay so.
    """
    service, _ = shop
    one, other = pair
    one.configure()
    other.configure()
    name = service.network.name
    before, old = state(service.network.bridge)[1:], lab.virsh("net-dumpxml", name, "--inactive")
    with serving(other.namespace, 8080):
        assert one.reaches(other.address, 8080)
        redefine(lab, service, was, becomes)
        (mended,) = mends(network, shop)
        assert mended[0] == "shop"
        assert mended[1].startswith(f"somebody {'changed the definition of' if was else 'undefined'} network {name}")
        assert one.reaches(other.address, 8080)
    assert state(service.network.bridge)[1:] == before
    assert lab.virsh("net-dumpxml", name, "--inactive") == old
    told = lab.virsh("net-info", name)
    assert {line.split(":")[0]: line.split()[-1] for line in told.splitlines() if line}.items() >= {
        "Persistent": "yes",
        "Autostart": "yes",
    }.items()
    assert mends(network, shop) == []
    network.lay(*make_service("shop", VIP, 3))
    assert state(service.network.bridge)[1:] == before


@pytest.mark.parametrize(("was", "becomes"), [*REDEFINED.values()][1:], ids=[*REDEFINED][1:])
def test_a_network_that_somebody_started_in_another_shape_is_made_anew(
    lab: Lab,
    network: HostNetwork,
    shop: tuple[Service, list[Instance]],
    pair: tuple[StandIn, StandIn],
    was: str,
    becomes: str,
) -> None:
    """Its guests are cut off by that already, wherever their ports are by now: they are put back on the service's
    bridge, without an end of the service or its VMs.
    """
    service, instances = shop
    one, other = pair
    one.configure()
    other.configure()
    name = service.network.name
    redefine(lab, service, was, becomes)
    lab.virsh("net-destroy", name)
    # libvirt does not wait until the former name server has let go of its port.
    assert comes_true(lambda: lab.host.run(["virsh", "net-start", name], check=False).returncode == 0, ARRIVES_S)
    bridge = "vrb-other" if "vrb-other" in becomes else service.network.bridge
    for instance in instances:  # as a libvirtd that is restarted plugs them in again
        HOST.run(["ip", "link", "set", instance.nic.tap, "master", bridge])
    told = [sentence for _, sentence in mends(network, shop)]
    assert f"somebody gave network {name} another shape: made anew" in told
    assert network.missing(*shop) == ()
    with serving(other.namespace, 8080):
        assert comes_true(lambda: one.reaches(other.address, 8080), ARRIVES_S)
    assert comes_true(lambda: one.asks("web-1") == other.address, 60.0)
    assert mends(network, shop) == []


def test_a_port_of_nobody_is_not_put_back(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """A tap that libvirt is just making is left to it: it is not on the bridge and not up."""
    _, instances = shop
    tap = instances[0].nic.tap
    HOST.run(["ip", "link", "add", tap, "type", "veth", "peer", "name", "peer0"])
    try:
        assert mends(network, shop) == []
        assert "master" not in HOST.run(["ip", "link", "show", tap]).stdout
        HOST.run(["ip", "link", "set", tap, "up"])
        assert [subject for subject, _ in mends(network, shop)] == [instances[0].name]
        assert f"master {shop[0].network.bridge}" in HOST.run(["ip", "link", "show", tap]).stdout
    finally:
        HOST.run(["ip", "link", "del", tap])


def test_removed_rules_are_told_and_nothing_else(network: HostNetwork, shop: tuple[Service, list[Instance]]) -> None:
    """Whoever takes a rule, a chain or a table of ours away; other people's tables and our own elements are quiet."""
    told: list[str] = []
    with ruleset_watch("vmrole", told.append):
        for commands in (["add table ip theirs"], ["delete table ip theirs"]):
            HOST.run(["nft", *commands])
        network.lay(*make_service("shop", VIP, 3))
        network.lay(*shop)
        for taken in ("flush chain bridge vmrole guard", "delete table inet vmrole", "flush ruleset"):
            assert told == []
            HOST.run(["nft", taken])
            assert comes_true(lambda: told != [], ARRIVES_S), taken
            assert [why.endswith("of nft table vmrole was removed") for why in told] == [True]
            told.clear()


def test_foreign_networks_and_bridges_are_refused(lab: Lab, network: HostNetwork) -> None:
    """A network or a link that is not ours is neither used nor changed."""
    service, instances = make_service("shop", VIP, 1)
    HOST.run(["ip", "link", "add", service.network.bridge, "type", "bridge"])
    with pytest.raises(Foreign, match="did not make"):
        network.lay(service, instances)
    HOST.run(["ip", "link", "del", service.network.bridge])

    xml = lab.root / "foreign.xml"
    xml.write_text(f"<network><name>{service.network.name}</name><bridge name='theirs'/></network>")
    lab.virsh("net-define", str(xml))
    with pytest.raises(Foreign, match="is not vmrole's"):
        network.lay(service, instances)
    network.lift(service)
    assert service.network.name in lab.virsh("net-list", "--all", "--name")
    lab.virsh("net-undefine", service.network.name)
    xml.unlink()

    network.lay(service, instances)


def test_a_vip_is_announced(vips: VipAddresses) -> None:
    """Neighbours learn the VIP's place unasked when it is added."""
    client_link = json.loads(HOST.run(["ip", "-j", "link", "show", OUTSIDE_LINK]).stdout)[0]["address"]
    CLIENT.run(["ip", "neigh", "replace", "203.0.113.20", "lladdr", STRANGER, "dev", "up0", "nud", "stale"])
    vips.hold({"203.0.113.20"})
    assert comes_true(lambda: client_link in CLIENT.run(["ip", "neigh", "show", "203.0.113.20"]).stdout, ARRIVES_S)
    assert "203.0.113.20/32" in HOST.run(["ip", "address", "show", "dev", OUTSIDE_LINK]).stdout


def refusal(held: Held, vip: str) -> str:
    """Why the address is refused; "" when it is not."""
    return str(held.refused.get(vip, ""))


def test_foreign_addresses_are_refused(vips: VipAddresses) -> None:
    """An address of the host, of a neighbour or of no machine is neither used nor changed, and holds up no other."""
    HOST.run(["ip", "address", "add", f"{VIP}/32", "dev", "lo"])
    assert "already an address of lo" in refusal(vips.hold({VIP, "203.0.113.20"}), VIP)
    assert vips.held() == {"203.0.113.20"}
    vips.hold(())
    assert VIP in HOST.run(["ip", "address", "show", "dev", "lo"]).stdout
    HOST.run(["ip", "address", "del", f"{VIP}/32", "dev", "lo"])

    CLIENT.run(["ip", "address", "add", f"{VIP}/24", "dev", "up0"])
    assert "is in use by" in refusal(vips.hold({VIP}), VIP)
    CLIENT.run(["ip", "address", "del", f"{VIP}/24", "dev", "up0"])
    assert comes_true(lambda: not vips.hold({VIP}).refused, 4 * REFUSED_FOR_S)

    own = ipaddress.ip_interface(HOST.run(["ip", "-4", "-br", "address", "show", OUTSIDE_LINK]).stdout.split()[2])
    for unfit in (str(own.network.network_address), str(own.network.broadcast_address)):
        assert "of no machine" in refusal(vips.hold({unfit}), unfit)


def test_a_vip_that_somebody_removed_is_told_and_put_back(vips: VipAddresses) -> None:
    """At once, by its name; who holds it again says so."""
    woken: list[str] = []
    vips.hold({VIP})
    with vips.watch(lambda vip, _: woken.append(vip)):
        HOST.run(["ip", "address", "flush", "dev", OUTSIDE_LINK, "label", f"{OUTSIDE_LINK}:vr"])
        assert comes_true(lambda: woken == [VIP], ARRIVES_S)
        assert vips.hold({VIP}).put_back == {VIP}
    assert vips.held() == {VIP}


VIP6, NETWORK6 = "2001:db8:113::20", "2001:db8:113::"


@pytest.fixture
def with_ipv6(lab: Lab) -> Iterator[None]:
    """The host and its client have addresses of IPv6 in one network."""
    for run, number, link in ((HOST.run, 1, OUTSIDE_LINK), (CLIENT.run, 2, "up0")):
        run(["ip", "address", "add", f"{NETWORK6}{number}/64", "dev", link, "nodad"])
    yield
    for run, number, link in ((HOST.run, 1, OUTSIDE_LINK), (CLIENT.run, 2, "up0")):
        run(["ip", "address", "del", f"{NETWORK6}{number}/64", "dev", link])


@pytest.mark.usefixtures("with_ipv6")
def test_a_vip_of_ipv6_is_announced_and_begins_nothing(vips: VipAddresses) -> None:
    """Neighbours learn its place unasked; the host's own connections go on to come from its own address."""
    client_link = json.loads(HOST.run(["ip", "-j", "link", "show", OUTSIDE_LINK]).stdout)[0]["address"]
    CLIENT.run(["ip", "neigh", "replace", VIP6, "lladdr", STRANGER, "dev", "up0", "nud", "stale"])
    assert vips.hold({VIP6}).refused == {}
    assert comes_true(lambda: client_link in CLIENT.run(["ip", "neigh", "show", VIP6]).stdout, ARRIVES_S)
    assert f"src {NETWORK6}1 " in HOST.run(["ip", "-6", "route", "get", f"{NETWORK6}2"]).stdout


@pytest.mark.usefixtures("with_ipv6")
def test_foreign_addresses_of_ipv6_are_refused(vips: VipAddresses) -> None:
    """Of the host, of a neighbour, of all routers of the network; and where the interface speaks no IPv6."""
    assert "already an address" in refusal(vips.hold({f"{NETWORK6}1"}), f"{NETWORK6}1")
    assert "of no machine" in refusal(vips.hold({NETWORK6}), NETWORK6)
    CLIENT.run(["ip", "address", "add", f"{VIP6}/64", "dev", "up0", "nodad"])
    assert "is in use by" in refusal(vips.hold({VIP6}), VIP6)
    CLIENT.run(["ip", "address", "del", f"{VIP6}/64", "dev", "up0"])
    assert comes_true(lambda: not vips.hold({VIP6}).refused, 4 * REFUSED_FOR_S)
    assert vips.held() == {VIP6}


@pytest.mark.usefixtures("with_ipv6")
def test_a_vip_of_ipv6_that_somebody_removed_is_told_and_put_back(vips: VipAddresses) -> None:
    """At once, as one of IPv4."""
    woken: list[str] = []
    vips.hold({VIP6})
    with vips.watch(lambda vip, _: woken.append(vip)):
        HOST.run(["ip", "address", "del", f"{VIP6}/128", "dev", OUTSIDE_LINK])
        assert comes_true(lambda: woken == [VIP6], ARRIVES_S)
        assert vips.hold({VIP6}).put_back == {VIP6}
    assert vips.held() == {VIP6}


@pytest.mark.usefixtures("with_ipv6")
def test_a_vip_of_ipv6_answers_its_endpoints_and_an_echo_alone(network: HostNetwork, vips: VipAddresses) -> None:
    """And neighbours that look for it; whatever else listens on the host is not to be had there."""
    service, instances = make_service("shop", VIP6, 1)
    network.lay(service, instances)
    vips.hold({VIP6})
    with serving("", 2222, VIP6), serving("", 80, VIP6), serving("", 2222, f"{NETWORK6}1"):
        assert reaches(CLIENT_NAMESPACE, f"{NETWORK6}1", 2222)
        for _ in range(2):
            assert reaches(CLIENT_NAMESPACE, VIP6, 80)
            assert not reaches(CLIENT_NAMESPACE, VIP6, 2222)
            CLIENT.run(["ip", "neigh", "flush", "dev", "up0"])
        assert CLIENT.run(["busybox", "ping", "-6", "-c1", "-W2", VIP6], check=False).returncode == 0
        assert network.drops()["a VIP of IPv6, but no endpoint"] >= 2
        network.lay(with_port(service, 2222), instances)
        assert not reaches(CLIENT_NAMESPACE, VIP6, 80)
        assert reaches(CLIENT_NAMESPACE, VIP6, 2222)


def test_no_interface_for_vips() -> None:
    """Without a usable vip_interface no VIP is held, and the message says which key to set."""
    for interface, why in (
        ("", "no interface"),
        ("nosuch0", "there is no interface"),
        ("a23456789012345", "too long"),
    ):
        assert why in refusal(VipAddresses(interface, SystemClock()).hold({VIP}), VIP)


def test_lift_leaves_nothing(lab: Lab, network: HostNetwork) -> None:
    """After the last service is lifted the host is as it was, and other people's tables stand."""
    HOST.run(["nft", "add", "table", "inet", "theirs"])
    service, instances = make_service("shop", VIP, 2)
    network.lay(service, instances)
    network.lift(service)
    tables = HOST.run(["nft", "list", "tables"]).stdout
    assert "table inet theirs" in tables
    assert "vmrole" not in tables
    HOST.run(["nft", "delete", "table", "inet", "theirs"])
    assert lab.leftovers() == []
