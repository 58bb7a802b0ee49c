"""The invariants, checked against the host: what lies around without a record, what a record misses. Findings only.

Codes are stable words for scripts, in the manner of `gnt-cluster verify`. The reconciler repairs what a record
misses by itself; `repair` removes strays, and only those that carry our name, belong to no record and hold nothing
that a user may want: local storage and kept keys without a record are told and stay.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

from orchestrator.control.asides import SetAside
from orchestrator.control.leavings import STOP_S, end, shut_down
from orchestrator.model import (
    Domain,
    Image,
    Instance,
    InstanceName,
    Part,
    Power,
    Service,
    ServiceNetwork,
    ServiceSpec,
)
from orchestrator.model.blob import BlobOwner, BlobStore, Of
from orchestrator.model.drive import Drive, DriveFile
from orchestrator.model.restoring import RestoreState, Restoring
from orchestrator.ports import Host
from orchestrator.rules import addressing, passthrough

UNCLAIMED = "DOMAIN-UNCLAIMED"
DOMAIN_STRAY = "DOMAIN-STRAY"
VIP_STRAY = "VIP-STRAY"
RESTORE_REFUSED = "RESTORE-REFUSED"
MIB = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it ought to be. `stray`: no record knows it, and `repair` takes it away."""

    code: str
    subject: str
    message: str
    stray: bool = False


def findings(
    host: Host, services: Sequence[Service], instances: Sequence[Instance], unreadable: Sequence[SetAside] = ()
) -> list[Finding]:
    """Everything on this host that contradicts the records, by code and subject; [] is health.

    While a record is unreadable nobody knows what it knew: nothing counts as a stray then.
    """
    known = {one.name: one for one in instances}
    domains = {domain.name: domain for domain in host.machine.hypervisor.inventory()}
    running = {name for name, domain in domains.items() if domain.power is Power.RUNNING}
    found = [*_domains(domains, known), *_disks(host, known), *_pool(host, known)]
    for disc in host.machine.media.inventory() - known.keys():
        found.append(_stray("DISC-STRAY", disc, "an answer disc of no instance"))
    for keeper in host.machine.media.keepers() - known.keys():
        told = f"kept SSH host keys of no instance; deploy it again, or remove STATE/identity/{keeper}"
        found.append(Finding(code="IDENTITY-STRAY", subject=keeper, message=told))
    of_service: defaultdict[str, list[Instance]] = defaultdict(list)
    for one in instances:
        of_service[one.service].append(one)
    for service in services:
        if not service.removing:
            found += _network(host, service, of_service[service.name], running)
    found += _vips(host, services, instances)
    for address, first, other in passthrough.clashes(instances):
        told = f"{first} has it as well; take devices.pci out of the role of one, apply that, and reimage it"
        found.append(Finding(code="PCI-TWICE", subject=address, message=f"{told}: {other}"))
    for name in host.machine.network.inventory() - {service.name for service in services}:
        found.append(_stray("NETWORK-STRAY", name, "a network of no service"))
    found += blob_findings(host.machine.blobs.inventory(), services, instances, unreadable)
    for fault in host.front.balancer.faults():
        found.append(Finding(code="BALANCER", subject="host", message=fault))
    if unreadable:
        found = [dataclasses.replace(one, stray=False) for one in found]
    for aside in unreadable:
        told = f"the stored {aside.kind} cannot be read: {aside.fault}; {aside.hint}"
        found.append(Finding(code="RECORD-UNREADABLE", subject=aside.key, message=told))
    return sorted(found, key=lambda one: (one.code, one.subject))


