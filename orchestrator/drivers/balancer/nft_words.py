"""How endpoints, members and ports stand in the text of the pools' table: numbers and addresses, and nothing that a
user wrote.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable
from typing import Final

from orchestrator.errors import Permanent
from orchestrator.model import Frontend, Mode

TABLE: Final = "vmrole_pools"
AT: Final = f"ip {TABLE}"
PLACE: Final = "ip daddr . meta l4proto . th dport"
KEY: Final = "type ipv4_addr . inet_proto . inet_service"
ADDRESSES_KNOWN: Final = 16_384  # which need not be taken apart again


def elements_of(frontend: Frontend, ports: Iterable[int]) -> list[str]:
    """Its places of clients, at these ports; none without a VIP."""
    if not frontend.vip:
        return []
    place = f"{ipaddress.IPv4Address(frontend.vip)} . {protocol_of(frontend)}"
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
    return str(ipaddress.IPv4Address(text))
