"""Which addresses DHCP servers on bridges of the host's give to cards of ours, as their own words pass to the guest.

A guest's word is no proof. What passes to its tap is: no guest serves DHCP (`guard`), and the card that is spoken of
is looked up. What is sent to one machine tells no other address than that by which it came there, so that nobody from
outside the bridge gives one; what is sent to all is not routed. The kernel keeps it, so that nothing is missed while
no daemon runs. A server says first which kind of message it is, as all that are known do (dnsmasq, ISC's and Kea,
systemd's, busybox's, Windows'): nft follows no list.

It can only write down a mark, and which bytes of that come first is not the same in all its releases. So the card is
written down as well, whose bytes are known.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterable
from typing import Final, Literal

from orchestrator.drivers.network.conditions import MARK, OUT
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import (
    RETURN,
    Chain,
    Set,
    Table,
    both,
    field,
    jump,
    masked,
    match,
    oftener,
    put,
    raw,
    remember,
)
from orchestrator.model import MAC_PREFIX, Given

STAYS_S: Final = 3600  # a daemon may be down for as long; a lease lasts longer, and is told again before it ends
AGAIN_S: Final = 1.0  # between two looks
_RAW: Final = -300  # a priority of netfilter hooks, nft(8)
_BOOTP: Final = 8 * 8  # bits of the transport's header, which RFC 951's message stands behind
_YOURS, _CARD, _COOKIE = (_BOOTP + byte * 8 for byte in (16, 28, 236))
_IS_A_REPLY, _IS_DHCP, _IS_AN_ACK = 2, 0x63825363, 0x350105  # option 53, one byte, DHCPACK (RFC 2132)
_FRAGMENT: Final = 0x3FFF  # more of them, or not the first
_OURS: Final = MAC_PREFIX.replace(":", "")
_CARDS, _ADDRESSES = "answered", "given"
_OFTEN, _A_MINUTE = "telling", 20  # of a card: who tells it ever other addresses fills no set
_ALL: Final = "255.255.255.255"

GIVEN_SETS: Final = (
    *(Set(name=name, type=("ifname", "mark"), filled=True, timeout_s=STAYS_S) for name in (_CARDS, _ADDRESSES)),
    Set(name=_OFTEN, type=("ifname",), filled=True, timeout_s=STAYS_S),
)
# What is too short to hold what a rule asks of it ends that rule, and no more: so all is asked before the jump.
POSTROUTING: Final = Chain(
    name="postrouting",
    hook="postrouting",
    priority=_RAW,
    rules=(
        (
            match(OUT, "@outside"),
            match(masked(field("ip", "frag-off"), _FRAGMENT), 0),
            match(field("udp", "sport"), 67),
            match(field("udp", "dport"), 68),
            match(raw("th", _BOOTP, 8), _IS_A_REPLY),
            match(raw("th", _YOURS, 32), 0, "!="),  # 0 where what was asked for was no address (DHCPINFORM)
            match(raw("th", _CARD, 24), int(_OURS, 16)),
            match(raw("th", _COOKIE, 32), _IS_DHCP),
            match(raw("th", _COOKIE + 32, 24), _IS_AN_ACK),
            jump("given"),
        ),
    ),
)
GIVEN: Final = Chain(
    name="given",
    rules=(
        (put(MARK, raw("th", _CARD + 16, 32)),),
        (match(both(OUT, MARK), "@cards", "!="), put(MARK, 0), RETURN),
        (oftener(_A_MINUTE, OUT, _OFTEN, per="minute"), put(MARK, 0), RETURN),
        (
            match(field("ip", "daddr"), _ALL),
            remember(both(OUT, MARK), _CARDS),
            put(MARK, raw("th", _YOURS, 32)),
            remember(both(OUT, MARK), _ADDRESSES),
        ),
        (
            match(field("ip", "daddr"), _ALL, "!="),
            match(both(OUT, field("ether", "daddr")), "@macs"),
            remember(both(OUT, MARK), _CARDS),
            put(MARK, raw("nh", 16 * 8, 32)),  # where it is sent to: what is given is that
            remember(both(OUT, MARK), _ADDRESSES),
        ),
        (put(MARK, 0),),
    ),
)
_ORDERS: Final[tuple[Literal["little", "big"], ...]] = ("little", "big")
_TABLE: Final = Table(family="bridge", name="vmrole", sets=GIVEN_SETS, chains=())


def given(now_s: float) -> tuple[Given, ...]:
    """All that was given within `STAYS_S` before `now_s` (seconds since the epoch)."""
    addresses = nft.elements(_TABLE, _ADDRESSES)
    if not addresses:
        return ()
    order = order_of(int(mark) for _, mark in nft.elements(_TABLE, _CARDS))
    return tuple(
        Given(
            tap=tap,
            address=str(ipaddress.IPv4Address(int(mark).to_bytes(4, order))),
            at_s=now_s - (STAYS_S - left_s),
        )
        for (tap, mark), left_s in addresses.items()
    )


def order_of(cards: Iterable[int]) -> Literal["little", "big"]:
    """Which bytes of a mark come first, told by those of cards, whose first is 0; the machine's, where both may."""
    known = list(cards)
    fit = [order for order in _ORDERS if all(one.to_bytes(4, order)[0] == 0 for one in known)]
    return fit[0] if len(fit) == 1 else sys.byteorder
