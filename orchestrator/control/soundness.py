"""Whether a record that has the right shape may be what it says: names of which paths, domains and rules are made.

A record comes from a disk, from another version, or from a backup that somebody gave. What is no name, address or id
of ours is not tried, for libvirt to find out: the record is set aside, as one that cannot be read.
"""

from __future__ import annotations

import functools
import re
import socket
import uuid
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network
from typing import Final, TypeVar

from orchestrator.errors import InvalidInput
from orchestrator.model import (
    Image,
    Instance,
    Nic,
    Revision,
    Role,
    Service,
    ServiceSpec,
    instance_name,
    ip,
    is_sha256,
    label,
    service_of,
)
from orchestrator.model.drive import Drive, check_size

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_IPV4, _IPV6 = (functools.partial(socket.inet_pton, family) for family in (socket.AF_INET, socket.AF_INET6))
_LINK: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,14}")


R = TypeVar("R")


class Unsound(ValueError):
    """Says in a few words what of a record cannot be."""


def sound(record: R, key: str) -> R:
    """The record that was read from under this key; raises Unsound."""
    match record:
        case Instance():
            _require_instance(record, key)
        case Service():
            _require_service(record, key)
        case Revision():
            _require_spec(record.spec)
        case Role():
            _require_role(record)
        case Image():
            _require("sha256", [record.sha256 == key, is_sha256(record.sha256)])
        case Drive():
            _require("name", [record.name == key, _is(label, record.name)])
            _require("size_mib", [_is_size(record.size_mib)])
        case _:
            pass
    return record


def _require_instance(one: Instance, key: str) -> None:
    _require("name", [one.name == key == instance_name(one.service, one.role_name, one.index), one.index >= 0])
    _require("service", [_is(label, service_of(one.service)), _is(label, one.role_name)])
    _require("uid", [_is(uuid.UUID, one.uid)])
    _require("nic", _nic(one.nic))


def _require_service(service: Service, key: str) -> None:
    network = service.network
    _require("name", [service.name == key])
    _require_spec(service.spec)
    _require("network.bridge", [_LINK.fullmatch(network.bridge) is not None])
    _require("network.subnet", [_is(IPv4Network, network.subnet)])
    _require("network.gateway", [_is(_IPV4, network.gateway)])
    _require("network.subnet6", [not network.subnet6 or _network6(network.subnet6)])


def _require_spec(spec: ServiceSpec) -> None:
    _require("name", [_is(label, service_of(spec.name))])
    _require("vip", [not vip or _is(ip.address, vip) for vip in (spec.vip, spec.staging_vip)])


def _require_role(role: Role) -> None:
    _require("name", [_is(label, role.name)])
    _require("image_sha256", [is_sha256(role.image_sha256)])
    _require("local_storage", [_is(label, one.name) for one in role.local_storage])
    _require("endpoints", [_is(label, one.name) for one in (*role.faces, *role.internal_endpoints)])
    _require("endpoints.allow", [_is(ip.network, one) for face in role.faces for one in face.allow])


def _nic(nic: Nic) -> Iterable[bool]:
    yield _is(_IPV4, nic.address)
    yield not nic.gateway or _is(_IPV4, nic.gateway)
    yield not nic.address6 or _is(_IPV6, nic.address6)
    yield _MAC.fullmatch(nic.mac) is not None
    yield _LINK.fullmatch(nic.tap) is not None
    yield 0 < nic.prefix_length <= 32


def _network6(text: str) -> bool:
    return _is(ip.network, text) and ":" in text


def _is(made: Callable[[str], object], text: str) -> bool:
    try:
        made(text)
    except (ValueError, OSError, InvalidInput):
        return False
    return True


def _is_size(size_mib: int) -> bool:
    try:
        check_size(size_mib)
    except InvalidInput:
        return False
    return True


def _require(what: str, all_of: Iterable[bool]) -> None:
    if not all(all_of):
        raise Unsound(f"{what}: it cannot be what the record says")
