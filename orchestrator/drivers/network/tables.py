"""What passes between guests, the host and the outside: one table `inet vmrole`, one table `bridge vmrole`.

The rules change with the host's configuration alone; services and instances are elements of sets, each with its
service as comment. So a change of one service is one small transaction that cannot disturb another, and who owns what
can be read from the kernel.

`bridge vmrole` sits before the bridge learns anything: a tap of ours may send only what its instance may say, and
one that is in no set may send nothing. `inet vmrole` lets nobody open a connection to a DIP but the host itself and
the instances of the same service. It gives guests the way out, but to the networks that the host's owner denies them,
and of the host DHCP, DNS, an echo and the endpoints of VIPs. At a VIP it lets everybody have the endpoints and an
echo, and nothing else of the host.

Bridged frames pass the inet hooks as well where br_netfilter is loaded (bridge-nf-call-iptables), hence `same`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Final

from orchestrator.drivers.network.conditions import (
    ESTABLISHED,
    FROM_GUEST,
    IN,
    MARK,
    OUT,
    RELATED,
    RELATED_ICMPV6,
    asks_for_tap,
)
from orchestrator.drivers.network.connection_limits import counting, limits
from orchestrator.drivers.network.tables6 import ARRIVING6, BETWEEN_GUESTS6, FORWARD6, GUARD6, INPUT6, IPV6
from orchestrator.drivers.network.tables_given import GIVEN, GIVEN_SETS, POSTROUTING
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import (
    ACCEPT,
    RETURN,
    Chain,
    Set,
    Table,
    any_of,
    both,
    counted,
    drop,
    field,
    given,
    jump,
    masked,
    match,
    meta,
    over,
    prefix,
    put,
    raw,
    refuse,
    remember,
)
from orchestrator.model import BRIDGE_PREFIX, TAP_PREFIX

DENIED: Final = "a network that guests do not reach"
NO_ROUTER: Final = "neither from nor to a guest"
QUESTIONS_MAX: Final = 4  # connections of a guest to its name server, which answers 20 at once by TCP; UDP is free
ASKED_S: Final = 180  # The same, of a guest that asked for an address.
_RAW, _MANGLE, _FILTER, _SRCNAT = -300, -150, 0, 100  # priorities of netfilter hooks, nft(8)
_NEW = match({"ct": {"key": "state"}}, ["new"], "in")
_RELATED_ICMP = (RELATED, match(meta("l4proto"), "icmp"))
_SENT_ON_BY_A_VIP = (  # The kernel's own pools: what was asked of a VIP's endpoint reaches a member of it.
    match({"ct": {"key": "status"}}, "dnat", "in"),
    match({"ct": {"key": "ip daddr", "dir": "original"}}, "@vips"),
)
_ETHER_TYPE_RAW = raw("ll", 96, 16)  # `ether type` would look behind a VLAN tag
_VLAN_TAGS = any_of(0x8100, 0x88A8, 0x9100)
_ANY_TAP, _ANY_BRIDGE = f"{TAP_PREFIX}*", f"{BRIDGE_PREFIX}*"
_FROM_TAP = match(IN, _ANY_TAP)  # `ibrname` would say "our bridges", but some kernels are built without it
_TAP_MAC = both(IN, field("ether", "saddr"))
_ADDRESS_OF_TAP = match(both(IN, field("ether", "saddr"), field("ip", "saddr")), "@guests")
_TO_DHCP = match(field("udp", "dport"), 67)
_ASKS_FOR_TAP = asks_for_tap()


def _egress(denied: Sequence[str]) -> Chain:
    """What a guest begins towards a denied network is refused, also when it was begun before that was denied.

    What answers a client of a VIP goes back to wherever he is: what belongs to no connection is no answer.
    """
    answers = (match({"ct": {"key": "direction"}}, "reply"), RETURN)
    if not denied:
        return Chain(name="egress", rules=(answers,))
    there = match(field("ip", "daddr"), any_of(*map(prefix, denied)))
    return Chain(name="egress", rules=(answers, (there, *counted(DENIED, jump("refuse")))))


INET: Final = Table(
    family="inet",
    name="vmrole",
    sets=(
        Set(name="bridges", type=("ifname",)),
        Set(name="same", type=("ifname", "ifname")),
        Set(name="gateways", type=("ifname", "ipv4_addr")),
        Set(name="subnets", type=("ipv4_addr",), interval=True),
        Set(name="endpoints", type=("ipv4_addr", "inet_service")),
        Set(name="datagrams", type=("ipv4_addr", "inet_service")),  # endpoints of udp
        Set(name="vips", type=("ipv4_addr",)),
        Set(name="endpoints6", type=("ipv6_addr", "inet_service")),
        Set(name="datagrams6", type=("ipv6_addr", "inet_service")),
        Set(name="vips6", type=("ipv6_addr",)),
        Set(name="subnets6", type=("ipv6_addr",), interval=True),
        *counting("ipv4_addr", ""),
        *counting("ipv6_addr", "6"),
        Set(name="questions", type=("ipv4_addr",), filled=True),
    ),
    chains=(
        Chain(
            name="prerouting",
            hook="prerouting",
            priority=_RAW,
            rules=(
                (match(IN, "lo"), ACCEPT),
                (match(IN, "@bridges", "!="), match(field("ip", "saddr"), "@subnets"), *drop("a DIP from outside")),
                (
                    match(IN, "@bridges", "!="),
                    match(field("ip6", "saddr"), "@subnets6"),
                    *drop("a DIP of IPv6 from outside"),
                ),
            ),
        ),
        # The table of connections is one for the whole host, and dnsmasq has a process for each that asks it by TCP.
        Chain(
            name="limits",
            hook="prerouting",
            priority=_MANGLE,
            rules=((FROM_GUEST, _NEW, jump("limit")),),
        ),
        Chain(
            name="limit",
            rules=(
                (
                    match(both(IN, field("ip", "daddr")), "@gateways"),
                    match(field("tcp", "dport"), 53),
                    over(QUESTIONS_MAX, field("ip", "saddr"), "questions"),
                    remember(field("ip", "saddr"), "crowding"),
                    *drop("too many connections of a guest to its name server"),
                ),
                *limits("ip", "", "a guest"),
                *limits("ip6", "6", "a guest by IPv6"),
            ),
        ),
        # A VIP is an address of the host, on which other programs may listen, or be published by a DNAT: so it is
        # asked for before any DNAT, and after conntrack, which knows what was begun from here.
        Chain(
            name="vips",
            hook="prerouting",
            priority=_MANGLE,
            rules=(
                (match(IN, "lo", "!="), match(field("ip", "daddr"), "@vips"), jump("vip")),
                (match(IN, "lo", "!="), match(field("ip6", "daddr"), "@vips6"), jump("vip6")),
            ),
        ),
        Chain(
            name="vip",
            rules=(
                (ESTABLISHED, ACCEPT),
                (*_RELATED_ICMP, ACCEPT),
                (match(both(field("ip", "daddr"), field("tcp", "dport")), "@endpoints"), ACCEPT),
                (match(both(field("ip", "daddr"), field("udp", "dport")), "@datagrams"), ACCEPT),
                (match(field("icmp", "type"), "echo-request"), ACCEPT),
                drop("a VIP, but no endpoint"),
            ),
        ),
        Chain(  # Neighbours ask an address whether it is there yet, too, and answer it.
            name="vip6",
            rules=(
                (ESTABLISHED, ACCEPT),
                (*RELATED_ICMPV6, ACCEPT),
                (match(both(field("ip6", "daddr"), field("tcp", "dport")), "@endpoints6"), ACCEPT),
                (match(both(field("ip6", "daddr"), field("udp", "dport")), "@datagrams6"), ACCEPT),
                (match(field("icmpv6", "type"), "echo-request"), ACCEPT),
                (
                    match(field("icmpv6", "type"), any_of("nd-neighbor-solicit", "nd-neighbor-advert")),
                    match(field("ip6", "hoplimit"), 255),
                    ACCEPT,
                ),
                drop("a VIP of IPv6, but no endpoint"),
            ),
        ),
        Chain(
            name="forward",
            hook="forward",
            priority=_FILTER,
            rules=(
                (IPV6, jump("forward6")),
                (IPV6, ACCEPT),
                (match(both(IN, OUT), "@same"), ACCEPT),
                (match(OUT, "@bridges"), ESTABLISHED, ACCEPT),
                (match(OUT, "@bridges"), *_RELATED_ICMP, ACCEPT),
                (match(OUT, "@bridges"), *_SENT_ON_BY_A_VIP, ACCEPT),
                (match(OUT, "@bridges"), *drop("a new connection to a DIP")),
                (FROM_GUEST, jump("egress")),
            ),
        ),
        ARRIVING6,
        FORWARD6,
        INPUT6,
        _egress(()),
        Chain(name="refuse", rules=((match(meta("l4proto"), "tcp"), refuse("tcp reset")), (refuse("icmpx"),))),
        Chain(
            name="input",
            hook="input",
            priority=_FILTER,
            rules=(
                (match(IN, "lo"), ACCEPT),
                (IPV6, jump("input6")),
                (match(IN, "@bridges", "!="), match(field("ip", "daddr"), "@subnets"), *drop("a gateway, outside")),
                (match(IN, "@bridges", "!="), ACCEPT),
                (ESTABLISHED, ACCEPT),
                (*_RELATED_ICMP, ACCEPT),
                (match(field("udp", "sport"), 68), match(field("udp", "dport"), 67), ACCEPT),
                (match(both(IN, field("ip", "daddr")), "@gateways"), match(field("udp", "dport"), 53), ACCEPT),
                (match(both(IN, field("ip", "daddr")), "@gateways"), match(field("tcp", "dport"), 53), ACCEPT),
                (
                    match(both(IN, field("ip", "daddr")), "@gateways"),
                    match(field("icmp", "type"), "echo-request"),
                    ACCEPT,
                ),
                (match(both(field("ip", "daddr"), field("tcp", "dport")), "@endpoints"), ACCEPT),
                drop("the host from a guest"),
            ),
        ),
        Chain(
            name="postrouting",
            hook="postrouting",
            priority=_SRCNAT,
            type="nat",
            rules=(
                (
                    match(field("ip", "saddr"), "@subnets"),
                    match(OUT, "@bridges", "!="),
                    match(OUT, "lo", "!="),
                    nft.MASQUERADE,
                ),
            ),
        ),
    ),
)


# What the host forwards for others than guests. Bridged frames pass here as well (br_netfilter), and are not
# forwarded: they leave by the interface that they came by. nft compares no two names, but finds a pair that it has
# just noted. A set that rules fill has to come with them, or it is of a kind that they cannot fill.
_LOOPS: Final = Set(name="loops", type=("ifname", "ifname"), filled=True)
_OTHERS: Final = Chain(
    name="others",
    rules=(
        (match(IN, _ANY_BRIDGE), RETURN),
        (match(OUT, _ANY_BRIDGE), RETURN),
        (remember(both(IN, IN), _LOOPS.name),),
        (match(both(IN, OUT), f"@{_LOOPS.name}"), RETURN),
        drop(NO_ROUTER),
    ),
)


def inet(denied: Sequence[str], *, for_others: Collection[int] = (4, 6)) -> Table:
    """The table `inet` of a host whose guests are refused these networks (CIDR), which do not overlap.

    By the versions of IP that it does not route for others, it forwards only what comes from guests or goes to them.
    """
    chains = {chain.name: chain for chain in (*INET.chains, _egress(denied))}
    closed = [name for version, name in ((4, "forward"), (6, FORWARD6.name)) if version not in for_others]
    for name in closed:
        chains[name] = dataclasses.replace(chains[name], rules=(*chains[name].rules, (jump(_OTHERS.name),)))
    if not closed:
        return dataclasses.replace(INET, chains=tuple(chains.values()))
    return dataclasses.replace(INET, sets=(*INET.sets, _LOOPS), chains=(*chains.values(), _OTHERS))


# Which roles of a service reach which, where one of them says so by an internal endpoint. Without a memory of
# connections (the bridge has none of its own, and ours is not to be filled by neighbours): of TCP the packet that
# begins a connection is looked at, of UDP who may ask is answered for a while. Frames are judged by the ports of the
# bridge that they leave by, so that a broadcast reaches whom it may reach. `@callers` gives the number of a role.
ANSWERED_S: Final = 180  # as long as conntrack remembers a UDP stream
_TAP_PORT, _DATAGRAM_PORT = field("tcp", "dport"), field("udp", "dport")
_BEGINS = match(masked(field("tcp", "flags"), 0x12), 0x02)  # SYN without ACK
_IS_ASKED = match(both(MARK, OUT, _DATAGRAM_PORT), "@datagrams")


def _let(*conditions: nft.Json) -> tuple[nft.Json, ...]:
    return (*conditions, put(MARK, 0), ACCEPT)


_ROLES: Final = Chain(
    name="roles",
    rules=(
        _let(match(meta("protocol"), "ip", "!=")),
        _let(match(both(MARK, OUT), "@peers")),
        _let(match(meta("l4proto"), "icmp")),
        _let(match(masked(field("ip", "frag-off"), 0x1FFF), 0, "!=")),  # its first part was let through
        _let(match(masked(field("tcp", "flags"), 0x12), 0x02, "!=")),
        _let(_BEGINS, match(both(MARK, OUT, _TAP_PORT), "@connections")),
        _let(match(both(field("ip", "saddr"), field("udp", "sport"), field("ip", "daddr")), "@answers")),
        (_IS_ASKED, remember(both(field("ip", "daddr"), _DATAGRAM_PORT, field("ip", "saddr")), "answers")),
        _let(_IS_ASKED),
        drop("what another role may not reach"),
    ),
)

BRIDGE: Final = Table(
    family="bridge",
    name="vmrole",
    sets=(
        Set(name="macs", type=("ifname", "ether_addr")),
        Set(name="cards", type=("ifname", "mark")),
        Set(name="guests", type=("ifname", "ether_addr", "ipv4_addr")),
        Set(name="ends6", type=("ifname", "mark")),
        Set(name="guests6", type=("ifname", "ether_addr", "ipv6_addr")),
        Set(name="asking", type=("ether_addr",), filled=True, timeout_s=ASKED_S),
        Set(name="callers", type=("ifname",), gives="mark"),
        Set(name="peers", type=("mark", "ifname")),
        Set(name="connections", type=("mark", "ifname", "inet_service"), interval=True),
        Set(name="datagrams", type=("mark", "ifname", "inet_service"), interval=True),
        Set(name="answers", type=("ipv4_addr", "inet_service", "ipv4_addr"), filled=True, timeout_s=ANSWERED_S),
        Set(name="inner", type=("ipv4_addr",)),
        Set(name="outside", type=("ifname",)),  # taps on bridges of the host's own
        *GIVEN_SETS,
    ),
    chains=(
        Chain(
            name="prerouting",
            hook="prerouting",
            priority=_RAW,
            rules=((_FROM_TAP, jump("guard")),),
        ),
        # Frames to 01:80:c2:00:00:0x skip prerouting, and the bridge would learn their sender.
        Chain(
            name="input",
            hook="input",
            priority=_RAW,
            rules=(
                (_FROM_TAP, match(_TAP_MAC, "@macs", "!="), *drop("another MAC to the bridge")),
                (_FROM_TAP, match(field("ip", "daddr"), "@inner"), *drop("another instance, by way of the host")),
            ),
        ),
        Chain(
            name="forward",
            hook="forward",
            priority=_RAW,
            rules=(
                (
                    match(OUT, "@outside"),
                    match(meta("protocol"), "ip6"),
                    *drop("IPv6 to a guest by the host's bridge"),
                ),
                (match(OUT, "@outside"), ACCEPT),
                (match(IN, _ANY_TAP, "!="), match(OUT, _ANY_TAP), *drop("a port that is no instance's")),
                *BETWEEN_GUESTS6,
                (put(MARK, given(IN, "callers")), jump("roles")),
            ),
        ),
        _ROLES,
        POSTROUTING,
        GIVEN,
        GUARD6,
        Chain(
            name="guard",
            rules=(
                (match(_ETHER_TYPE_RAW, _VLAN_TAGS), *drop("a VLAN tag")),
                (match(_TAP_MAC, "@macs", "!="), *drop("another MAC")),
                (match(meta("protocol"), "ip6"), jump("guard6")),
                (
                    match(both(IN, field("arp", "saddr ether"), field("arp", "saddr ip")), "@guests"),
                    match(field("arp", "operation"), any_of("request", "reply")),
                    ACCEPT,
                ),
                (  # The probe of RFC 5227: whether somebody else has the address.
                    match(field("arp", "operation"), "request"),
                    match(field("arp", "saddr ip"), "0.0.0.0"),  # noqa: S104 - not a socket's address
                    match(both(IN, field("arp", "saddr ether"), field("arp", "daddr ip")), "@guests"),
                    ACCEPT,
                ),
                (match(meta("protocol"), "arp"), *drop("ARP for another address")),
                (match(field("udp", "sport"), 67), *drop("a DHCP server")),
                (
                    match(field("ip", "saddr"), "0.0.0.0"),  # noqa: S104 - not a socket's address
                    match(field("ip", "daddr"), "255.255.255.255"),
                    match(field("udp", "sport"), 68),
                    _TO_DHCP,
                    *_ASKS_FOR_TAP,
                    remember(field("ether", "saddr"), "asking"),
                    ACCEPT,
                ),
                (_ADDRESS_OF_TAP, _TO_DHCP, *_ASKS_FOR_TAP, ACCEPT),
                (_TO_DHCP, *drop("DHCP for another card")),
                (_ADDRESS_OF_TAP, ACCEPT),
                (match(meta("protocol"), "ip"), *drop("another address")),
                drop("neither ARP nor IPv4"),
            ),
        ),
    ),
)
