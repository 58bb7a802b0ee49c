"""Which kind of endpoint stands there: clients reach a role (input), each instance (instance), or other roles do."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

from orchestrator.model import Endpoint, InstanceEndpoint, InternalEndpoint, Mode, Ports, Role
from orchestrator.rules.role_names import taken_by
from orchestrator.rules.sharing import taken
from orchestrator.servicefile.endpoints import NETWORKS_MOST, PORTS_MOST, read_input_endpoint
from orchestrator.servicefile.fields import PORT_LAST, choice, networks, port, port_range, words
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import SEE, Map

AnyEndpoint = Endpoint | InstanceEndpoint | InternalEndpoint


class Type(enum.StrEnum):
    """Who reaches what by an endpoint."""

    INPUT = "input"  # clients, the role: whichever instance answers
    INSTANCE = "instance"  # clients, each instance at a port of its own
    INTERNAL = "internal"  # other roles of the service, the instances' own addresses


class _Transport(enum.StrEnum):
    TCP = "tcp"
    UDP = "udp"


class _Inner(enum.StrEnum):
    TCP = "tcp"
    UDP = "udp"
    ANY = "any"


def read_endpoint(reader: Reader, name: str, node: object, at: str) -> AnyEndpoint:
    """One endpoint of a role; faults are noted."""
    match reader.take(node, at, "type", choice(Type), Type.INPUT) if isinstance(node, Map) else Type.INPUT:
        case Type.INSTANCE:
            return _of_instances(reader, name, node, at)
        case Type.INTERNAL:
            return _internal(reader, name, node, at)
        case _:
            return read_input_endpoint(reader, name, node, at)


def _of_instances(reader: Reader, name: str, node: object, at: str) -> InstanceEndpoint:
    node = reader.keys(node, at, ("type", "ports", "target", "protocol", "allow"))
    for key in ("ports", "target"):
        if key not in node:
            reader.fault(f"{at}.{key}", "is missing", SEE)
    return InstanceEndpoint(
        name=name,
        ports=reader.take(node, at, "ports", port_range(PORTS_MOST), NO_PORTS),
        target=reader.take(node, at, "target", port, 0),
        mode=Mode(reader.take(node, at, "protocol", choice(_Transport), _Transport.TCP).value),
        allow=reader.take(node, at, "allow", networks(NETWORKS_MOST), ()),
    )


def _internal(reader: Reader, name: str, node: object, at: str) -> InternalEndpoint:
    node = reader.keys(node, at, ("type", "port", "ports", "protocol", "from"))
    several: Ports | None = reader.take(node, at, "ports", port_range(PORT_LAST), None)
    single = reader.take(node, at, "port", port, None)
    if "port" in node and "ports" in node:
        reader.fault(f"{at}.ports", "there is a port already", "say port for one, or ports for several")
    some = "port" in node or "ports" in node
    said: _Inner = reader.take(node, at, "protocol", choice(_Inner), _Inner.TCP if some else _Inner.ANY)
    if said is not _Inner.ANY and not some:
        told = "without a port all of them are open, by every protocol"
        reader.fault(f"{at}.protocol", told, "leave it out, or say port or ports")
    if node.get("from") == []:
        reader.fault(f"{at}.from", "nobody would reach it", "name roles, or leave the endpoint out")
    return InternalEndpoint(
        name=name,
        ports=Ports(single, single) if single is not None else several,
        mode=None if said is _Inner.ANY else Mode(said.value),
        callers=reader.take(node, at, "from", words, ()),
    )


NO_PORTS: Final = Ports(0, 0)  # of one whose fault is noted


def sorted_by_type(ends: Sequence[AnyEndpoint]) -> dict[str, Any]:
    """The fields of a role that keep its endpoints."""
    return {
        "endpoints": tuple(end for end in ends if isinstance(end, Endpoint)),
        "instance_endpoints": tuple(end for end in ends if isinstance(end, InstanceEndpoint)),
        "internal_endpoints": tuple(end for end in ends if isinstance(end, InternalEndpoint)),
    }


def check_between(reader: Reader, roles: Sequence[Role]) -> None:
    """Notes what no endpoint shows by itself: ports of the VIP that two take, and callers that are not there."""
    _unique_ports(reader, roles)
    names = [role.name for role in roles]
    for role in roles:
        for end in role.instance_endpoints:
            if end.ports != NO_PORTS and end.ports.number < role.instances:
                _short(reader, role, end)
        _unique_inside(reader, role)
        if whose := taken_by(role.name, names):
            reader.fault(f"roles.{role.name}", f"{whose}, and guests ask for roles by name", "choose another name")
        for inner in role.internal_endpoints:
            for caller in inner.callers:
                if caller not in names:
                    key = f"roles.{role.name}.endpoints.{inner.name}.from"
                    reader.fault(key, f"there is no role {caller!r:.60}", f"roles are: {', '.join(names)}")


def _unique_inside(reader: Reader, role: Role) -> None:
    seen: list[InternalEndpoint] = []
    for end in role.internal_endpoints:
        clash = next((one for one in seen if _meet(one, end)), None)
        if clash is not None:
            word = "ports" if end.ports and end.ports.number > 1 else "port"
            key = f"roles.{role.name}.endpoints.{end.name}.{word}"
            told = f"{end.ports} meets {clash.ports} of roles.{role.name}.endpoints.{clash.name}"
            reader.fault(key, told, "each port once, with all roles that reach it in `from`")
        seen.append(end)


def _meet(one: InternalEndpoint, other: InternalEndpoint) -> bool:
    if one.ports is None or other.ports is None or (one.mode and other.mode and one.mode is not other.mode):
        return False
    return one.ports.first <= other.ports.last and other.ports.first <= one.ports.last


def _short(reader: Reader, role: Role, end: InstanceEndpoint) -> None:
    told = f"{end.ports} is not enough for {role.instances} instances: the first is that of {role.name}-0"
    last = end.ports.first + role.instances - 1
    room = f"{end.ports.first}-{last} or more" if last <= PORT_LAST else "a range that begins lower"
    reader.fault(f"roles.{role.name}.endpoints.{end.name}.ports", told, room)


def _unique_ports(reader: Reader, roles: Sequence[Role]) -> None:
    seen: dict[tuple[int, bool], str] = {}
    for role in roles:
        for key, ports, udp in taken(role):
            key = f"roles.{role.name}.endpoints.{key}"
            clash = next((number for number in ports if number and (number, udp) in seen), None)
            if clash is not None:
                told = f"port {clash} is taken by {seen[clash, udp]}"
                reader.fault(key, told, "each port of the VIP once")
            for number in ports:
                seen.setdefault((number, udp), key)
