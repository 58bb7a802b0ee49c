"""A service file read by itself: what stands in it, and nothing of what it names. Pure.

Images, secrets and what the service has already are named here and looked up by `resolution`.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import ipaddress
import itertools
from collections.abc import Sequence
from typing import Final

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import (
    INSTANCES_MAX,
    Checkpoints,
    Labels,
    Leasing,
    LocalStorage,
    Restart,
    Road,
    Role,
    ServiceHealing,
    Stop,
    Topology,
    Upgrade,
    image_name,
    ip,
    is_sha256,
    service_name,
)
from orchestrator.model.checkpoint import DAY_S, REFRESHED_S
from orchestrator.model.lease import LONGEST_S, SHORTEST_S
from orchestrator.rules.beginning import cycle
from orchestrator.servicefile.devices import read_devices, read_libvirt
from orchestrator.servicefile.drives import check_drives, check_once, read_drive
from orchestrator.servicefile.endpoint_types import check_between, read_endpoint, sorted_by_type
from orchestrator.servicefile.fields import (
    Answer,
    boolean,
    choice,
    duration_s,
    integer,
    shaped,
    size_mib,
    text,
    words,
)
from orchestrator.servicefile.healing import read_healing, read_service_healing
from orchestrator.servicefile.labels import read_labels
from orchestrator.servicefile.network import check_network, read_network
from orchestrator.servicefile.reader import LABEL, Reader
from orchestrator.servicefile.shares import check_shares, read_shares
from orchestrator.servicefile.sizes import read_size
from orchestrator.servicefile.tree import SEE, Map, line_in
from orchestrator.servicefile.upgrade import read_upgrade

STORAGE_NAME_MAX = 16  # The guest finds the disk by its serial, which virtio-blk cuts after 20 bytes: "ls-" + name.
ROLE_KEYS: Final = (  # in the order in which faults of one line are told
    "image", "size", "endpoints", "instances", "answers", "labels", "localStorage", "drives", "shares", "network",
    "devices",
    "identity", "setup", "ready", "drain", "stop", "restart", "healing", "evidence", "reimage", "checkpoint", "lease",
    "topology", "after", "libvirt",
)  # fmt: skip
SETUP_KEYS: Final = ("restart", "within")


class HostKeys(enum.StrEnum):
    """What a reimage does to an instance's SSH host keys."""

    NEW = "new"  # each generation makes its own
    KEEP = "keep"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SetupDraft:
    """What stands below `setup`; None for what does not, which the image decides."""

    restart: bool | None = None
    within_s: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoleDraft:
    """A role as the file has it.

    `role` has all that no image decides, and `role.image` is a reference that nobody has followed. Which keys stand
    below `answers` and `ready` is the image's to say: both wait in `node`, unread.
    """

    role: Role
    setup: SetupDraft
    reference: str  # "": there is none, or a faulty one
    node: Map
    at: str  # e.g. "roles.web"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A service as the file has it, with what is wrong with it by itself."""

    tree: Map
    name: str
    vip: str
    shared_vip: bool
    staging_vip: str
    labels: Labels
    upgrade: Upgrade
    healing: ServiceHealing
    roles: tuple[RoleDraft, ...]
    faults: tuple[Problem, ...]
    shared: tuple[Problem, ...]  # faults between roles, told after those of the roles


def read_draft(reader: Reader) -> Draft:
    """The service in the reader's tree; what the reader has noted is in the draft's faults."""
    tree = reader.tree
    keys = ("service", "vip", "sharedVip", "stagingVip", "labels", "upgrade", "healing", "roles")
    top = reader.keys(tree, "", keys, ("service", "roles"))
    name = reader.take(top, "", "service", _name)
    vip: str = reader.take(top, "", "vip", _address, "")
    shared_vip: bool = reader.take(top, "", "sharedVip", boolean, False)
    staging_vip: str = reader.take(top, "", "stagingVip", _address, "")
    labels = read_labels(reader, top, "")
    upgrade = read_upgrade(reader, top)
    healing = read_service_healing(reader, top)
    roles: list[RoleDraft] = reader.members(top, "", "roles", functools.partial(_role, reader, labels))
    if "roles" in top and isinstance(top["roles"], Map) and not top["roles"]:
        reader.fault("roles", "a service has at least one role", SEE)
    alone = len(reader.problems)
    check_between(reader, [draft.role for draft in roles])
    check_once(reader, [draft.role for draft in roles])
    _check_order(reader, [draft.role for draft in roles])
    if "vip" not in top:
        _needs_no_vip(reader, roles)
    for draft in roles if vip else ():
        _fits_family(reader, vip, draft.role)
    if shared_vip and not any(draft.role.faces for draft in roles):
        reader.fault(
            "sharedVip", "there is no endpoint that could be at a shared VIP", "leave it out, or add endpoints"
        )
    if staging_vip and "vip" not in top:
        reader.fault("stagingVip", "there is no vip that a swap could exchange it for", "write: vip: ADDRESS, too")
    elif staging_vip and (":" in staging_vip) is not (":" in vip):
        reader.fault(
            "stagingVip", f"{staging_vip} and {vip} are not both IPv4, or both IPv6", "a swap exchanges them"
        )
    elif staging_vip and staging_vip == vip:
        reader.fault("stagingVip", f"{vip} is the vip as well", "choose another, or none: staging needs no address")
    return Draft(
        tree=tree,
        name=name or "",
        vip=vip,
        shared_vip=shared_vip,
        staging_vip=staging_vip,
        labels=labels,
        upgrade=upgrade,
        healing=healing,
        roles=tuple(roles),
        faults=tuple(reader.problems[:alone]),
        shared=tuple(reader.problems[alone:]),
    )


