"""What the host promises to all instances together, and who is refused when that is spent. Pure.

A service that asks for no more than it had is never refused: less is wanted of a host that has promised too much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.model import Role, ServiceSpec
from orchestrator.rules import roads

MEMORY_PER_VM_MIB = 64  # what QEMU itself takes beside the guest's memory; measured 60 to 90 MiB


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """One thing (`of`) that the host has so much of. `fault` takes what is needed, is promised, and is there."""

    of: str
    fault: str
    key: str  # below the role
    hint: str
    each: Callable[[Role], int]  # what one instance of the role may come to hold


def _disk_mib(role: Role) -> int:
    system_mib = role.size.disk_mib or role.image_mib
    layer_mib = system_mib if roads.keeps(role) else 0  # of a checkpoint
    memory_mib = role.size.memory_mib if roads.keeps_memory(role) else 0
    return system_mib + layer_mib + memory_mib + sum(storage.size_mib for storage in role.local_storage)


def _memory_mib(role: Role) -> int:
    in_ram = roads.keeps_memory(role) and role.checkpoint.memory  # What does not fit there is on disk: it is in both.
    return role.size.memory_mib * (2 if in_ram else 1) + MEMORY_PER_VM_MIB


MEMORY: Final = Quota(
    of="memory",
    fault="needs {need} MiB of memory; the host gives {limit} MiB, {used} MiB are promised",
    key="size.memory",
    hint="use less memory or fewer instances, or raise memory_overcommit_percent in the configuration",
    each=_memory_mib,
)
VCPUS: Final = Quota(
    of="CPU",
    fault="needs {need} vCPUs; the host gives {limit}, {used} are promised",
    key="size.vcpus",
    hint="use fewer vCPUs or instances, or raise vcpu_overcommit in the configuration",
    each=lambda role: role.size.vcpus,
)
DISK: Final = Quota(
    of="disk",
    fault="needs up to {need} MiB of disk; the host gives {limit} MiB, {used} MiB are promised",
    key="size.disk",
    hint="use smaller disks or fewer instances, or raise disk_overcommit in the configuration",
    each=_disk_mib,
)

HUGE_PAGES: Final = Quota(
    of="huge pages",
    fault="needs {need} MiB of huge pages; the host has {limit} MiB, {used} are promised",
    key="devices.hugepages",
    hint="reserve more on the host (vm.nr_hugepages), or leave it out",
    each=lambda role: role.size.memory_mib if role.devices.hugepages else 0,
)


def promised(quota: Quota, spec: ServiceSpec) -> int:
    """What all instances of the service may come to hold."""
    return sum(role.instances * quota.each(role) for role in spec.roles)


def refuse(
    quota: Quota,
    spec: ServiceSpec,
    before: ServiceSpec | None,
    others: Sequence[ServiceSpec],
    limit: int | None,
    unread: Sequence[ServiceSpec] = (),
    unsized: Sequence[str] = (),
    besides: int = 0,
) -> None:
    """Raises InvalidInput, with the numbers and the key of the role that asks for most, unless the host has it all.

    `before` is the service as it is, if it is there already; `limit` None: whatever is asked. `besides` is promised
    to nobody's instances: to drives and blobs. `unread` are services that cannot be read, as far as they are known:
    what they were promised is theirs. `unsized` are the names of those of which that is not known. Raises Conflict
    while there are any, for a service that would have more.
    """
    theirs = sum(promised(quota, one) for one in unread)
    need, used = promised(quota, spec), besides + theirs + sum(promised(quota, other) for other in others)
    grows = need > (promised(quota, before) if before is not None else 0)
    if unsized and grows and limit is not None:
        told = f"how much {quota.of} is left nobody knows: what {', '.join(unsized)} may hold cannot be read"
        raise Conflict(told, hint="see: vmrole verify; restore a backup: vmrole restore FILE")
    if limit is None or used + need <= limit or not grows:
        return
    fault = quota.fault.format(need=need, limit=limit, used=used)
    if theirs:
        names = ", ".join(one.name for one in unread)
        fault += f", {theirs} of them to what cannot be read: {names} (see: vmrole verify)"
    biggest = max(spec.roles, key=lambda role: role.instances * quota.each(role))
    problem = Problem(fault, key=f"roles.{biggest.name}.{quota.key}", hint=quota.hint)
    raise InvalidInput(fault, problems=(problem,), hint=quota.hint)


def refuse_drive(more_mib: int, besides_mib: int, specs: Sequence[ServiceSpec], limit_mib: int | None) -> None:
    """Raises InvalidInput when a drive cannot become so much larger, beside all drives and blobs (`besides_mib`) and
    what the services' instances may come to hold.
    """
    used = besides_mib + sum(promised(DISK, spec) for spec in specs)
    if more_mib <= 0 or limit_mib is None or used + more_mib <= limit_mib:
        return
    hint = "make it smaller, remove what nobody uses (vmrole drive ls), or raise disk_overcommit in the configuration"
    raise InvalidInput(DISK.fault.format(need=more_mib, limit=limit_mib, used=used), hint=hint)
