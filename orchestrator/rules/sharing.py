"""Which services may have one virtual address together: those that all say so, each with ports of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem
from orchestrator.model import Mode, ServiceSpec


def clash(spec: ServiceSpec, other: ServiceSpec) -> Problem | None:
    """Why both cannot have their addresses, as a fault of `spec`; None when they can."""
    if not spec.vip or spec.vip != other.vip:
        return None
    if not (spec.shared_vip and other.shared_vip):
        lacking = " and ".join(one.name for one in (spec, other) if not one.shared_vip)
        hint = f"choose another, or say sharedVip: true in the file of {lacking}"
        return Problem(f"{spec.vip} is already the VIP of service {other.name}", key="vip", hint=hint)
    taken = dict(_places(other))
    for place, key in _places(spec):
        if place in taken:
            port, udp = place
            told = (
                f"port {port}{'/udp' if udp else ''} of {spec.vip} is taken by service {other.name} ({taken[place]})"
            )
            return Problem(told, key=key, hint="each port of a shared VIP once; choose another")
    return None


def _places(spec: ServiceSpec) -> Iterator[tuple[tuple[int, bool], str]]:
    """Each port of the VIP, whether it is of udp, and the key that says so."""
    for role in spec.roles:
        for end in role.endpoints:
            for port, own in zip(end.ports, ("port", "tls.redirectFrom"), strict=False):
                yield (port, end.mode is Mode.UDP), f"roles.{role.name}.endpoints.{end.name}.{own}"