def repair(host: Host, strays: Sequence[Finding], recorded: Callable[[str], bool]) -> list[Finding]:
    """Removes the strays among the findings; returns those that it has removed.

    `recorded` says whether an instance or a service of that name is recorded by now: such a one is left alone, and
    so is everything of a VM that does not say whose it is. VMs have the time that a deletion gives to shut down, all
    of them at once: it is told whose was over.
    """
    removed = []
    unclaimed = {one.subject for one in strays if one.code == UNCLAIMED}
    going = [one for one in strays if one.stray and one.subject not in unclaimed and not recorded(one.subject)]
    machines = [InstanceName(one.subject) for one in going if one.code == DOMAIN_STRAY]
    late = set(shut_down(host, machines))
    for one in going:
        if not recorded(one.subject):  # Applied meanwhile, it is somebody's.
            _remove(host, one)
            told = f"{one.message}; {_how(one, late)}" if one.code == DOMAIN_STRAY else one.message
            removed.append(dataclasses.replace(one, message=told))
    return removed


def _how(machine: Finding, late: Collection[str]) -> str:
    """How its VM ended."""
    if machine.subject in late:
        return f"it did not shut down within {STOP_S:g} s, so it was ended: what it had not written is lost"
    return "it was shut down"


def _remove(host: Host, stray: Finding) -> None:
    """All of the stray that could be in the way of another part of it goes first: pool, VM, then files."""
    if stray.code == "NETWORK-STRAY":
        host.machine.network.lift(_nobodys(stray.subject))
        return
    if stray.code == VIP_STRAY:
        host.front.vips.hold(host.front.vips.held() - {stray.subject})
        return
    name = InstanceName(stray.subject)
    end(host, name)
    host.machine.disks.erase_overlay(name)
    host.machine.disks.erase_checkpoint(name)


def _nobodys(name: str) -> Service:
    """A service as far as its network goes, for what was left of one."""
    network = ServiceNetwork(name=addressing.network_name(name), bridge="", subnet="0.0.0.0/24", gateway="")
    return Service(spec=ServiceSpec(name=name, vip="", roles=()), network=network, removing=True)


def restore_findings(last: Restoring, file: str) -> list[Finding]:
    """A backup that was accepted and could not be restored after all, and was set aside at `file`."""
    if last.state is not RestoreState.REFUSED:
        return []
    told = f"a backup was not restored, and the records are those from before: {last.refusal}"
    todo = f"restore another one, or: rm {file}"
    return [Finding(code=RESTORE_REFUSED, subject="records", message=f"{told} ({todo})")]


def image_findings(strays: Sequence[str], missing: Sequence[Image]) -> list[Finding]:
    """Files among the images that no record knows, and records without their file. No `repair` touches an image."""
    found = []
    for file in strays:
        told = "an image of no record; add the same bytes again, or remove the file yourself"
        found.append(Finding(code="IMAGE-STRAY", subject=file, message=told))
    for image in missing:
        told = f"the file of sha256:{image.sha256} is not there; add it again"
        found.append(Finding(code="IMAGE-MISSING", subject=image.names[0], message=told))
    return found


def drive_findings(
    drives: Sequence[Drive], files: Mapping[str, DriveFile], unreadable: Sequence[SetAside]
) -> list[Finding]:
    """Drives without their file, of another size, and files of no record. No `repair` touches one of them."""
    found = []
    known = {drive.name for drive in drives} | {aside.key for aside in unreadable if aside.kind == "drive"}
    for name in sorted(files.keys() - known):
        told = f"a drive of no record; move it away, make drive {name} anew, and put disk.raw in its place"
        found.append(Finding(code="DRIVE-STRAY", subject=name, message=f"{told}; or remove STATE/drives/{name}"))
    for drive in drives:
        size_bytes = files[drive.name].size_bytes if drive.name in files else None
        if size_bytes is None:
            told = (
                f"the file of drive {drive.name} is not there; put it back, restore a snapshot, or remove the drive"
            )
            found.append(Finding(code="DRIVE-MISSING", subject=drive.name, message=told))
        elif size_bytes != drive.size_mib * MIB:
            told = f"it has {size_bytes} bytes, its record {drive.size_mib} MiB; vmrole drive grow, to the larger"
            found.append(Finding(code="DRIVE-SIZE", subject=drive.name, message=told))
    return found


