"""Who may have which drive: one instance at a time, of all services. Pure.

A service's file claims drives for its instances, for as long as it says so; by hand one is attached to an instance
until it is detached, or the instance is gone. Neither takes what the other has.
Records say it first; where they are wrong, QEMU's own lock of the file has the second VM not start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.model import Attachment, Instance, InstanceName, Role, ServiceSpec, instance_name
from orchestrator.model.drive import ATTACHED_MAX, DISK_NAME_MAX
from orchestrator.model.naming import label


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


def by_hand(instances: Iterable[Instance]) -> dict[str, tuple[Instance, Attachment]]:
    """Each drive that somebody has attached to an instance, and to which."""
    return {attached.drive: (one, attached) for one in instances for attached in one.goal.attached}


def fault(
    spec: ServiceSpec,
    held: Mapping[str, InstanceName],
    known: Collection[str],
    busy: Collection[str],
    attached: Collection[str] = (),
) -> Problem | None:
    """Why the service cannot have what it wants, where others hold these, `known` are recorded, those `busy` are
    being copied, and `attached` are held by hand.
    """
    own: dict[str, InstanceName] = {}
    for drive, name, key in wanted(spec):
        other = own.get(drive) or held.get(drive, name)
        if drive in attached:
            hint = f"run: vmrole drive detach {drive}; then apply"
            return Problem(
                f"{name} cannot have drive {drive}: it was attached to {other} by hand", key=key, hint=hint
            )
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


def clash(spec: ServiceSpec, other: ServiceSpec) -> Problem | None:
    """The first drive that an instance of each would have; None where there is none."""
    theirs = {drive: name for drive, name, _ in wanted(other)}
    for drive, name, key in wanted(spec):
        if drive in theirs:
            hint = "each drive has one instance at a time: choose another"
            return Problem(f"{name} cannot have drive {drive}: {theirs[drive]} wants it, too", key=key, hint=hint)
    return None


def beside(spec: ServiceSpec, instances: Iterable[Instance]) -> Problem | None:
    """What of the service is in the way of drives that its instances have by hand."""
    for one in instances:
        role = spec.role(one.role_name)
        if role is not None and one.index < role.instances:
            for attached in one.goal.attached:
                if key := _in_the_way(role, attached):
                    told = f"{one.name} has drive {attached.drive} by hand"
                    hint = f"run: vmrole drive detach {attached.drive}; then apply"
                    return Problem(told, key=f"roles.{role.name}.{key}", hint=hint)
    return None


def _in_the_way(role: Role, attached: Attachment) -> str:
    """The key of the role that cannot be beside that drive; "" when there is none."""
    if attached.mounted:
        for key, disks in (("localStorage", role.local_storage), ("drives", role.drives)):
            if any(one.name == attached.name for one in disks):
                return f"{key}.{attached.name}"
    return ""


def attachment(instance: Instance, drive: str, name: str, *, mounted: bool) -> Attachment:
    """How the instance is to have that drive, which nobody has; raises InvalidInput, Conflict."""
    called = label(name or drive, "disk")
    if len(called) > DISK_NAME_MAX:
        told = f"a guest finds no disk by {called!r}, which has more than {DISK_NAME_MAX} characters"
        raise InvalidInput(told, hint=f"name it for the guest: vmrole drive attach {drive} {instance.name} --as data")
    refuse_unless_at_rest(instance, f"attach drive {drive} to it")
    made = Attachment(name=called, drive=drive, mounted=mounted)
    taken = {one.name for one in instance.goal.attached}
    if called in taken or (mounted and called in instance.disks_of_role):
        hint = "choose another name: --as NAME"
        raise Conflict(f"{instance.name} has a disk {called} already", hint=hint)
    if len(instance.goal.attached) >= ATTACHED_MAX:
        raise Conflict(f"{instance.name} has {ATTACHED_MAX} drives by hand", hint="detach one of them first")
    for role in (instance.role, instance.goal.role):
        if key := _in_the_way(role, made):
            raise Conflict(f"{instance.name} has a disk {called} by {key} already", hint="choose another name: --as")
    return made


def rests(instance: Instance) -> bool:
    """Whether nothing is under way with the instance or its VM."""
    here = instance.phase.traits
    settled = here.serves or here.is_off or here.is_leased or here.has_failed
    return settled and not instance.going and not instance.restart_asked


def refuse_unless_at_rest(instance: Instance, what: str) -> None:
    """Raises Conflict where the instance is on its way from one thing to another, or is to be left alone."""
    if instance.goal.protected:
        raise Conflict(f"{instance.name} is protected", hint=f"run: vmrole unprotect {instance.name}")
    if not rests(instance):
        hint = f"wait until it is settled (vmrole wait {instance.name}), and try again"
        raise Conflict(f"{instance.name} is {instance.phase}: nobody can {what} now", hint=hint)
