"""IP addresses and networks as text that goes into configurations and rules: nothing but digits, dots and colons."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address(text: str) -> Address:
    """Raises ValueError where it is none, and for one of a single interface: behind its % may stand anything, a line
    of a configuration, too.
    """
    return ipaddress.ip_address(_without_scope(text))


def network(text: str, *, strict: bool = True) -> Network:
    """The same of a network in CIDR; an address is one of its own. `strict`: the bits behind its length are zero."""
    return ipaddress.ip_network(_without_scope(text), strict=strict)


def _without_scope(text: str) -> str:
    if "%" in text:
        raise ValueError(f"{text[:80]!r} is of one interface")
    return text
