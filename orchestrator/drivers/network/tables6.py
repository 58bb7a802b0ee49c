"""IPv6 of guests: the way from a VIP to them and back, and nothing else.

Those of a service that has a network of IPv6 may send the host what is their own by it; one another, nothing. What
one begins is refused but at an endpoint of a VIP, so there is no way out by it that `egress` would have to judge.
"""

from __future__ import annotations

from typing import Final

from orchestrator.drivers.network.conditions import (
    ESTABLISHED,
    FROM_GUEST,
    IN,
    MARK,
    OUT,
    RELATED_ICMPV6,
    address_of_tap,
    card_of_tap,
)
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import (
    ACCEPT,
    Chain,
    any_of,
    both,
    counted,
    drop,
    field,
    jump,
    match,
    meta,
    put,
    raw,
)
from orchestrator.model import TAP_PREFIX

IPV6 = match(meta("nfproto"), "ipv6")
_SENT_ON_BY_A_VIP = (
    match({"ct": {"key": "status"}}, "dnat", "in"),
    match({"ct": {"key": "ip6 daddr", "dir": "original"}}, "@vips6"),
)
_SENT_ON: Final = 0x76720006
_FROM_TAP: Final = match(IN, f"{TAP_PREFIX}*")
# Where bridged frames pass the hooks of packets (br_netfilter), what a guest asks of a VIP and a member answers it
# stays on the bridge, whose own chains see no connections. What is the VIP's doing is known there by a mark.
ARRIVING6: Final = Chain(
    name="arriving6",
    hook="prerouting",
    priority=-99,  # behind the translation
    rules=(
        (
            FROM_GUEST,
            match(field("ip6", "daddr"), "@subnets6"),
            match({"ct": {"key": "status"}}, "dnat", "in"),
            put(MARK, _SENT_ON),
        ),
    ),
)
BETWEEN_GUESTS6: Final = (
    (_FROM_TAP, match(meta("protocol"), "ip6"), match(MARK, _SENT_ON), put(MARK, 0), ACCEPT),
    (_FROM_TAP, match(meta("protocol"), "ip6"), *drop("IPv6 between guests")),  # on bridges of others it is theirs
)
_IS_AN_ANSWER = match({"ct": {"key": "direction"}}, "reply")

FORWARD6: Final = Chain(
    name="forward6",
    rules=(
        (match(OUT, "@bridges"), ESTABLISHED, ACCEPT),
        (match(OUT, "@bridges"), *RELATED_ICMPV6, ACCEPT),
        (match(OUT, "@bridges"), *_SENT_ON_BY_A_VIP, ACCEPT),
        (match(OUT, "@bridges"), *drop("a new connection to a DIP of IPv6")),
        (FROM_GUEST, _IS_AN_ANSWER, ESTABLISHED, ACCEPT),
        (FROM_GUEST, _IS_AN_ANSWER, *RELATED_ICMPV6, ACCEPT),
        (FROM_GUEST, *counted("IPv6 from a guest", jump("refuse"))),
    ),
)
_SPEAKS_OF_NEIGHBOURS: Final = ("nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit")
INPUT6: Final = Chain(
    name="input6",
    rules=(
        (
            match(IN, "@bridges", "!="),
            match(field("ip6", "daddr"), "@subnets6"),
            *drop("a gateway of IPv6, outside"),
        ),
        (match(IN, "@bridges", "!="), ACCEPT),
        (ESTABLISHED, ACCEPT),
        (*RELATED_ICMPV6, ACCEPT),
        (
            match(field("icmpv6", "type"), any_of(*_SPEAKS_OF_NEIGHBOURS)),
            match(field("ip6", "hoplimit"), 255),
            ACCEPT,
        ),
        (match(both(field("ip6", "daddr"), field("tcp", "dport")), "@endpoints6"), ACCEPT),
        drop("the host from a guest by IPv6"),
    ),
)

_WHOSE: Final = both(IN, field("ether", "saddr"), field("ip6", "saddr"))
_ITS_OWN_IS_MEANT: Final = address_of_tap(64)  # in messages about neighbours
_ICMPV6_TYPE: Final = field("icmpv6", "type")
_FRAGMENT, _OPTION_OF_SENDER, _OPTION_OF_TARGET = 44, 0x0101, 0x0201  # next header; type and length of an option
_HARMLESS: Final = (
    "destination-unreachable",
    "packet-too-big",
    "time-exceeded",
    "parameter-problem",
    "echo-request",
    "echo-reply",
)


def _about_its_card(
    kind: str, length: int, option: int, what: tuple[nft.Json, ...] = ()
) -> tuple[tuple[nft.Json, ...], ...]:
    """A message of neighbour discovery (RFC 4861) of so many bytes: with one option, its own card, or with none."""
    of_kind, size = match(_ICMPV6_TYPE, kind), field("ip6", "length")
    named = match(raw("th", length * 8, 16), option), *card_of_tap(length * 8 + 16)
    return (of_kind, match(size, length), *what, ACCEPT), (of_kind, match(size, length + 8), *what, *named, ACCEPT)


# What one may send to the host by IPv6; others than it hear nothing (`forward`). Extension headers could hide what
# follows them, and whoever reads it may find more than we do. A part of a datagram says itself what it is a part of.
GUARD6: Final = Chain(
    name="guard6",
    rules=(
        (
            match(field("ip6", "nexthdr"), _FRAGMENT),
            match({"exthdr": {"name": "frag", "field": "nexthdr"}}, any_of("tcp", "udp")),
            match(_WHOSE, "@guests6"),
            ACCEPT,
        ),
        (
            match(field("ip6", "nexthdr"), any_of("tcp", "udp", "ipv6-icmp"), "!="),
            *drop("an extension header of IPv6"),
        ),
        (  # Whether somebody else has the address (RFC 4862).
            match(field("ip6", "saddr"), "::"),
            match(_ICMPV6_TYPE, "nd-neighbor-solicit"),
            *_ITS_OWN_IS_MEANT,
            ACCEPT,
        ),
        (match(_WHOSE, "@guests6", "!="), *drop("another address of IPv6")),
        *_about_its_card("nd-neighbor-advert", 24, _OPTION_OF_TARGET, _ITS_OWN_IS_MEANT),
        *_about_its_card("nd-neighbor-solicit", 24, _OPTION_OF_SENDER),
        *_about_its_card("nd-router-solicit", 8, _OPTION_OF_SENDER),
        (match(_ICMPV6_TYPE, any_of(*_HARMLESS)), ACCEPT),
        (match(meta("l4proto"), "ipv6-icmp"), *drop("a router of IPv6, or a lie about neighbours")),
        (match(field("udp", "sport"), 547), *drop("a DHCPv6 server")),
        (ACCEPT,),
    ),
)
