"""Whether a record that has the right shape may be what it says: names of which paths, domains and rules are made.

A record comes from a disk, from another version, or from a backup that somebody gave. What is no name, address or id
of ours is not tried, for libvirt to find out: the record is set aside, as one that cannot be read.
"""

from __future__ import annotations

import functools
import operator
import re
import socket
import uuid
from collections.abc import Callable, Iterable
from ipaddress import IPv4Interface, IPv4Network
from typing import Final, TypeVar

from orchestrator.errors import InvalidInput
from orchestrator.model import (
    Devices,
    Image,
    Incarnation,
    Instance,
    InstanceName,
    Lease,
    Nic,
    Operation,
    Revision,
    Role,
    RoleNetwork,
    Rollout,
    Service,
    ServiceSpec,
    Walk,
    image_name,
    instance_name,
    ip,
    is_lease_id,
    is_sha256,
    label,
    pci,
    place_of,
    service_of,
)
from orchestrator.model.devices import CPU_MODEL
from orchestrator.model.drive import DISK_NAME_MAX, Drive, check_size, drive_name
from orchestrator.model.lan import DHCP, LINK
from orchestrator.model.lease import LONGEST_S, SHORTEST_S
from orchestrator.model.libvirt_xml import canonical
from orchestrator.model.share import SOURCE, Share
from orchestrator.model.standstill import Standstill
from orchestrator.model.token import Token, token_name

_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_IPV4, _IPV6 = (functools.partial(socket.inet_pton, family) for family in (socket.AF_INET, socket.AF_INET6))
_LINK: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,14}")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")  # "reimage-23da7ac9e02b"
_SUBJECT: Final = re.compile(r"[a-z0-9][a-z0-9.@-]{0,199}")  # "web-0.shop", "web.shop@staging"
_DIGITS_MAX: Final = 4  # of an instance's number
_PARTY: Final = re.compile(r"[0-9A-Za-z ._@-]{0,80}")  # "uid 0", "token alice@example.com"
_TIME_END_S: Final = 253_402_300_800.0  # the year 10000, for which no calendar has a word; NaN is before no time
_TIMES: Final = operator.attrgetter(
    "phase_since_s",
    "made_at_s",
    "served_at_s",
    "sick_since_s",
    "asked_at_s",
    "frozen_since_s",
    "agent_fault_since_s",
    "agent_silent_since_s",
    "agent_fault_told_s",
    "unwell_since_s",
    "unwell_told_s",
    "retry_at_s",
    "revisit_at_s",
    "healed_at_s",
    "calm_until_s",
    "lan_given_at_s",
)


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
            _require_revision(record, key)
        case Role():
            _require_role(record)
        case Image():
            _require_image(record, key)
        case Drive():
            _require("name", [record.name == key, _is(label, record.name)])
            _require("size_mib", [_is_size(record.size_mib)])
        case Operation():
            _require_operation(record, key)
        case Rollout():
            _require_operation(record.operation, key)
            _require("service_uid", [not record.service_uid or _is(uuid.UUID, record.service_uid)])
            _require("revisions", [record.from_revision >= 0, record.to_revision >= 0, record.restores >= 0])
        case Token():
            _require_token(record, key)
        case Standstill():
            _require("service", [record.key == key, not record.service or _is(label, record.service)])
            _require("since_s", [_is_time(record.since_s)])
        case Lease():
            _require_lease(record, key)
        case _:
            pass
    return record


def _require_instance(one: Instance, key: str) -> None:
    _require("name", [one.name == key == instance_name(one.service, one.role_name, one.index), one.index >= 0])
    _require("service", [_is(label, service_of(one.service)), _is(label, one.role_name)])
    _require("uid", [_is(uuid.UUID, one.uid)])
    _require("nic", _nic(one.nic))
    by_hand = one.goal.attached
    _require("goal.attached", [_is(label, each.name) and _is(drive_name, each.drive) for each in by_hand])
    _require("goal.attached", [len(each.name) <= DISK_NAME_MAX for each in by_hand])
    passed = one.goal.passed
    _require("goal.passed", [pci.is_address(each.address) and pci.is_kind(each.kind) for each in passed])
    _require("goal.passed", [pci.is_named(pci.name_of(each.wanted)) for each in passed])
    _require("times", map(_is_time, (*_TIMES(one), *one.restarts, *one.reimages)))


def _require_service(service: Service, key: str) -> None:
    network = service.network
    _require("name", [service.name == key])
    _require_spec(service.spec)
    _require("network.bridge", [_LINK.fullmatch(network.bridge) is not None])
    _require("network.subnet", [_is(IPv4Network, network.subnet)])
    _require("network.gateway", [_is(_IPV4, network.gateway)])
    _require("network.subnet6", [not network.subnet6 or _network6(network.subnet6)])
    _require("created_at_s", [_is_time(service.created_at_s)])


def _require_revision(revision: Revision, key: str) -> None:
    _require("key", [revision.key == key, revision.number >= 0, _is(label, service_of(revision.service))])
    _require_spec(revision.spec)
    _require("applied_at_s", [_is_time(revision.applied_at_s)])


