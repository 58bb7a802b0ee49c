"""Whether a host that has guests routes for others: two namespaces on two of its links, which it does not join."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network import routing, tables
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import Unreachable
from orchestrator.host.config import Config
from orchestrator.host.doctor import Verdict, host, passage
from tests.contract.suites.network import make_service
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_ADDRESS, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.stand_in import LAN, LAN_ADDRESS, StandIn, private_network, reaches, serving
from tests.world.waiting import comes_true

VIP = "203.0.113.10"
SHOP, (WEB,) = make_service("shop", VIP, 1)
BLOG, (PAGE,) = make_service("blog", "203.0.113.11", 1, [SHOP])
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
REDIRECTS = Path("/proc/sys/net/ipv4/conf/all/accept_redirects")
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_SERVICE = """service: shop
roles:
  web:
    image: micro
    instances: 1
    size: {vcpus: 1, memory: 128 MiB}
"""
STANDS_S = 120.0
Begin = Callable[[], HostNetwork]


@pytest.fixture
def begin(lab: Lab, tmp_path: Path) -> Iterator[Begin]:
    """Begins a daemon's network; each call is the next daemon. Another network of the host is there, too."""
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    with contextlib.closing(connection), private_network():
        yield lambda: HostNetwork(connection, SystemClock(), before=_before(tmp_path))
    FORWARDING.write_text("1")


def _before(place: Path) -> dict[int, routing.Before]:
    return {4: routing.Before(place / "ip_forward"), 6: routing.Before(place / "ip6_forward", 6)}


@contextlib.contextmanager
def guest() -> Iterator[StandIn]:
    """The shop's guest, its VIP, and who listens on both sides of the host."""
    vips = VipAddresses(OUTSIDE_LINK, SystemClock())
    assert not vips.hold({VIP}).refused
    try:
        with StandIn(SHOP, WEB).plugged() as inside, serving(CLIENT_NAMESPACE, 8080), serving(LAN, 8080):
            inside.configure()
            yield inside
    finally:
        vips.hold(())


def starts_with_host(lab: Lab) -> bool:
    """Whether libvirt starts the shop's network by itself."""
    return SHOP.network.name in lab.virsh("net-list", "--autostart", "--name")


def joins() -> tuple[bool, bool]:
    """Whether the host lets either network reach the other."""
    return reaches(CLIENT_NAMESPACE, LAN_ADDRESS, 8080), reaches(LAN, CLIENT_ADDRESS, 8080)


def test_a_host_that_did_not_route_does_so_for_guests_alone(lab: Lab, begin: Begin, tmp_path: Path) -> None:
    """Also over a restart of the daemon, and with rules laid again; after the last service all is as before.

    With the host libvirt starts no network, which would make it route before the rules stand.
    """
    FORWARDING.write_text("0")
    network = begin()
    network.lay(SHOP, [WEB])
    assert not starts_with_host(lab)
    with guest() as inside, serving("", 80, VIP):
        for _ in range(2):
            assert FORWARDING.read_text() == "1\n"
            assert joins() == (False, False)
            assert inside.reaches(CLIENT_ADDRESS, 8080)
            assert inside.reaches(LAN_ADDRESS, 8080)
            assert reaches(LAN, VIP, 80)
            assert network.drops()[tables.NO_ROUTER] >= 2
            network = begin()
            network.lay(SHOP, [WEB])
        HOST.run(["nft", "flush", "ruleset"])
        assert joins() == (True, True)
        network.lay(SHOP, [WEB])
        assert joins() == (False, False)
        assert not starts_with_host(lab)
    network.lay(BLOG, [PAGE])
    network.lift(SHOP)
    assert FORWARDING.read_text() == "1\n"
    assert joins() == (False, False)
    network.lift(BLOG)
    assert FORWARDING.read_text() == "0\n"
    assert not (tmp_path / "ip_forward").exists()


def test_a_host_that_routed_goes_on_to(lab: Lab, begin: Begin, tmp_path: Path) -> None:
    """Nothing changes for others, with a service and after it."""
    FORWARDING.write_text("1")
    network = begin()
    network.lay(SHOP, [WEB])
    assert starts_with_host(lab)
    with guest() as inside:
        assert joins() == (True, True)
        assert inside.reaches(CLIENT_ADDRESS, 8080)
        network.lift(SHOP)
        assert joins() == (True, True)
    assert not (tmp_path / "ip_forward").exists()


def test_routing_that_somebody_switches_off_comes_back_for_guests_alone(begin: Begin) -> None:
    """Whoever did it wanted a host that forwards nothing, and guests need one that does."""
    network = begin()
    network.lay(SHOP, [WEB])
    with guest() as inside:
        FORWARDING.write_text("0")
        told = [one.message for one in network.lay(SHOP, [WEB])]
        assert told[0] == "somebody switched net.ipv4.ip_forward off: on again"
        assert all(one.startswith("somebody switched net.ipv4.") for one in told), told  # Each bridge's own, too.
        assert network.lay(SHOP, [WEB]) == ()
        assert joins() == (False, False)
        assert inside.reaches(CLIENT_ADDRESS, 8080)


