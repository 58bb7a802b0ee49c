"""What an apply makes of a service: whether there is room, which records change, what is rolled out. Pure.

Who asked for it, and how it is stored, is `control`'s.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator import servicefile
from orchestrator.control import records, unread
from orchestrator.control.asides import SetAside
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.model import (
    Goal,
    Incarnation,
    Instance,
    InstanceName,
    Nic,
    Operation,
    Progress,
    Role,
    Rollout,
    Service,
    ServiceNetwork,
    ServiceSpec,
    Upgrade,
    Verb,
    Walk,
    instance_name,
    service_of,
)
from orchestrator.model.pci import PciLook
from orchestrator.ports import COMMIT_BYTES_MAX
from orchestrator.rules import addressing, bridging, fitting, passthrough, quotas, sharing, swap
from orchestrator.rules.addressing import TakenNics
from orchestrator.rules.standing import At, Target, course_by, in_order, serves_nobody
from orchestrator.servicefile.answers import computer_faults

TEMPLATE_BYTES_MAX = COMMIT_BYTES_MAX - 1024  # as JSON; it is stored by itself
IMAGES_MAX = 40  # of one service; each has a place in the commit that makes it so


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the host gives: addresses from `pool` (CIDR) and, of IPv6, from the /48 `pool6`, memory and disk in MiB,
    vCPUs (None: whatever is asked).

    `vip_pool` tells the networks (CIDR) that VIPs are taken from, None for any; `routed` those that are there.
    `held` are the VIPs that the host has, `own` its own addresses, `laid` the cards that a service's network has.
    `ipv6_fault` is why guests cannot have IPv6 here, and the remedy; both "" where nothing is in the way.
    `bridge_fault` says why no card can be on a bridge of the host's.
    `unfit` says what the host has not of a role's devices, `huge_pages_mib` what it has reserved of such memory,
    `pci` which of its devices its owner gives.
    `blobs_mib` is what guests have put by, `require_room` raises NoSpace while the disk has no room for anything new.
    """

    pool: str
    memory_mib: int
    disk_mib: int | None = None
    vcpus: int | None = None
    pool6: str = "fd76:6d72:6f6c::/48"
    vip_pool: Callable[[], Sequence[str] | None] = lambda: None
    ipv6_fault: Callable[[], tuple[str, str]] = lambda: ("", "")
    routed: Callable[[], Sequence[str]] = tuple
    held: Callable[[], Collection[str]] = tuple
    own: Callable[[], Collection[str]] = tuple
    laid: Callable[[Service], Mapping[InstanceName, Nic]] = lambda _: {}
    bridge_fault: bridging.BridgeFault = bridging.no_fault
    unfit: fitting.Unfit = fitting.no_fault
    huge_pages_mib: Callable[[], int | None] = lambda: None
    pci: Callable[[], PciLook] = PciLook
    blobs_mib: Callable[[], int] = lambda: 0
    require_room: Callable[[], None] = lambda: None


