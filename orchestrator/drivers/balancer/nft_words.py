"""How endpoints, members and ports stand in the text of the pools' table: numbers and addresses, and nothing that a
user wrote.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import Permanent
from orchestrator.model import Frontend, Mode, ip

TABLE: Final = "vmrole_pools"
ADDRESSES_KNOWN: Final = 16_384  # which need not be taken apart again


@dataclass(frozen=True, slots=True)
class Family:
    """One of nftables' families of tables, and what addresses are in its text."""

    name: str
    version: int
    refusal: str  # of a datagram
    bits: int  # of a service's network, and, of IPv6, of all addresses that one client has

    @property
    def at(self) -> str:
        """The table."""
        return f"{self.name} {TABLE}"

    @property
    def type(self) -> str:
        """Of an address."""
        return f"ipv{self.version}_addr"

    @property
    def place(self) -> str:
        """Where a packet is going."""
        return f"{self.name} daddr . meta l4proto . th dport"

    @property
    def key(self) -> str:
        """The type of such a place."""
        return f"type {self.type} . inet_proto . inet_service"

    @property
    def mask(self) -> str:
        """Of a service's network."""
        whole = 32 if self.version == 4 else 128
        ones = (1 << whole) - (1 << whole - self.bits)
        return str(ipaddress.IPv4Address(ones) if self.version == 4 else ipaddress.IPv6Address(ones))

    def carries(self, frontend: Frontend) -> bool:
        """Whether the endpoint is one of its table; one without a VIP is among those of IPv4."""
        return self.is_of(frontend.vip)

    def is_of(self, address: str) -> bool:
        """Whether an address is one of its own."""
        return (":" in address) is (self.version == 6)


IPV4: Final = Family("ip", 4, "icmp", 24)
IPV6: Final = Family("ip6", 6, "icmpv6", 64)
FAMILIES: Final = (IPV4, IPV6)


def elements_of(frontend: Frontend, ports: Iterable[int]) -> list[str]:
    """Its places of clients, at these ports; none without a VIP."""
    if not frontend.vip:
        return []
    place = f"{address_of(frontend.vip)} . {protocol_of(frontend)}"
    return [f"{place} . {port_of(port)}" for port in ports]


def protocol_of(frontend: Frontend) -> str:
    """Of the connections."""
    return "udp" if frontend.mode is Mode.UDP else "tcp"


def port_of(port: int) -> int:
    """Permanent when it is none."""
    if not 1 <= port <= 65535:
        raise Permanent(f"{port} is not a port")
    return port


@functools.lru_cache(maxsize=ADDRESSES_KNOWN)
def address_of(text: str) -> str:
    """ValueError when it is none."""
    return str(ip.address(text))
