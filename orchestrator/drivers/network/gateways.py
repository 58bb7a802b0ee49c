"""The host's own addresses in the private network of a service."""

from __future__ import annotations

from orchestrator.drivers.tools.command import run
from orchestrator.model import ServiceNetwork


def gateways(network: ServiceNetwork) -> tuple[tuple[str, int], ...]:
    """Each with the bits of its netmask."""
    ipv4 = (network.gateway, network.prefix_length)
    return (ipv4, (network.gateway6, 64)) if network.gateway6 else (ipv4,)


def put_back(bridge: str, gateway: str, length: int) -> None:
    """Adds one; nobody but the host may have it, and so nobody is asked."""
    without_asking = ["nodad"] if ":" in gateway else []
    run(["ip", "address", "add", f"{gateway}/{length}", "dev", bridge, *without_asking])
