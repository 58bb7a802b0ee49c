"""Devices on the host's PCI bus, as sysfs shows them: which its owner gives to guests, and why one can have none.

See Documentation/driver-api/vfio.rst and Documentation/ABI/testing/sysfs-bus-pci of the kernel's. `sys` and `proc`
are where those two lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

from orchestrator.errors import Transient
from orchestrator.model import Instance, pci
from orchestrator.model.pci import PciDevice, PciLook

SYS: Final = Path("/sys")
PROC: Final = Path("/proc")
_BRIDGE: Final = "06"  # the first digits of a bridge's class
_HARMLESS: Final = ("", "pcieport", "vfio-pci", "pci-stub")  # drivers that vfio suffers in a group
NO_IOMMU: Final = (
    "switch VT-d or AMD-Vi on in the firmware, and on Intel boot the kernel with intel_iommu=on; then "
    "see /sys/kernel/iommu_groups"
)


@dataclasses.dataclass(frozen=True, slots=True)
class HostPci:
    """What `pci` of vmrole.toml gives. `keeps`: interfaces that are the host's own, whatever its routes say."""

    given: Sequence[str] = ()
    keeps: Sequence[str] = ()
    sys: Path = SYS
    proc: Path = PROC

    def look(self) -> PciLook:
        """See ports.Pci."""
        if not self.given:
            return PciLook()
        given = tuple(pci.named(one) for one in self.given)
        there = {one.address: one for one in _all(self.sys)}
        allowed = {address for address, one in there.items() if any(_is_meant(name, one) for name in given)}
        used = dict(_used(self.sys, self.proc, self.keeps))
        found = [self._judged(there[address], there, allowed, used) for address in sorted(allowed)]
        return PciLook(given=given, devices=tuple(found))

    def _judged(
        self, one: _Seen, there: dict[str, _Seen], allowed: Collection[str], used: dict[str, str]
    ) -> PciDevice:
        mates = tuple(each for each in one.group if each != one.address and not _is_port(there.get(each)))
        fault, hint = _fault(one, self.sys, used)
        for each in mates if not fault else ():
            if each not in allowed:
                fault = f"{one.address} is in one IOMMU group with {each}, which this host's owner does not give"
                hint = "add that to pci in vmrole.toml: who has one has both; or use another slot of the board"
            elif each in there:
                fault, hint = _fault(there[each], self.sys, used)
                fault = fault and f"{one.address} is in one IOMMU group with another, and {fault}"
            if fault:
                break
        return PciDevice(address=one.address, kind=one.kind, code=one.code, mates=mates, fault=fault, hint=hint)


