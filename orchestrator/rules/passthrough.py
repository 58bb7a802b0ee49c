"""Which devices of the host's PCI bus instances have: each one instance, of all services. Pure.

libvirt defines two VMs with one device, and starts whichever comes first: that a device has one instance is ours to
see to. What an instance was given stays its own over restarts and reimages, for as long as its role asks for it. With
a device come the others of its IOMMU group, which the kernel gives to one VM together or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.errors import Problem
from orchestrator.model import Instance, InstanceName, Role, ServiceSpec, instance_name, pci
from orchestrator.model.pci import Passed, PciDevice, PciLook

Taken = dict[str, str]
"""Addresses of devices, and whose each is."""


def taken(instances: Iterable[Instance], unread: Mapping[str, frozenset[str]]) -> Taken:
    """Whose which device is. `unread`: the words of records that nobody can read, by whose they are."""
    found = {word: name for name, words in unread.items() for word in words if pci.is_address(word)}
    return found | {one.address: holder.name for holder in instances for one in holder.passed_to}


def asked(spec: ServiceSpec, before: ServiceSpec | None) -> list[Role]:
    """The roles that the host has to be asked for devices for: what a service has already it keeps."""
    had = {role.name: role for role in before.roles} if before is not None else {}
    return [role for role in spec.roles if role.devices.pci and not _had(role, had.get(role.name))]


def fault(
    spec: ServiceSpec, before: ServiceSpec | None, others: Sequence[ServiceSpec], instances: Sequence[Instance],
    unread: Mapping[str, frozenset[str]], look: PciLook,
) -> Problem | None:  # fmt: skip
    """Why the service cannot have the devices that it wants beside `others`, and `instances` as they are now."""
    new = [role.name for role in asked(spec, before)]
    if not new:
        return None
    whose = dict(_by_address(others)) | taken(instances, unread)
    had = {one.name: one.goal.passed for one in instances}
    for role in spec.roles:
        key = f"roles.{role.name}.devices.pci"
        if role.name in new and (found := _one_for_many(role) or _not_given(role, look)) is not None:
            return replace(found, key=key)
        for index in range(role.instances):
            name = instance_name(spec.name, role.name, index)
            chosen, lacks = _chosen(name, role.devices.pci, had.get(name, ()), whose, look)
            whose |= {one.address: name for one in chosen}
            if lacks and role.name in new:
                return replace(_lacking(name, lacks, whose, look), key=key)
    return None


def handed_out(instances: Iterable[Instance], whose: Taken, look: PciLook) -> list[Instance]:
    """Those of the instances whose devices are others than they were, in this order, with them. `whose` goes on.

    What none is left for they are without: they do not start before it is there.
    """
    changed = []
    for one in instances:
        wanted = {*pci.keys(one.role.devices.pci), *pci.keys(one.goal.role.devices.pci)}
        has = tuple(each for each in one.goal.passed if each.wanted in wanted)
        if one.goal.serve:
            more, _ = _chosen(one.name, one.goal.role.devices.pci, has, whose, look)
            has = (*has, *(each for each in more if each not in has))
        if has != one.goal.passed:
            changed.append(replace(one, goal=replace(one.goal, passed=has)))
        whose |= {each.address: one.name for each in has}
    return changed


def clashes(instances: Iterable[Instance]) -> list[tuple[str, InstanceName, InstanceName]]:
    """Devices that two instances have: the invariant says that there is none."""
    first: dict[str, InstanceName] = {}
    found = []
    for one in instances:
        for each in one.passed_to:
            if (other := first.setdefault(each.address, one.name)) != one.name:
                found.append((each.address, other, one.name))
    return found


def _had(role: Role, before: Role | None) -> bool:
    return before is not None and before.devices.pci == role.devices.pci and before.instances >= role.instances


def _by_address(specs: Iterable[ServiceSpec]) -> Iterable[tuple[str, str]]:
    """What the files of others name by its address, whoever has it by now."""
    for spec in specs:
        for role in spec.roles:
            for name in role.devices.pci if role.instances else ():
                if pci.is_address(name):
                    yield name, instance_name(spec.name, role.name, 0)


def _chosen(
    name: str, names: Sequence[str], had: Sequence[Passed], whose: Mapping[str, str], look: PciLook
) -> tuple[tuple[Passed, ...], str]:
    """What an instance has for each of the names, and the first that there is nothing for, or ""."""
    wanted = pci.keys(names)
    chosen = [one for one in had if one.wanted in wanted]
    for key in wanted:
        if any(one.wanted == key for one in chosen):
            continue
        first = {one.wanted: one.address for one in reversed(chosen)}.values()  # that which each of them names
        own = {one.address for one in chosen}
        free = [
            one
            for one in _meant(pci.name_of(key), look)
            if not one.fault and one.address not in first and all(_is_free(each, name, whose) for each in _group(one))
        ]
        if not free:
            return tuple(chosen), pci.name_of(key)
        best = min(free, key=lambda one: (one.address not in own, one.address))
        kinds = {one.address: one.kind for one in look.devices}
        chosen += [Passed(wanted=key, address=each, kind=kinds.get(each, "")) for each in _group(best)]
    return tuple(chosen), ""


def _group(device: PciDevice) -> tuple[str, ...]:
    return (device.address, *device.mates)


def _is_free(address: str, name: str, whose: Mapping[str, str]) -> bool:
    return whose.get(address, name) == name


def _meant(name: str, look: PciLook) -> list[PciDevice]:
    return [one for one in look.devices if pci.matches(name, one.address, one.kind, one.code)]


def _one_for_many(role: Role) -> Problem | None:
    address = next((name for name in role.devices.pci if pci.is_address(name)), "")
    if not address or role.instances <= 1:
        return None
    told = f"{role.instances} instances cannot have {address}: a device has one instance"
    return Problem(told, hint="name what it is, such as 10de:2204; or give each device a role of one instance")


def _not_given(role: Role, look: PciLook) -> Problem | None:
    """Of what is not given nothing is told, not even whether it is there."""
    for name in role.devices.pci:
        if not _meant(name, look) and name not in look.given:
            given = f"name one of: {', '.join(look.given)}" if look.given else "there is none that is given"
            hint = f"{given}; or have the owner add it to pci in vmrole.toml, and restart the daemon"
            return Problem(f"this host's owner does not give {name} to guests", hint=hint)
    return None


def _lacking(name: str, wanted: str, whose: Mapping[str, str], look: PciLook) -> Problem:
    meant = _meant(wanted, look)
    if not meant:
        return Problem(f"there is no PCI device {wanted} on this host", hint="see: lspci -Dnn")
    if len(sick := [one for one in meant if one.fault]) == len(meant):
        return Problem(sick[0].fault, hint=sick[0].hint)
    holders = sorted({whose[each] for one in meant for each in _group(one) if whose.get(each, name) != name})
    told = f"{name} cannot have {wanted}: "
    told += f"{', '.join(holders)} has it" if len(meant) == 1 and holders else _all_of(len(meant), holders, len(sick))
    hint = "a device has one instance at a time: name another, ask for fewer instances, or wait until one is gone"
    return Problem(told, hint=hint)


def _all_of(number: int, holders: Sequence[str], sick: int) -> str:
    told = f"of {number} that this host's owner gives none is free"
    told += f"; taken by {', '.join(holders)}" if holders else ""
    return f"{told}; {sick} cannot be passed on (vmrole doctor)" if sick else told
