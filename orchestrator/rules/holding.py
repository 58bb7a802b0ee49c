"""Who may have which drive: one instance at a time, of all services. Pure.

Records say it first; where they are wrong, QEMU's own lock of the file has the second VM not start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from orchestrator.errors import Problem
from orchestrator.model import Instance, InstanceName, ServiceSpec, instance_name


def wanted(spec: ServiceSpec) -> Iterator[tuple[str, InstanceName, str]]:
    """Each drive that the service wants, for which instance, and the key that says so."""
    for role in spec.roles:
        for one in role.drives:
            for index in range(role.instances):
                yield (
                    one.of(index),
                    instance_name(spec.name, role.name, index),
                    f"roles.{role.name}.drives.{one.name}.drive",
                )


def holders(specs: Iterable[ServiceSpec], instances: Iterable[Instance]) -> dict[str, InstanceName]:
    """Who has each drive that is not free: also who is to have it, and who is going and has it yet."""
    found = {drive: name for spec in specs for drive, name, _ in wanted(spec)}
    return found | {drive: one.name for one in instances for drive in one.drives}


def fault(
    spec: ServiceSpec, held: Mapping[str, InstanceName], known: Collection[str], busy: Collection[str]
) -> Problem | None:
    """Why the service cannot have what it wants, where others hold these, `known` are recorded, and those `busy` are
    being copied.
    """
    own: dict[str, InstanceName] = {}
    for drive, name, key in wanted(spec):
        other = own.get(drive) or held.get(drive, name)
        if other != name:
            hint = "each drive has one instance at a time: choose another, or wait until that one is gone"
            return Problem(f"{name} cannot have drive {drive}: {other} has it", key=key, hint=hint)
        if drive not in known:
            hint = f"run: vmrole drive create {drive} --size 10GiB"
            return Problem(f"there is no drive {drive}", key=key, hint=hint)
        if drive in busy and held.get(drive) != name:
            return Problem(f"drive {drive} is being copied or changed", key=key, hint="wait for that, and try again")
        own[drive] = name
    return None