def require(instance: Instance, sys: Path = SYS, proc: Path = PROC) -> None:
    """Raises Transient while the host has not the devices that are the instance's, or uses one of them itself."""
    if instance.passed_lacking:
        told = f"start {instance.name}: no device of the host is free for {', '.join(instance.passed_lacking)}"
        raise Transient(told, hint="see pci in vmrole.toml, and what vmrole doctor says of it")
    used = dict(_used(sys, proc, ())) if instance.passed else {}
    for passed in instance.passed:
        one = _seen(sys / "bus/pci/devices" / passed.address)
        fault, hint = _fault(one, sys, used) if one else (f"there is no PCI device {passed.address} on this host", "")
        if one is not None and one.kind != passed.kind:
            fault = f"{passed.address} is {one.kind} by now, and was {passed.kind}"
            hint = "put it back; or take it out of devices.pci, apply that, and name the new one"
        if fault:
            raise Transient(f"start {instance.name}: {fault}", hint=hint or "put it back, and see: lspci -Dnn")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A device, `group` with itself; () where the kernel has none for it."""

    address: str
    kind: str
    code: str
    driver: str
    group: tuple[str, ...]
    functions: int  # virtual ones that it has now


def _all(sys: Path) -> Iterator[_Seen]:
    place = sys / "bus/pci/devices"
    for each in sorted(place.iterdir()) if place.is_dir() else ():
        if (one := _seen(each)) is not None:
            yield one


def _seen(place: Path) -> _Seen | None:
    try:
        vendor, device, code = ((place / name).read_text().strip()[2:] for name in ("vendor", "device", "class"))
    except OSError:  # It is not there, or has just gone.
        return None
    driver, group = place / "driver", place / "iommu_group/devices"
    functions = place / "sriov_numvfs"
    return _Seen(
        address=place.name,
        kind=f"{vendor}:{device}",
        code=code[:4],
        driver=driver.resolve().name if driver.exists() else "",
        group=tuple(sorted(each.name for each in group.iterdir())) if group.is_dir() else (),
        functions=int(functions.read_text()) if functions.exists() else 0,
    )


def _is_meant(name: str, one: _Seen) -> bool:
    return pci.matches(name, one.address, one.kind, one.code)


def _is_port(one: _Seen | None) -> bool:
    """Whether it is a bridge that nobody has to give, for vfio leaves it where it is."""
    return one is not None and one.code.startswith(_BRIDGE) and one.driver in _HARMLESS


def _fault(one: _Seen, sys: Path, used: dict[str, str]) -> tuple[str, str]:
    """Why no guest can have it, and the remedy; both "" when one can."""
    if one.code.startswith(_BRIDGE):
        return f"{one.address} is a bridge, which leads to other devices", "name a device behind it"
    if one.address in used:
        told = f"{one.address} is the host's own: {used[one.address]}"
        return told, "name another; or have the host do without it, and ask again"
    if one.functions:
        told = f"{one.address} has {one.functions} virtual functions, which would go with it"
        return told, f"name one of them; or: echo 0 > /sys/bus/pci/devices/{one.address}/sriov_numvfs"
    if not one.group:
        groups = sys / "kernel/iommu_groups"
        if not groups.is_dir() or not any(groups.iterdir()):
            return f"{one.address} cannot be passed on: this host has no IOMMU that is on", NO_IOMMU
        return f"{one.address} cannot be passed on: it is in no IOMMU group", "use another slot of the board"
    return "", ""


def _used(sys: Path, proc: Path, keeps: Collection[str]) -> Iterator[tuple[str, str]]:
    """Devices that the host cannot do without, as far as it can be found out, and what for."""
    for name in sorted(_below_all(sys / "class/net", "lower_", {*_ways_out(proc), *filter(None, keeps)})):
        for address in _on_the_way_to(sys / "class/net" / name):
            yield address, f"its network is reached by {name}"
    for name in sorted(_disks(sys, proc)):
        for address in _on_the_way_to(sys / "class/block" / name):
            yield address, f"it holds {name}, which is in use"


def _on_the_way_to(place: Path) -> list[str]:
    """The devices that lie above it, bridges as well."""
    return [part for part in place.resolve().parts if pci.is_address(part)] if place.exists() else []


def _below_all(place: Path, prefix: str, names: set[str]) -> set[str]:
    """The interfaces, and those that they are made of: of a bridge its ports, of a bond the cards."""
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [each.name.removeprefix(prefix) for each in (place / name).glob(f"{prefix}*")]
    return found


def _ways_out(proc: Path) -> set[str]:
    """The interfaces of the routes to everywhere; see proc(5)."""
    found = set()
    for line in _lines(proc / "net/route")[1:]:
        name, destination, *_ = line.split()
        if int(destination, 16) == 0:
            found.add(name)
    for line in _lines(proc / "net/ipv6_route"):
        destination, length, *_, name = line.split()
        if int(length, 16) == 0 and int(destination, 16) == 0:
            found.add(name)
    return found - {"lo"}


def _disks(sys: Path, proc: Path) -> set[str]:
    """The disks and parts of them that are mounted or swapped to, and what they are made of."""
    mounts = _lines(proc / "1/mountinfo") or _lines(proc / "self/mountinfo")
    named = [fields[1] for line in mounts if len(fields := line.partition(" - ")[2].split()) > 1]
    named += [line.split()[0] for line in _lines(proc / "swaps")[1:]]
    names = {Path(name).resolve().name for name in named if name.startswith("/dev/")}
    names |= {(sys / "dev/block" / line.split()[2]).resolve().name for line in mounts}
    found, left = set(), [name for name in names if (sys / "class/block" / name).exists()]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            slaves = sys / "class/block" / name / "slaves"
            left += [each.name for each in slaves.iterdir()] if slaves.is_dir() else []
    return found


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