def _check_order(reader: Reader, roles: Sequence[Role]) -> None:
    """Notes roles that wait for what there is not, for themselves, or for each other."""
    names = [role.name for role in roles]
    for role in roles:
        for other in dict.fromkeys(role.after):
            if other not in names:
                hint = f"roles are: {', '.join(names)}"
                reader.fault(f"roles.{role.name}.after", f"there is no role {other!r:.60}", hint)
    if ring := cycle(roles):
        told = f"none of them would ever begin: {' after '.join(ring)}"
        reader.fault(f"roles.{ring[0]}.after", told, "take one of them out of an `after`")


def _role(reader: Reader, of_service: Labels, name: str, node: object, at: str) -> RoleDraft:
    keys = ("image", "instances", "size", "endpoints", "localStorage", "answers", "setup", "ready")
    more = ("drain", "stop", "restart", "healing", "evidence", "reimage", "checkpoint", "lease", "topology", "after")
    others = ("identity", "labels", "drives", "shares", "network", "devices", "libvirt")
    node = reader.keys(node, at, (*keys, *more, *others), ("image",))
    reference: str = reader.take(node, at, "image", _reference, "")
    size, limits = read_size(reader, node, at)
    endpoints = reader.members(node, at, "endpoints", functools.partial(read_endpoint, reader))
    instances = reader.take(node, at, "instances", integer(0, INSTANCES_MAX), 1)
    labels = dict(of_service) | dict(read_labels(reader, node, at))
    storage = reader.members(node, at, "localStorage", functools.partial(_storage, reader))
    drives = reader.members(node, at, "drives", functools.partial(read_drive, reader))
    check_drives(reader, at, drives, storage, instances)
    shares = read_shares(reader, node, at)
    check_shares(reader, at, shares, {one.name: one.mount for one in drives if one.mount})
    road: Road = reader.take(node, at, "reimage", choice(Road), Road.COLD)
    role = Role(
        name=name,
        labels=tuple(sorted(labels.items())),
        image=reference,
        image_sha256="",
        instances=instances,
        size=size,
        limits=limits,
        **sorted_by_type(endpoints),
        local_storage=tuple(storage),
        drives=tuple(drives),
        shares=shares,
        network=read_network(reader, node, at),
        devices=read_devices(reader, node, at, size),
        libvirt_xml=read_libvirt(reader, node, at),
        keep_ssh_host_keys=_identity(reader, node, at),
        drain_s=reader.take(node, at, "drain", duration_s(0, 3600), 30.0),
        stop=Stop(within_s=_within(reader, node, at, "stop")),
        restart=Restart(within_s=_within(reader, node, at, "restart")),
        healing=read_healing(reader, node, at),
        keep_failed_disk=_evidence(reader, node, at),
        reimage=road,
        checkpoint=_checkpoint(reader, node, at, road),
        lease=_lease(reader, node, at),
        topology=reader.take(node, at, "topology", choice(Topology), Topology.BLAST),
        after=reader.take(node, at, "after", words, ()),
    )
    check_network(reader, at, role)
    return RoleDraft(role=role, setup=_setup(reader, node, at), reference=reference, node=node, at=at)


def _within(reader: Reader, node: Map, at: str, key: str) -> float | None:
    inner = reader.keys(node.get(key, Map()), f"{at}.{key}", ("within",))
    within_s: float | None = reader.take(inner, f"{at}.{key}", "within", duration_s(1, 24 * 3600), None)
    return within_s


def _checkpoint(reader: Reader, node: Map, at: str, road: Road) -> Checkpoints:
    """How its checkpoints are kept."""
    at = f"{at}.checkpoint"
    inner = reader.keys(node.get("checkpoint", Map()), at, ("maxAge", "memory", "refresh"))
    usual = Checkpoints()
    said_s: float | None = reader.take(inner, at, "maxAge", duration_s(1, 365 * DAY_S), None)
    max_age_s = usual.max_age_s if said_s is None else said_s
    refresh = reader.take(inner, at, "refresh", boolean, usual.refresh)
    if refresh and road is Road.COLD:
        told = "there is nothing to renew: its reimages are cold, and no checkpoint is kept"
        reader.fault(f"{at}.refresh", told, "add reimage: warm or prepared to the role, or leave refresh out")
    elif refresh and max_age_s < REFRESHED_S:
        told = f"a checkpoint that is renewed by itself is kept for {REFRESHED_S / 3600:g} h at least"
        reader.fault(f"{at}.maxAge", told, "each renewal is a cold reimage: give a longer time, or leave refresh out")
    elif said_s is not None and road is Road.COLD:
        told = "there is nothing that could become too old: its reimages are cold, and no checkpoint is kept"
        reader.fault(f"{at}.maxAge", told, "add reimage: warm or prepared to the role, or leave checkpoint out")
    memory = reader.take(inner, at, "memory", boolean, usual.memory)
    if memory and road is not Road.WARM:
        told = "its reimages are not warm: no memory is kept"
        reader.fault(f"{at}.memory", told, "add reimage: warm to the role, or leave memory out")
    return Checkpoints(max_age_s=max_age_s, memory=memory, refresh=refresh)


