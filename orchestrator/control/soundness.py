"""Whether a record that has the right shape may be what it says: names of which paths, domains and rules are made.

A record comes from a disk, from another version, or from a backup that somebody gave. What is no name, address or id
of ours is not tried, for libvirt to find out: the record is set aside, as one that cannot be read.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from orchestrator.errors import InvalidInput
from orchestrator.model import (
    Instance,
    Nic,
    Service,
    instance_name,
    label,
    service_of,
)

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
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
        case _:
            pass
    return record


def _require_instance(one: Instance, key: str) -> None:
    _require("name", [one.name == key == instance_name(one.service, one.role_name, one.index), one.index >= 0])
    _require("service", [_is(label, service_of(one.service)), _is(label, one.role_name)])
    _require("uid", [_is(uuid.UUID, one.uid)])
    _require("nic", _nic(one.nic))


def _require_service(service: Service, key: str) -> None:
    network, vips = service.network, (service.spec.vip, service.spec.staging_vip)
    _require("name", [service.name == key, _is(label, service.service)])
    _require("network.bridge", [_LINK.fullmatch(network.bridge) is not None])
    _require("network.subnet", [_is(ipaddress.IPv4Network, network.subnet)])
    _require("network.gateway", [_is(ipaddress.IPv4Address, network.gateway)])
    _require("network.subnet6", [not network.subnet6 or _is(ipaddress.IPv6Network, network.subnet6)])
    _require("vip", [not vip or _is(ipaddress.ip_address, vip) for vip in vips])


def _nic(nic: Nic) -> Iterable[bool]:
    yield _is(ipaddress.IPv4Address, nic.address)
    yield not nic.gateway or _is(ipaddress.IPv4Address, nic.gateway)
    yield not nic.address6 or _is(ipaddress.IPv6Address, nic.address6)
    yield _MAC.fullmatch(nic.mac) is not None
    yield _LINK.fullmatch(nic.tap) is not None
    yield 0 < nic.prefix_length <= 32


def _is(made: Callable[[str], object], text: str) -> bool:
    try:
        made(text)
    except (ValueError, InvalidInput):
        return False
    return True


def _require(what: str, all_of: Iterable[bool]) -> None:
    if not all(all_of):
        raise Unsound(f"{what}: it cannot be what the record says")
