"""Which services may have one virtual address together: those that all say so, each with ports of its own. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.errors import Problem
from orchestrator.model import Mode, Ports, Role, ServiceSpec, service_of


def clash(spec: ServiceSpec, other: ServiceSpec) -> Problem | None:
    """Why both cannot have their addresses, as a fault of `spec`; None when they can.

    That of a staging slot is shared with nobody.
    """
    for key, vip in (("vip", spec.vip), ("stagingVip", spec.staging_vip)):
        if vip and (vip == other.staging_vip or (key == "stagingVip" and vip == other.vip)):
            told = f"{vip} is already the VIP of service {service_of(other.name)}"
            return Problem(told, key=key, hint="each service has its own for what is in staging; choose another")
    if not spec.vip or spec.vip != other.vip:
        return None
    if not (spec.shared_vip and other.shared_vip):
        lacking = " and ".join(service_of(one.name) for one in (spec, other) if not one.shared_vip)
        hint = f"choose another, or say sharedVip: true in the file of {lacking}"
        told = f"{spec.vip} is already the VIP of service {service_of(other.name)}"
        return Problem(told, key="vip", hint=hint)
    theirs = dict(_places(other))
    for place, key in _places(spec):
        if place in theirs:
            port, udp = place
            told = (
                f"port {port}{'/udp' if udp else ''} of {spec.vip} is taken by service {other.name} ({theirs[place]})"
            )
            return Problem(told, key=key, hint="each port of a shared VIP once; choose another")
    return None


def _places(spec: ServiceSpec) -> Iterator[tuple[tuple[int, bool], str]]:
    """Each port of the VIP, whether it is of udp, and the key that says so."""
    for role in spec.roles:
        for key, ports, udp in taken(role):
            for port in ports:
                yield (port, udp), f"roles.{role.name}.endpoints.{key}"


def taken(role: Role) -> Iterator[tuple[str, Sequence[int] | Ports, bool]]:
    """Which key of an endpoint takes which ports of the VIP, and whether by udp."""
    for end in role.endpoints:
        udp = end.mode is Mode.UDP
        yield (f"{end.name}.ports", end.range, udp) if end.range else (f"{end.name}.port", (end.port,), udp)
        if end.tls is not None and end.tls.redirect_from is not None:
            yield f"{end.name}.tls.redirectFrom", (end.tls.redirect_from,), udp
    for own in role.instance_endpoints:
        yield f"{own.name}.ports", own.ports, own.mode is Mode.UDP