def _lease(reader: Reader, node: Map, at: str) -> Leasing:
    """For how long its instances are leased."""
    at = f"{at}.lease"
    inner = reader.keys(node.get("lease", Map()), at, ("longest",))
    longest_s = reader.take(inner, at, "longest", duration_s(int(SHORTEST_S), int(LONGEST_S)), Leasing().longest_s)
    return Leasing(longest_s=longest_s)


def _identity(reader: Reader, node: Map, at: str) -> bool:
    """Whether each instance keeps its SSH host keys."""
    at = f"{at}.identity"
    identity = reader.keys(node.get("identity", Map()), at, ("sshHostKeys",))
    return bool(reader.take(identity, at, "sshHostKeys", choice(HostKeys), HostKeys.NEW) is HostKeys.KEEP)


def _evidence(reader: Reader, node: Map, at: str) -> bool:
    """Whether the disk of what has failed is kept."""
    at = f"{at}.evidence"
    evidence = reader.keys(node.get("evidence", Map()), at, ("disk",))
    return bool(reader.take(evidence, at, "disk", boolean, False))


def _setup(reader: Reader, node: Map, at: str) -> SetupDraft:
    at = f"{at}.setup"
    setup = reader.keys(node.get("setup", Map()), at, SETUP_KEYS)
    return SetupDraft(
        restart=reader.take(setup, at, "restart", boolean, None),
        within_s=reader.take(setup, at, "within", duration_s(1, 24 * 3600), None),
    )


def _storage(reader: Reader, name: str, node: object, at: str) -> LocalStorage:
    if len(name) > STORAGE_NAME_MAX:
        reader.fault(at, f"{name!r} is too long", f"use at most {STORAGE_NAME_MAX} characters")
    node = reader.keys(node, at, ("size",), ("size",))
    return LocalStorage(name=name, size_mib=reader.take(node, at, "size", size_mib(1, 64 * 1024 * 1024), 1))


@shaped(type="string", minLength=1)
def _reference(node: object) -> Answer[str]:
    reference = text(node)
    if isinstance(reference, Problem):
        return reference
    name, _, digest = reference.partition("@sha256:")
    try:
        if not is_sha256(reference):
            image_name(name)
    except InvalidInput as error:
        return Problem(str(error), hint=error.hint)
    if digest and not is_sha256(digest):
        return Problem(f"{digest[:80]!r} is not a digest", hint="64 lower-case hexadecimal digits")
    return reference


@shaped(type="string", pattern=LABEL)
def _name(node: object) -> Answer[str]:
    said = text(node)
    try:
        return said if isinstance(said, Problem) else service_name(said)
    except InvalidInput as error:
        return Problem(str(error), hint=error.hint)


@shaped(type="string", pattern=r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$")
def _address(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    try:
        address = ip.address(said)
    except ValueError:
        return Problem(f"{said[:60]!r} is no IP address", hint="such as 203.0.113.10 or 2001:db8::10")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return Problem(f"{said[:60]} is one of IPv4", hint="such as 203.0.113.10 or 2001:db8::10")
    if address.is_multicast or address.is_unspecified or address.is_link_local or address.is_loopback:
        return Problem(f"{address} cannot be a VIP", hint="use an address that clients can reach")
    return str(address)


def _needs_no_vip(reader: Reader, roles: Sequence[RoleDraft]) -> None:
    """Notes the first endpoint that clients come to, at its line: there is no address at which they could."""
    faces = ((draft, end) for draft in roles for end in draft.role.faces)
    for draft, end in itertools.islice(faces, 1):
        told = f"is missing: endpoint {end.name} of role {draft.role.name} is for clients"
        hint = "write: vip: ADDRESS; a service without endpoints, or with none but internal ones, needs none"
        line = line_in(reader.tree, f"{draft.at}.endpoints.{end.name}")
        reader.problems.append(Problem(told, key="vip", line=line, hint=hint))


def _fits_family(reader: Reader, vip: str, role: Role) -> None:
    """Notes what an endpoint says that is nothing at an address of that family."""
    version = 6 if ":" in vip else 4
    for face in role.faces:
        if face.allow and all(ip.network(one).version != version for one in face.allow):
            told = f"nobody from there has an address of IPv{version}, as the VIP is"
            hint = f"name networks of IPv{version}, or leave it out for all clients"
            reader.fault(f"roles.{role.name}.endpoints.{face.name}.allow", told, hint)
