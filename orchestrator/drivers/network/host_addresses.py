"""The addresses of this host, through `ip -j`."""

from __future__ import annotations

import dataclasses
import json

from orchestrator.drivers.tools.command import run


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address of this host."""

    interface: str
    address: str
    label: str
    prefix_length: int


def look() -> list[Address]:
    """All of them."""
    links = json.loads(run(["ip", "-j", "-4", "address", "show"]) or "[]")
    return [
        Address(str(link["ifname"]), str(one["local"]), str(one.get("label", "")), int(one["prefixlen"]))
        for link in links
        for one in link.get("addr_info", ())
        if "local" in one
    ]


def all_of_them() -> frozenset[tuple[str, str]]:
    """Interface and address of each, of IPv4 and IPv6."""
    links = json.loads(run(["ip", "-j", "address", "show"]) or "[]")
    return frozenset(
        (str(link["ifname"]), str(one["local"]))
        for link in links
        for one in link.get("addr_info", ())
        if "local" in one
    )


def lacks(interface: str, address: str) -> bool:
    """Whether the interface does not have the address."""
    return (interface, address) not in all_of_them()
