"""What an apply makes of a service: whether there is room, which records change, what is rolled out. Pure.

Who asked for it, and how it is stored, is `control`'s.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator import addressing, manifest
from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.manifest.answers import computer_faults
from orchestrator.model import (
    Goal,
    Incarnation,
    Instance,
    Nic,
    Operation,
    Phase,
    Progress,
    Role,
    Service,
    ServiceSpec,
    Verb,
    instance_name,
)

MEMORY_PER_VM_MIB = 64  # what QEMU itself takes beside the guest's memory; measured 60 to 90 MiB
_ROLLOUT = "rollout-"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the host can give: addresses from `pool` (CIDR), memory in MiB.

    `vip_pool` tells the networks (CIDR) that VIPs are taken from, None for any; `routed` those that are elsewhere.
    """

    pool: str
    memory_mib: int
    vip_pool: Callable[[], Sequence[str] | None] = lambda: None
    routed: Callable[[], Sequence[str]] = tuple


def check(spec: ServiceSpec, others: Sequence[Service], capacity: Capacity, *, old_vip: str = "") -> None:
    """Raises InvalidInput, or Conflict with one of the other services, when the host cannot have the service.

    A VIP that the service has already (`old_vip`) it keeps, wherever VIPs are taken from by now.
    """
    if faults := (*manifest.role_faults(spec.roles), *computer_faults(spec.name, spec.roles)):
        raise InvalidInput(faults[0].message, problems=faults, hint=faults[0].hint)
    for other in others:
        if spec.vip and other.spec.vip == spec.vip:
            raise Conflict(
                f"vip: {spec.vip} is already the VIP of service {other.name}", hint="each service has its own"
            )
    if spec.vip:
        addressing.check_vip(spec.vip, capacity.pool, None if spec.vip == old_vip else capacity.vip_pool())
    used = sum(_memory_mib(other.spec) for other in others)
    need = _memory_mib(spec)
    if used + need > capacity.memory_mib:
        fault = f"needs {need} MiB of memory; the host has {capacity.memory_mib} MiB, {used} MiB are taken"
        biggest = max(spec.roles, key=_role_memory_mib)
        key = f"roles.{biggest.name}.size.memory"
        raise InvalidInput(fault, problems=(Problem(fault, key=key, hint="use less memory or fewer instances"),))


def planned(service: Service, everyone: Sequence[Instance], now_s: float) -> list[Instance]:
    """Every instance of the service that is new or changed; `everyone` is the instances of all services."""
    present = {one.name: one for one in everyone if one.service == service.name}
    nics = [one.nic for one in everyone]
    changed: list[Instance] = []
    for role in service.spec.roles:
        for index in range(role.instances):
            name = instance_name(service.name, role.name, index)
            if name in present:
                before = present.pop(name)
                after = replace(before, goal=replace(before.goal, role=role, serve=True))
            else:
                after = before = _new(service, role, index, nics, now_s)
                nics.append(after.nic)
            if after.revision == 0 or after != before:
                changed.append(after)
    return changed + [replace(one, goal=replace(one.goal, serve=False)) for one in present.values() if one.goal.serve]


def _new(service: Service, role: Role, index: int, nics: Sequence[Nic], now_s: float) -> Instance:
    name = instance_name(service.name, role.name, index)
    return Instance(
        name=name,
        uid=str(uuid.uuid4()),
        service=service.name,
        role_name=role.name,
        index=index,
        network=service.network.name,
        nic=addressing.allocate_nic(service.network, nics, name),
        goal=(goal := Goal(role=role)),
        storage=goal.storage,  # What is there already, of a record that was lost, is not erased.
        role=role,
        phase_since_s=now_s,
    )


def stale(spec: ServiceSpec, everyone: Sequence[Instance], running: Sequence[Operation]) -> list[Instance]:
    """Instances whose VM is built from something else than the spec says, and that nothing else will reimage.

    With those that a halted rollout did not reach come the failed of their roles: they go first, and halt the next
    rollout as well if they fail again.
    """
    staying = [one for one in everyone if one.service == spec.name and _stays(one, spec)]
    awaited = {name for one in running if one.verb is not Verb.RESTART for name, _ in one.targets}
    awaited |= {one.name for one in staying if one.goal.wanted.generation > one.generation}
    found = {
        one.name
        for one in staying
        if one.role.template() != _template(spec, one) and (wished_anew(one, spec) or one.name not in awaited)
    }
    halted = {one.role_name for one in staying if one.name in found and not wished_anew(one, spec)}
    failed = {one.name for one in staying if one.phase is Phase.FAILED and one.goal.serve and one.role_name in halted}
    return [one for one in staying if one.name in found | failed]


def wished_anew(instance: Instance, spec: ServiceSpec) -> bool:
    """Whether the spec makes another VM of the instance than what is wanted of it already."""
    return instance.goal.role.template() != _template(spec, instance)


def rollout(service: str, instances: Sequence[Instance], now_s: float) -> Operation:
    """A rolling reimage of these instances."""
    return Operation(
        id=f"{_ROLLOUT}{uuid.uuid4().hex[:12]}",
        verb=Verb.REIMAGE,
        subject=service,
        service=service,
        targets=tuple((one.name, Incarnation(one.generation + 1, 1)) for one in instances),
        created_at_s=now_s,
    )


def superseded(before: ServiceSpec, after: ServiceSpec, running: Sequence[Operation]) -> list[Operation]:
    """The running rollouts as they end when what they roll out is no longer what is wanted."""
    if _templates(before) == _templates(after):
        return []
    return [
        replace(one, progress=Progress.SUPERSEDED, message="the service was applied anew")
        for one in running
        if one.id.startswith(_ROLLOUT)
    ]


def _stays(instance: Instance, spec: ServiceSpec) -> bool:
    role = spec.role(instance.role_name)
    return role is not None and instance.index < role.instances


def _template(spec: ServiceSpec, instance: Instance) -> Role | None:
    role = spec.role(instance.role_name)
    return None if role is None else role.template()


def _templates(spec: ServiceSpec) -> dict[str, Role]:
    return {role.name: role.template() for role in spec.roles}


def _role_memory_mib(role: Role) -> int:
    return role.instances * (role.size.memory_mib + MEMORY_PER_VM_MIB)


def _memory_mib(spec: ServiceSpec) -> int:
    return sum(_role_memory_mib(role) for role in spec.roles)