def blob_findings(
    stores: Sequence[BlobStore],
    services: Sequence[Service],
    instances: Sequence[Instance],
    unreadable: Sequence[SetAside],
) -> list[Finding]:
    """Stores of blobs of no instance and no role, and files that are no whole blob. No `repair` touches one of them.

    While a record is unreadable nobody knows whose they are.
    """
    owners = {BlobOwner(Of.INSTANCE, one.name) for one in instances}
    owners |= {BlobOwner(Of.ROLE, f"{one.role_name}.{one.service}") for one in instances}
    owners |= {BlobOwner(Of.ROLE, f"{role.name}.{one.name}") for one in services for role in one.spec.roles}
    found = []
    for store in stores:
        subject = str(store.owner)
        for name in store.damaged:
            told = f"blob {name} is damaged; put it again, or remove it: vmrole blob rm"
            found.append(Finding(code="BLOB-DAMAGED", subject=subject, message=told))
        if store.owner not in owners and store.blobs and not unreadable:
            place = f"{store.owner.of}s/{store.owner.name}"
            if store.owner.of is Of.ROLE:
                place = "roles/{2}/{0}".format(*store.owner.name.partition("."))
            told = f"{store.blobs} blobs of no {store.owner.of}; deploy it again, or remove STATE/blobs/{place}"
            found.append(Finding(code="BLOB-STRAY", subject=subject, message=told))
    return found


def _domains(domains: Mapping[InstanceName, Domain], known: Mapping[InstanceName, Instance]) -> list[Finding]:
    found = []
    for name, domain in domains.items():
        instance = known.get(name)
        if instance is None and not domain.claimed:
            told = "a VM of no instance, which does not say whose it is; if it is nobody's, remove it with virsh"
            found.append(Finding(code=UNCLAIMED, subject=name, message=told))
        elif instance is None:
            found.append(_stray(DOMAIN_STRAY, name, "a VM of no instance"))
        elif (domain.uuid, domain.generation) != (instance.vm_uuid, instance.generation):
            told = f"runs as generation {domain.generation}; the record says {instance.generation}"
            found.append(Finding(code="DOMAIN-GENERATION", subject=name, message=told))
        elif domain.power in instance.phase.traits.contradicts:
            found.append(Finding(code="DOMAIN-POWER", subject=name, message=f"{instance.phase}, but {domain.power}"))
        elif lacks := _unplugged(instance, domain):
            told = f"runs without {', '.join(lacks)} of its role; vmrole stop {name}, then vmrole start {name}"
            found.append(Finding(code="DISK-UNPLUGGED", subject=name, message=told))
    for name, instance in known.items():
        if instance.phase.traits.has_vm and name not in domains:
            found.append(Finding(code="DOMAIN-MISSING", subject=name, message=f"{instance.phase}, but has no VM"))
    return found


def _unplugged(instance: Instance, domain: Domain) -> tuple[str, ...]:
    """What its VM has not; while it is kept or restored its disks are away on purpose."""
    away = domain.power is not Power.RUNNING or instance.phase.traits.saves
    return () if away else instance.lacking(domain.disks)


