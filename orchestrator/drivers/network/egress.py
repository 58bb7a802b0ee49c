"""Which networks guests are refused, of those that this host can reach. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import Final

LINK_LOCAL: Final = "169.254.0.0/16"  # No router passes it on (RFC 3927 section 7); clouds answer there with keys.


def denied(deny: Iterable[str], allow: Iterable[str]) -> tuple[str, ...]:
    """What is left of `deny` and the link's own network where `allow` makes exceptions (CIDR): networks apart.

    The longest prefix decides about an address, and of two that are equally long the exception.
    """
    entries = [(IPv4Network(one), True) for one in {*deny, LINK_LOCAL}] + [(IPv4Network(one), False) for one in allow]
    refused: list[IPv4Network] = []
    for network, is_refused in sorted(entries, key=lambda entry: (entry[0].prefixlen, not entry[1], entry[0])):
        refused = [part for one in refused for part in _without(one, network)]
        refused += [network] if is_refused else []
    return tuple(str(one) for one in ipaddress.collapse_addresses(refused))


def is_denied(network: IPv4Network, refused: Iterable[str]) -> bool:
    """Whether guests reach no address of the network."""
    return any(network.subnet_of(IPv4Network(one)) for one in refused)


def _without(one: IPv4Network, hole: IPv4Network) -> Iterator[IPv4Network]:
    if not one.overlaps(hole):
        yield one
    elif hole.prefixlen > one.prefixlen:
        yield from one.address_exclude(hole)
