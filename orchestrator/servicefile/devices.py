"""`devices:` of a role: the machine around its guests, where it is another than usual."""

from __future__ import annotations

import math
import re
from typing import Final

from orchestrator.errors import InvalidInput, Problem
from orchestrator.model import Devices, DiskCache, Size
from orchestrator.model.devices import CPU_MODEL
from orchestrator.model.libvirt_xml import CHARACTERS_MOST, canonical
from orchestrator.model.pci import NAMED, PATTERN, PCI_MOST, is_address, named
from orchestrator.servicefile.fields import Answer, boolean, choice, integer, shaped, text
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map

_KEYS: Final = ("cpuModel", "sockets", "cores", "threads", "diskCache", "screen", "hugepages", "pci")
_TOPOLOGY: Final = ("sockets", "cores", "threads")
_VCPUS_MOST: Final = 64


def read_devices(reader: Reader, node: Map, at: str, size: Size) -> Devices:
    """What stands below `devices` of the role `node`, which has that size; faults are noted."""
    at = f"{at}.devices"
    devices = reader.keys(node.get("devices", Map()), at, _KEYS)
    parts = {
        key: reader.take(devices, at, key, integer(1, _VCPUS_MOST if key != "threads" else 2), None)
        for key in _TOPOLOGY
    }
    found = Devices(
        cpu_model=reader.take(devices, at, "cpuModel", _cpu_model, ""),
        disk_cache=reader.take(devices, at, "diskCache", choice(DiskCache), DiskCache.WRITEBACK),
        screen=reader.take(devices, at, "screen", boolean, False),
        hugepages=reader.take(devices, at, "hugepages", boolean, False),
        pci=reader.take(devices, at, "pci", _pci, ()),
        **parts,
    )
    _check_topology(reader, at, found, size)
    return found


def read_libvirt(reader: Reader, node: Map, at: str) -> str:
    """The extra XML that stands below `libvirt` of the role `node`; faults are noted."""
    libvirt = reader.keys(node.get("libvirt", Map()), f"{at}.libvirt", ("xml",))
    xml: str = reader.take(libvirt, f"{at}.libvirt", "xml", _xml, "")
    return xml


@shaped(type="string", minLength=1, maxLength=CHARACTERS_MOST)
def _xml(node: object) -> Answer[str]:
    said = text(node)
    try:
        return said if isinstance(said, Problem) else canonical(said)
    except InvalidInput as error:
        return Problem(str(error), hint=error.hint)


def _check_topology(reader: Reader, at: str, devices: Devices, size: Size) -> None:
    topology = devices.topology(size.vcpus)
    if topology is None or math.prod(topology) == size.vcpus:
        return
    key = next(key for key in reversed(_TOPOLOGY) if getattr(devices, key) is not None)
    sockets, cores, threads = topology
    told = f"{sockets} x {cores} x {threads} (sockets, cores, threads) are not the {size.vcpus} vCPUs of size.vcpus"
    reader.fault(f"{at}.{key}", told, "have their product be size.vcpus; cores that are left out are found by it")


@shaped(type="string", pattern=CPU_MODEL)
def _cpu_model(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(CPU_MODEL, said):
        return Problem(f"{said[:60]!r} is no model of a processor", hint="one of: virsh cpu-models x86_64")
    return said


@shaped(type="array", items={"type": "string", "pattern": PATTERN}, maxItems=PCI_MOST)
def _pci(node: object) -> Answer[tuple[str, ...]]:
    if not isinstance(node, list):
        return Problem("it is not a list", hint=f"write [NAME, …], each such as {NAMED}")
    if len(node) > PCI_MOST:
        return Problem(f"{len(node)} devices; a role may have {PCI_MOST}", hint="name fewer")
    found: list[str] = []
    for one in node:
        if isinstance(said := text(one), Problem):
            return said
        try:
            found.append(named(said))
        except InvalidInput as error:
            return Problem(str(error), hint=error.hint)
    twice = next((one for one in found if is_address(one) and found.count(one) > 1), None)
    return Problem(f"{twice} is there twice", hint="name it once") if twice else tuple(found)