def _disks(host: Host, known: dict[InstanceName, Instance]) -> list[Finding]:
    found = []
    disks = host.machine.disks.inventory()
    for name, parts in disks.items():
        instance = known.get(name)
        if instance is None:
            overlays = sorted(part for part in parts if not part.startswith("storage:"))  # With all that is below.
            if overlays:
                found.append(_stray("DISK-STRAY", name, f"disks of no instance: {', '.join(overlays)}"))
            if kept := sorted(parts - set(overlays)):
                told = f"of no instance: {', '.join(kept)}; deploy it again, or remove the files yourself"
                found.append(Finding(code="STORAGE-STRAY", subject=name, message=told))
            continue
        own = {f"overlay:{instance.generation}", *(f"storage:{one.name}" for one in instance.role.local_storage)}
        # The layer below its overlay is its own, also where no record knows of the checkpoint.
        own |= {f"layer:{instance.generation}"} | _of_checkpoint(instance, parts)
        for part in sorted(parts - own):
            found.append(Finding(code="DISK-OLD", subject=name, message=f"{part} is not of this generation"))
    for name, instance in known.items():
        overlay = f"overlay:{instance.generation}"
        laid = instance.phase.traits.has_overlay or (instance.set_up and instance.phase.traits.goes_off)
        if laid and overlay not in disks.get(name, frozenset()):
            found.append(Finding(code="OVERLAY-MISSING", subject=name, message=f"{overlay} is not there"))
        missing = _of_checkpoint(instance, frozenset()) - disks.get(name, frozenset())
        for part in sorted(missing):
            if part.startswith("memory:") and _fits_no_more(instance, host):
                continue  # It was in RAM.
            then = "boots from its disk" if part.startswith("memory:") else "begins with the image"
            told = f"{part} of its checkpoint is not there: its next reimage {then}"
            found.append(Finding(code="CHECKPOINT-MISSING", subject=name, message=told))
    return found


def _fits_no_more(instance: Instance, host: Host) -> bool:
    """Whether the host has started again since the instance's checkpoint: nobody misses the memory of that."""
    of = instance.checkpoint
    return of is not None and of.fit.boot != host.machine.hypervisor.fit().boot


def _of_checkpoint(instance: Instance, parts: frozenset[str]) -> set[str]:
    """What of an instance's disks is its checkpoint's; of one that is being taken whatever is there."""
    if instance.phase.traits.saves:
        return {part for part in parts if part.startswith(("layer:", "memory:", "board:"))}
    of = instance.checkpoint
    if of is None:
        return set()
    kinds = ("layer", *(["memory"] if of.memory else []), *(["board"] if of.board else []))
    return {f"{kind}:{of.generation}" for kind in kinds}


def _pool(host: Host, known: dict[InstanceName, Instance]) -> list[Finding]:
    found = []
    for name, seat in host.front.balancer.seats().items():
        instance = known.get(name)
        if instance is None:
            found.append(_stray("MEMBER-STRAY", name, "a pool member of no instance"))
        elif not instance.phase.traits.may_be_in_pool:
            found.append(Finding(code="MEMBER-PHASE", subject=name, message=f"in the pool while {instance.phase}"))
        elif seat.address != instance.nic.address:
            told = f"in the pool as {seat.address}; its address is {instance.nic.address}"
            found.append(Finding(code="MEMBER-ADDRESS", subject=name, message=told))
    strays = set(host.front.doors.reached()) - known.keys()
    return found + [_stray("DOOR-STRAY", name, "ports of a VIP lead to no instance") for name in strays]


def _network(
    host: Host, service: Service, instances: Sequence[Instance], running: Collection[InstanceName]
) -> list[Finding]:
    with_vm = [one for one in instances if one.phase.traits.has_vm]
    if not with_vm:
        return []  # It is laid before the first VM starts.
    missing = host.machine.network.missing(service, [one for one in with_vm if one.name in running])
    return [Finding(code=one.part, subject=one.subject, message=one.message) for one in missing]


def _vips(host: Host, services: Sequence[Service], instances: Sequence[Instance]) -> list[Finding]:
    of: defaultdict[str, list[Service]] = defaultdict(list)
    for service in services:
        if service.vip:
            of[service.vip].append(service)
    held = host.front.vips.held()
    found = [_stray(VIP_STRAY, vip, "an address of no service") for vip in held - of.keys()]
    laid = {one.service for one in instances if one.phase.traits.has_vm}
    for vip in of.keys() - held:
        for service in of[vip]:
            if service.name in laid and not service.removing:
                found.append(Finding(code=Part.VIP, subject=service.name, message=f"{vip} is not on the host"))
    return found


def _stray(code: str, subject: str, message: str) -> Finding:
    return Finding(code=code, subject=subject, message=message, stray=True)