def check(
    spec: ServiceSpec,
    others: Sequence[Service],
    capacity: Capacity,
    *,
    before: ServiceSpec | None = None,
    unread: Sequence[ServiceSpec] = (),
    unsized: Sequence[str] = (),
    drives_mib: int = 0,
) -> None:
    """Raises InvalidInput, NoSpace, or Conflict with one of the others, when the host cannot have the service.

    What the service has already (`before`) it keeps: its VIP, wherever VIPs are taken from by now, and its size.
    So do services that cannot be read, as far as they are known (`unread`); while it is not known what some of them
    may hold (`unsized`, by name), nobody gets more than he has. `drives_mib` is what all drives may come to hold.
    """
    _check_records(spec)
    service = service_of(spec.name)
    if faults := (*servicefile.role_faults(spec.roles), *computer_faults(service, spec.roles)):
        raise InvalidInput(faults[0].message, problems=faults, hint=faults[0].hint)
    for other in others:
        if other.service == service:
            swap.check_alike(spec, other)
        elif (fault := sharing.clash(spec, other.spec)) is not None:
            if fault.key in ("vip", "stagingVip"):
                raise Conflict(f"{fault.key}: {fault.message}", hint=fault.hint)
            raise InvalidInput(fault.message, problems=(fault,), hint=fault.hint)
    _check_vips(spec, others, capacity, before)
    if (found := fitting.fault(spec, before, capacity.unfit)) is not None:
        raise InvalidInput(found.message, problems=(found,), hint=found.hint)
    specs = [other.spec for other in others]
    huge_mib = capacity.huge_pages_mib()
    idle_huge_mib = (huge_mib or 0) - sum(quotas.promised(quotas.HUGE_PAGES, one) for one in (spec, *specs, *unread))
    for quota, limit, besides in (
        (quotas.MEMORY, capacity.memory_mib, max(0, idle_huge_mib)),
        (quotas.VCPUS, capacity.vcpus, 0),
        (quotas.DISK, capacity.disk_mib, drives_mib + capacity.blobs_mib()),
        (quotas.HUGE_PAGES, huge_mib, 0),
    ):
        quotas.refuse(quota, spec, before, specs, limit, unread, unsized, besides)
    if quotas.promised(quotas.DISK, spec) > (quotas.promised(quotas.DISK, before) if before is not None else 0):
        capacity.require_room()


def check_bridges(
    spec: ServiceSpec,
    before: ServiceSpec | None,
    others: Sequence[ServiceSpec],
    instances: Iterable[Instance],
    capacity: Capacity,
) -> None:
    """Raises InvalidInput where the service cannot have the cards that it wants on bridges of the host's, or the VIPs
    that it wants are addresses there.
    """
    found = bridging.fault(spec, before, others, instances, capacity.pool, capacity.bridge_fault, capacity.own)
    if found is not None:
        raise InvalidInput(found.message, problems=(found,), hint=found.hint)


def check_pci(
    spec: ServiceSpec,
    before: ServiceSpec | None,
    others: Sequence[ServiceSpec],
    instances: Sequence[Instance],
    asides: Sequence[SetAside],
    capacity: Capacity,
) -> None:
    """Raises InvalidInput where the host has not the devices that the service's instances are to have."""
    if not passthrough.asked(spec, before):
        return
    words = {aside.key: unread.words(aside) for aside in asides}
    found = passthrough.fault(spec, before, others, instances, words, capacity.pci())
    if found is not None:
        raise InvalidInput(found.message, problems=(found,), hint=found.hint)


def _check_vips(spec: ServiceSpec, others: Sequence[Service], capacity: Capacity, before: ServiceSpec | None) -> None:
    service = service_of(spec.name)
    kept = {vip for one in others if one.service == service for vip in (one.spec.vip, one.spec.staging_vip)}
    if addressing.needs_ipv6(spec) and not (before is not None and addressing.needs_ipv6(before)):
        fault, hint = capacity.ipv6_fault()
        if fault:
            told = f"vip {spec.vip or spec.staging_vip} needs IPv6 for instances: {fault}"
            raise InvalidInput(told, problems=(Problem(told, key="vip", hint=hint),), hint=hint)
    kept |= {before.vip, before.staging_vip} if before is not None else set()
    for key, vip in (("vip", spec.vip), ("stagingVip", spec.staging_vip)):
        if vip:
            addressing.check_vip(vip, capacity.pool, None if vip in kept else capacity.vip_pool(), key=key)
            addressing.refuse_own(vip, () if vip in kept else capacity.own(), key=key)


