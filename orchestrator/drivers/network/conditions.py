"""What rules of both tables ask of a packet, whichever of them it is for."""

from __future__ import annotations

import ipaddress
from typing import Final

from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import both, match, meta, put, raw
from orchestrator.model import MAC_PREFIX, by_card

IN: Final = meta("iifname")
OUT: Final = meta("oifname")
MARK: Final = meta("mark")
ESTABLISHED: Final = match({"ct": {"key": "state"}}, ["established"], "in")
RELATED: Final = match({"ct": {"key": "state"}}, ["related"], "in")
RELATED_ICMPV6: Final = (RELATED, match(meta("l4proto"), "ipv6-icmp"))
FROM_GUEST: Final = match(IN, "@bridges")


# A card that a packet names within itself: who reads it goes by that, whoever sends it. nft compares
# bits at a place with no MAC address; so the first two bytes are ours, and the others are looked up as a mark. Its
# elements are in both byte orders, because what nft writes into a mark is not the same in all its releases: a MAC of
# ours has 0 for its third byte, so that no instance's is another's turned round.
def card_of_tap(first_bit: int) -> tuple[nft.Json, ...]:
    """The MAC that stands at that place behind the transport's header is the tap's own."""
    start = MAC_PREFIX.replace(":", "")
    third = match(raw("th", first_bit + 16, 8), int(start[4:], 16))  # else it may be one turned round
    return (third, *_of_tap(first_bit, start[:4], "cards"))


# A client of DHCP asks, and gives itself nothing: some servers answer in the message that they were sent, and would
# tell an address of a guest's own choice.
def asks_for_tap() -> tuple[nft.Json, ...]:
    """A message of a client's for the card that DHCP itself names (RFC 2131), which is the tap's own."""
    udp = 64
    return (match(raw("th", udp, 8), 1), match(raw("th", udp + 16 * 8, 32), 0), *card_of_tap(udp + 28 * 8))


def address_of_tap(first_bit: int) -> tuple[nft.Json, ...]:
    """The address of IPv6 that stands at that place is made of the tap's card: its last eight bytes are."""
    start = by_card("::/64", f"{MAC_PREFIX}:00:00:00")
    return _of_tap(first_bit + 64, ipaddress.IPv6Address(start).packed[8:12].hex(), "ends6")


def _of_tap(first_bit: int, start: str, ends: str) -> tuple[nft.Json, ...]:
    """What stands there is `start`, and then four bytes that are the tap's in the set `ends`."""
    bits = len(start) * 4
    return (
        match(raw("th", first_bit, bits), int(start, 16)),
        put(MARK, raw("th", first_bit + bits, 32)),
        match(both(IN, MARK), f"@{ends}"),
        put(MARK, 0),
    )
