"""Where the host's IPv4 routes lead, as far as they concern private networks."""

from __future__ import annotations

import dataclasses
import ipaddress
import json

from orchestrator.drivers.tools.command import run
from orchestrator.model import BRIDGE_PREFIX


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """A route to less than everything."""

    network: ipaddress.IPv4Network
    link: str


def foreign() -> list[Route]:
    """The routes of the main table, but our own and the default."""
    return [route for route in _listed() if not route.link.startswith(BRIDGE_PREFIX)]


def all_of_them() -> list[ipaddress.IPv4Network]:
    """The networks of all routes of the main table, ours among them, but the default."""
    return [route.network for route in _listed()]


def _listed() -> list[Route]:
    listed = json.loads(run(["ip", "-j", "-4", "route", "show", "table", "main"]) or "[]")
    return [
        Route(ipaddress.IPv4Network(one["dst"]), str(one.get("dev", "this host")))
        for one in listed
        if one["dst"] != "default"
    ]