def _check_records(spec: ServiceSpec) -> None:
    """What is too large for a commit of its own: a role's texts, or more images than are held fast at once."""
    images: dict[str, str] = {}  # each with the first role that has it
    for role in spec.roles:
        images.setdefault(role.image_sha256, role.name)
        if (size := records.template_bytes(role)) > TEMPLATE_BYTES_MAX:
            fault = f"its texts are {size // 1024} KiB; a role may have {TEMPLATE_BYTES_MAX // 1024}"
            hint = "have the guest fetch what is large"
            raise InvalidInput(fault, problems=(Problem(fault, key=f"roles.{role.name}.answers", hint=hint),))
    if len(images) > IMAGES_MAX:
        fault = f"{len(images)} images; a service may have {IMAGES_MAX}"
        key = f"roles.{list(images.values())[IMAGES_MAX]}.image"
        raise InvalidInput(fault, problems=(Problem(fault, key=key, hint="make it several services"),))


def network_for(service: Service, others: Sequence[Service], capacity: Capacity) -> ServiceNetwork:
    """The service's network as its file needs it: with IPv6 from when that is first of use. Raises Conflict."""
    if not addressing.needs_ipv6(service.spec):
        return service.network
    return addressing.with_ipv6(service.network, capacity.pool6, [one.network for one in others])


def unfolded(service: Service, present: Mapping[InstanceName, Instance], now_s: float) -> list[Instance]:
    """Every instance of the service whose wish is new or another than that of `present`.

    A new one has no address yet: see `addressed`.
    """
    staying = dict(present)
    changed: list[Instance] = []
    for role in () if service.removing else service.spec.roles:
        template = replace(role, instances=0)
        for index in range(role.instances):
            name = instance_name(service.name, role.name, index)
            before = staying.pop(name, None)
            if before is None:
                changed.append(_new(service, template, index, now_s))
                continue
            nic = addressing.nic_with_ipv6(before.nic, service.network)
            if before.goal.serve and before.goal.role == template and before.nic == nic:
                continue
            before = replace(before, nic=nic)
            again = before.goal.halts + 1 if not before.goal.serve and not before.goal.runs else before.goal.halts
            changed.append(replace(before, goal=replace(before.goal, role=template, serve=True, halts=again)))
    leaving = [instance for instance in staying.values() if instance.goal.serve]
    return changed + [replace(instance, goal=replace(instance.goal, serve=False)) for instance in leaving]


def addressed(instances: Sequence[Instance], service: Service, taken: TakenNics) -> list[Instance]:
    """The instances, each new one with an address that nobody has; raises Conflict when there is none left."""
    whole: list[Instance] = []
    for instance in instances:
        if not instance.nic.address:
            nic = addressing.allocate_nic(service.network, taken, instance.name)
            taken.add(nic)
            instance = replace(instance, nic=nic)
        whole.append(instance)
    return whole


_NO_NIC = Nic(mac="", address="", tap="")


def _new(service: Service, role: Role, index: int, now_s: float) -> Instance:
    name = instance_name(service.name, role.name, index)
    return Instance(
        name=name,
        uid=str(uuid.uuid4()),
        service=service.name,
        role_name=role.name,
        index=index,
        network=service.network.name,
        nic=_NO_NIC,
        goal=(goal := Goal(role=role)),
        storage=goal.storage,  # What is there already, of a record that was lost, is not erased.
        role=role,
        phase_since_s=now_s,
        made_at_s=now_s,
    )


def stale(spec: ServiceSpec, instances: Sequence[Instance], running: Sequence[Operation]) -> list[Instance]:
    """Instances whose VM is built from something else than the spec says, and that nothing else will reimage.

    With those that a halted rollout did not reach come the failed of their roles: they go first, and halt the next
    rollout as well if they fail again.
    """
    staying = [one for one in instances if _stays(one, spec)]
    awaited = {name for one in running if one.verb is not Verb.RESTART for name, _ in one.targets}
    awaited |= {one.name for one in staying if one.goal.wanted.generation > one.generation}
    found = {
        one.name
        for one in staying
        if not _builds(spec, one, one.role) and (wished_anew(one, spec) or one.name not in awaited)
    }
    halted = {one.role_name for one in staying if one.name in found and not wished_anew(one, spec)}
    failed = {one.name for one in staying if one.has_failed and one.goal.serve and one.role_name in halted}
    return [one for one in staying if one.name in found | failed]