def test_bridges_of_others_go_on(begin: Begin) -> None:
    """What a bridge passes on is not forwarded, also where such frames are filtered as packets (br_netfilter)."""
    FORWARDING.write_text("0")
    begin().lay(SHOP, [WEB])
    before = BRIDGED.read_text() if BRIDGED.exists() else ""
    with contextlib.ExitStack() as undo:
        undo.callback(HOST.run, ["ip", "link", "del", "theirs"])
        HOST.run(["ip", "link", "add", "theirs", "type", "bridge"])
        HOST.run(["ip", "link", "set", "theirs", "up"])
        for number in (1, 2):
            space = f"theirs{number}"
            HOST.run(["ip", "netns", "add", space])
            undo.callback(HOST.run, ["ip", "netns", "del", space])
            HOST.run(["ip", "link", "add", space, "type", "veth", "peer", "name", "eth0", "netns", space])
            undo.callback(HOST.run, ["ip", "link", "del", space])
            HOST.run(["ip", "link", "set", space, "master", "theirs", "up"])
            for command in ("link set lo up", "link set eth0 up", f"addr add 198.51.100.{number}/24 dev eth0"):
                HOST.run(["ip", "-n", space, *command.split()])
        with serving("theirs2", 8080):
            for value in ("0", "1") if before else ("",):
                if value:
                    undo.callback(BRIDGED.write_text, before)
                    BRIDGED.write_text(value)
                assert reaches("theirs1", "198.51.100.2", 8080), value


def test_the_doctor_says_for_whom_the_host_routes(begin: Begin, tmp_path: Path) -> None:
    """Before, while and whether it is for guests alone; what it sends itself is not stopped by that."""
    settings = Config(state_dir=tmp_path, vip_interface=OUTSIDE_LINK)
    FORWARDING.write_text("0")
    assert "guests alone" in host.forwarding(settings).message
    begin().lay(SHOP, [WEB])
    told = host.forwarding(settings)
    assert (told.verdict, "guests alone" in told.message) == (Verdict.PASS, True)
    assert passage.host_firewall(settings).verdict is Verdict.PASS


@pytest.mark.parametrize("forwarding", ["auto", "all"])
def test_the_daemon_goes_by_its_configuration(lab: Lab, tmp_path: Path, micro_image: Path, forwarding: str) -> None:
    """What guests do not reach, the exceptions, and for whom the host routes."""
    FORWARDING.write_text("0")
    daemon = lab.daemon(
        tmp_path / "vmrole",
        egress_deny=["198.51.100.0/30"],
        egress_allow=["198.51.100.1/32"],
        forwarding=forwarding,
    )
    daemon.start()

    def rules() -> str:
        return HOST.run(["nft", "list", "table", "inet", "vmrole"], check=False).stdout

    try:
        daemon.run("image", "add", str(micro_image), "--name", "micro")
        daemon.run("apply", "-f", "-", text=_SERVICE)
        assert comes_true(lambda: FORWARDING.read_text() == "1\n" and "169.254.0.0/16" in rules(), STANDS_S)
        assert "ip daddr { 169.254.0.0/16, 198.51.100.0, 198.51.100.2/31 }" in rules()
        assert (tables.NO_ROUTER in rules()) == (forwarding == "auto")
        daemon.run("delete", "service", "shop", "--wait")
        assert FORWARDING.read_text() == ("0\n" if forwarding == "auto" else "1\n")
    finally:
        daemon.kill_with_children()


def test_who_begins_while_the_last_one_ends_is_routed_for(lab: Lab, tmp_path: Path) -> None:
    """Whichever comes first, the host is no router that it was not, and its other switches are as they were."""
    before = routing.Before(tmp_path / "ip_forward")
    REDIRECTS.write_text("0")
    FORWARDING.write_text("0")
    REDIRECTS.write_text("0")  # The kernel switches them on with the former.
    before.begin("shop")
    FORWARDING.write_text("1")
    before.begin("blog")
    before.end("shop", others=False)  # By what was seen before the blog had begun.
    assert (before.was_off, FORWARDING.read_text()) == (True, "1\n")
    before.end("blog", others=False)
    assert (before.was_off, FORWARDING.read_text(), REDIRECTS.read_text()) == (False, "0\n", "0\n")
    before.begin("blog")
    assert before.was_off
    before.end("blog", others=True)
    assert before.was_off


def test_a_host_that_becomes_a_router_later_is_one(lab: Lab, begin: Begin) -> None:
    """After the last service has gone, and whatever this daemon knew of before; also by single interfaces."""
    FORWARDING.write_text("0")
    network = begin()
    network.lay(SHOP, [WEB])
    network.lift(SHOP)
    FORWARDING.write_text("1")
    network.lay(SHOP, [WEB])
    with guest():
        assert joins() == (True, True)
    network.lift(SHOP)
    FORWARDING.write_text("0")
    for link in (OUTSIDE_LINK, "lan0"):
        Path(f"/proc/sys/net/ipv4/conf/{link}/forwarding").write_text("1")
    network.lay(SHOP, [WEB])
    with guest():
        assert joins() == (True, True)
    network.lift(SHOP)