def _require_image(image: Image, key: str) -> None:
    _require("sha256", [image.sha256 == key, is_sha256(image.sha256)])
    _require("source_sha256", [not image.source_sha256 or is_sha256(image.source_sha256)])
    _require("names", [_is(image_name, name) for name in image.names])
    _require("size_bytes", [image.size_bytes >= 0, image.virtual_size_bytes >= 0])
    _require("added_at_s", [_is_time(image.added_at_s), _is_time(image.trusted_at_s)])


def _require_operation(work: Operation, key: str) -> None:
    """Also of the operation that a rollout is: who is walked, what is wished of him, and what is said of it."""
    _require("id", [work.id == key, _ID.fullmatch(work.id) is not None])
    _require("subject", [_SUBJECT.fullmatch(work.subject) is not None])
    _require("service", [_is(label, service_of(work.service))])
    _require("targets", [_target(name, wanted, work.service) for name, wanted in work.targets])
    _require("storage", [len(work.storage) in (0, len(work.targets)), *(count >= 0 for count in work.storage)])
    _require("halts", [len(work.halts) in (0, len(work.targets)), *(count >= 0 for count in work.halts)])
    _require("together", [work.together >= 1])
    _require("created_at_s", [_is_time(work.created_at_s)])
    _require("walk", _walk(work.walk, {name for name, _ in work.targets}))


def _target(name: InstanceName, wanted: Incarnation, service: str) -> bool:
    role, _, index = name.removesuffix(f".{service}").rpartition("-")
    numbered = index.isdecimal() and index.isascii() and len(index) <= _DIGITS_MAX
    whole = name.endswith(f".{service}") and _is(label, role) and numbered
    return whole and wanted.generation >= 0 and wanted.boot >= 0


def _walk(walk: Walk, names: set[InstanceName]) -> Iterable[bool]:
    yield all(one.name in names and _is_time(one.begun_at_s) for one in walk.walked)
    yield names.issuperset(walk.canaries)
    yield walk.released >= 0


def _require_token(token: Token, key: str) -> None:
    _require("name", [token.name == key, _is(token_name, token.name)])
    _require("digest", [not token.digest or is_sha256(token.digest)])
    _require("times", [_is_time(token.made_at_s), _is_time(token.expires_at_s)])
    _require("made_by", [_PARTY.fullmatch(token.made_by) is not None])


def _require_lease(one: Lease, key: str) -> None:
    _require("id", [one.id == key, is_lease_id(key)])
    _require("service", [_is(label, service_of(one.service)), _is(label, one.role)])
    _require("instance", [not one.instance or place_of(one.instance)[0] == one.role])
    _require("service_uid", [not one.service_uid or _is(uuid.UUID, one.service_uid)])
    _require("for_s", [SHORTEST_S <= one.for_s <= LONGEST_S])
    _require("times", map(_is_time, (one.asked_at_s, one.given_at_s, one.until_s)))
    _require("until_s", [not one.given or 0 < one.until_s - one.given_at_s <= LONGEST_S + 1])


def _require_spec(spec: ServiceSpec) -> None:
    _require("name", [_is(label, service_of(spec.name))])
    _require("vip", [not vip or _is(ip.address, vip) for vip in (spec.vip, spec.staging_vip)])


def _require_role(role: Role) -> None:
    _require("name", [_is(label, role.name)])
    _require("image_sha256", [is_sha256(role.image_sha256)])
    _require("local_storage", [_is(label, one.name) for one in role.local_storage])
    _require("drives", [_is(label, one.name) and _is(drive_name, one.of(99)) for one in role.drives])
    _require("shares", [_is(label, one.name) and _share(one) for one in role.shares])
    _require("network", _role_network(role.network))
    _require("devices", _devices(role.devices))
    _require("libvirt_xml", [not role.libvirt_xml or _is(canonical, role.libvirt_xml)])
    _require("endpoints", [_is(label, one.name) for one in (*role.faces, *role.internal_endpoints)])
    _require("endpoints.allow", [_is(ip.network, one) for face in role.faces for one in face.allow])


def _share(share: Share) -> bool:
    found = (re.fullmatch(SOURCE, path) for path in (share.source, *([share.mount] if share.mount else [])))
    return all(each is not None for each in found)


def _role_network(network: RoleNetwork) -> Iterable[bool]:
    yield not network.bridge or re.fullmatch(LINK, network.bridge) is not None
    yield all(_is(IPv4Interface, one) for one in network.addresses)
    yield all(
        _is(_IPV4, one) for one in (*network.dns, *([network.gateway] if network.gateway not in ("", DHCP) else []))
    )


def _devices(devices: Devices) -> Iterable[bool]:
    yield not devices.cpu_model or re.fullmatch(CPU_MODEL, devices.cpu_model) is not None
    yield all(part is None or part >= 1 for part in (devices.sockets, devices.cores, devices.threads))
    yield all(map(pci.is_named, devices.pci))


def _nic(nic: Nic) -> Iterable[bool]:
    yield _is(_IPV4, nic.address)
    yield not nic.gateway or _is(_IPV4, nic.gateway)
    yield not nic.address6 or _is(_IPV6, nic.address6)
    yield _MAC.fullmatch(nic.mac) is not None
    yield _LINK.fullmatch(nic.tap) is not None
    yield 0 < nic.prefix_length <= 32


def _is_time(at_s: float) -> bool:
    return 0.0 <= at_s < _TIME_END_S


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