def failed(rollouts: Sequence[Rollout], service: Service, present: Mapping[InstanceName, Instance]) -> list[Instance]:
    """Who has failed of those that the service's last rollout went for, when that has halted."""
    own = [one for one in rollouts if (one.service_uid, one.to_revision) == (service.uid, service.file_revision)]
    last = max(own, key=lambda one: one.created_at_s, default=None)
    if last is None or last.progress is not Progress.FAILED:
        return []
    left = [present[name] for name, _ in last.targets if name in present]
    return [one for one in left if one.has_failed and one.goal.serve and one.goal.wanted <= one.at]


def wished_anew(instance: Instance, spec: ServiceSpec) -> bool:
    """Whether the spec makes another VM of the instance than what is wanted of it already."""
    return not _builds(spec, instance, instance.goal.role)


def rollout(
    service: Service,
    instances: Sequence[Instance],
    past: Sequence[Rollout],
    *,
    from_revision: int,
    restores: int,
    now_s: float,
) -> Rollout:
    """A rolling reimage of these instances, to the service's newest revision, which `restores` another one or 0.

    One that takes up what another has left to do, of those that were, goes from where that one went from, and needs
    no canary if that one's was judged. Who serves nobody is among the canaries first: nobody misses it.
    """
    same = [one for one in past if (one.service_uid, one.to_revision) == (service.uid, service.file_revision)]
    first = min(same, key=lambda one: one.created_at_s, default=None)
    from_revision = from_revision if from_revision != service.file_revision else 0
    restores = restores or (first.restores if first is not None else 0)
    judged = any(one.walk.judged for one in same)
    upgrade = service.spec.upgrade
    canary = 0 if restores or judged else upgrade.canary
    return Rollout(
        id=f"rollout-{uuid.uuid4().hex[:12]}",
        service=service.name,
        service_uid=service.uid,
        from_revision=from_revision if first is None else first.from_revision,
        to_revision=service.file_revision,
        targets=tuple((one.name, Incarnation(one.generation + 1, 1)) for one in instances),
        together=course_by(service.spec).together(one.role_name for one in instances),
        restores=restores,
        walk=Walk(canaries=canaries(instances, upgrade, canary), judged=judged),
        created_at_s=now_s,
    )


def canaries(instances: Sequence[Instance], upgrade: Upgrade, number: int) -> tuple[InstanceName, ...]:
    """Who of those that are rolled out goes before all others."""
    rolled = [one for one in instances if one.goal.runs and not one.goal.protected and not one.leased]
    seen = [Target(name=one.name, at=At.WAITING, instance=one) for one in rolled]
    ordered = sorted(in_order(seen, upgrade), key=lambda one: not serves_nobody(one))
    return tuple(one.name for one in ordered[:number])


def superseded(before: ServiceSpec, after: ServiceSpec, rollouts: Sequence[Rollout]) -> list[Rollout]:
    """The running ones of the rollouts as they end when what they roll out is no longer what is wanted.

    One that has failed and was to go back has failed, whoever is first to apply something else.
    """
    if _templates(before) == _templates(after):
        return []
    anew = "the service was applied anew"
    return [
        replace(one, progress=Progress.FAILED, message=f"{one.walk.broken}; {anew}")
        if one.walk.broken
        else replace(one, progress=Progress.SUPERSEDED, message=anew)
        for one in rollouts
        if one.progress is Progress.RUNNING
    ]


def _stays(instance: Instance, spec: ServiceSpec) -> bool:
    role = spec.role(instance.role_name)
    return role is not None and instance.index < role.instances


def _builds(spec: ServiceSpec, instance: Instance, built: Role) -> bool:
    """Whether the spec makes such a VM of the instance."""
    role = spec.role(instance.role_name)
    return role is not None and role.builds_like(built)


def _templates(spec: ServiceSpec) -> dict[str, Role]:
    return {role.name: role.template() for role in spec.roles}