def test_a_host_that_did_not_route_by_ipv6_does_so_for_guests_alone(lab: Lab, begin: Begin, tmp_path: Path) -> None:
    """And only from when a service has IPv6; what it forwarded by IPv4 it goes on to; in the end all is as before."""
    forwarding6 = Path("/proc/sys/net/ipv6/conf/all/forwarding")
    forwarding6.write_text("0")
    network = begin()
    network.lay(SHOP, [WEB])
    assert forwarding6.read_text() == "0\n"
    six, instances = make_service("six", "2001:db8:77::10", 1, [SHOP], ipv6=True)
    network.lay(six, instances)
    assert forwarding6.read_text() == "1\n"
    assert not (tmp_path / "ip_forward").exists()
    outside = ((CLIENT_NAMESPACE, "up0", 2), ("", OUTSIDE_LINK, 1))
    within = ((LAN, "eth0", 2), ("", "lan0", 1))
    for subnet, ends in (("2001:db8:77::", outside), ("2001:db8:78::", within)):
        for space, link, number in ends:
            there = ["-n", space] if space else []
            HOST.run(["ip", *there, "-6", "address", "add", f"{subnet}{number}/64", "dev", link, "nodad"])
        HOST.run(["ip", "-n", ends[0][0], "-6", "route", "add", "default", "via", f"{subnet}1"])
    try:
        with serving(LAN, 8080, "::"):
            assert not reaches(CLIENT_NAMESPACE, "2001:db8:78::2", 8080)
            assert comes_true(lambda: network.drops()[tables.NO_ROUTER] > 0, STANDS_S)
            HOST.run(["nft", "delete", "table", "inet", "vmrole"])
            assert reaches(CLIENT_NAMESPACE, "2001:db8:78::2", 8080), "there is no way, whoever is let through"
            network.lay(six, instances)
            network.lay(SHOP, [WEB])
        network.lift(six)
        assert forwarding6.read_text() == "0\n"
        assert not (tmp_path / "ip6_forward").exists()
    finally:
        HOST.run(["ip", "-n", CLIENT_NAMESPACE, "-6", "address", "flush", "dev", "up0", "scope", "global"])
        HOST.run(["ip", "-6", "address", "flush", "dev", OUTSIDE_LINK, "scope", "global"])
        network.lift(SHOP)


def test_what_libvirtd_missed_is_made_up_for_when_it_is_back(lab: Lab, begin: Begin) -> None:
    """Routing was switched off and all rules flushed while it was away, so that nobody could lay anything: the next
    lay has both again, for guests alone.
    """
    FORWARDING.write_text("0")
    network = begin()
    network.lay(SHOP, [WEB])
    with guest() as inside:
        assert inside.reaches(CLIENT_ADDRESS, 8080)
        lab.kill_libvirtd()
        try:
            FORWARDING.write_text("0")
            HOST.run(["nft", "flush", "ruleset"])
            with pytest.raises(Unreachable):
                network.lay(SHOP, [WEB])
            assert not inside.reaches(CLIENT_ADDRESS, 8080)
        finally:
            lab.start_libvirtd()
        said: list[str] = []

        def laid() -> bool:
            try:
                said.extend(one.message for one in network.lay(SHOP, [WEB]))
            except Unreachable:
                return False
            return True

        assert comes_true(laid, STANDS_S)
        assert "somebody switched net.ipv4.ip_forward off: on again" in said
        assert inside.reaches(CLIENT_ADDRESS, 8080)
        assert joins() == (False, False)
    network.lift(SHOP)
    assert FORWARDING.read_text() == "0\n"


def test_a_guard_is_laid_again_by_what_libvirt_knows_of_the_vm(lab: Lab, begin: Begin, tmp_path: Path) -> None:
    """Of one whose record nobody can read, when the rules are gone and the daemon that laid them as well."""
    shop, (web,) = make_service("shop", VIP, 1)
    web = dataclasses.replace(web, nic=dataclasses.replace(web.nic, tap="vrt-0123456789"))
    begin().lay(shop, [web])
    HOST.run(["nft", "flush", "ruleset"])
    assert begin().laid(shop) == {}
    xml = tmp_path / "vm.xml"
    xml.write_text(
        f"<domain type='qemu'><name>{web.name}</name><memory>65536</memory><os><type>hvm</type></os><devices>"
        f"<interface type='network'><mac address='{web.nic.mac}'/><source network='{shop.network.name}'/>"
        f"<target dev='{web.nic.tap}'/></interface></devices></domain>"
    )
    lab.virsh("define", str(xml))
    try:
        network = begin()
        assert network.laid(shop) == {web.name: web.nic}
        network.lay(shop, [dataclasses.replace(web, nic=network.laid(shop)[web.name])])
        assert web.nic.tap in HOST.run(["nft", "list", "set", "bridge", "vmrole", "macs"]).stdout
        network.lift(shop)
    finally:
        lab.virsh("undefine", web.name)
