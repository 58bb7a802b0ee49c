"""A VM and a network of ours as libvirt's XML that needs nothing of ours. Pure: no I/O, no libvirt."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lxml import etree

_QEMU: Final = "{http://libvirt.org/schemas/domain/qemu/1.0}commandline"
RUNTIME_CHANNEL: Final = "com.vmrole.guest.0"
_OURS: Final = ("metadata", "title", "description", "seclabel", _QEMU)


@dataclasses.dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a VM: its name there, such as vda, and the file that it lies in, whose form is `form`."""

    target: str
    file: Path
    form: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What libvirt says of a VM, as far as it is taken out."""

    root: etree._Element
    disks: tuple[Disk, ...]
    drives: tuple[str, ...]  # names of what else is looked at as a disk there: discs, which are not taken out
    variables: Path | None  # of UEFI
    network: str  # "" for none


def describe(xml: str) -> Described:
    """Reads a domain's XML as libvirt returns it. Raises ValueError for one that is none."""
    root = _parsed(xml)
    disks, drives = list[Disk](), list[str]()
    for disk in root.iterfind("devices/disk"):
        source, driver = disk.find("source"), disk.find("driver")
        target = _of(disk.find("target"), "dev")
        file = _of(source, "file")
        if disk.get("device", "disk") == "disk" and disk.find("readonly") is None and file:
            disks.append(Disk(target, Path(file), _of(driver, "type") or "raw"))
        else:
            drives.append(target)
    nvram = root.findtext("os/nvram")
    network = _of(root.find("devices/interface/source"), "network")
    return Described(
        root=root,
        disks=tuple(disks),
        drives=tuple(drives),
        variables=Path(nvram) if nvram else None,
        network=network,
    )


def backup_xml(described: Described, copies: Mapping[str, Path]) -> str:
    """The job by which QEMU writes each disk to its copy, as it is at the moment of the job's beginning."""
    root = etree.Element("domainbackup")
    disks = etree.SubElement(root, "disks")
    for disk in described.disks:
        element = etree.SubElement(disks, "disk", name=disk.target, backup="yes", type="file")
        etree.SubElement(element, "driver", type="qcow2")
        etree.SubElement(element, "target", file=str(copies[disk.target]))
    for drive in described.drives:
        etree.SubElement(disks, "disk", name=drive, backup="no")
    return etree.tostring(root, encoding="unicode")


def plain(described: Described, copies: Mapping[str, Path], variables: Path | None, network: str) -> str:
    """The domain on its copies, by itself: without our marks, monitor, logs, ports of switches and answer discs."""
    root = described.root
    for name in _OURS:
        for element in root.findall(name):
            root.remove(element)
    for disk in root.findall("devices/disk"):
        _put_in(disk, copies.get(_of(disk.find("target"), "dev")))
    for part in root.findall("devices/*/log"):
        _remove(part)
    for channel in root.findall("devices/channel"):
        if _of(channel.find("target"), "name") == RUNTIME_CHANNEL:
            _remove(channel)  # Nobody is there to answer it.
    for share in root.findall("devices/filesystem"):
        _remove(share)  # A libvirt of another host would let its guest write.
    for device in root.findall("devices/hostdev"):
        _remove(device)  # It is of this host.
    for part in root.findall("devices/channel/source"):
        _remove(part)
    for interface in root.findall("devices/interface"):
        _join(interface, network)
    nvram = root.find("os/nvram")
    if nvram is not None and variables is not None:
        nvram.text = str(variables)
    return _written(root)


def plain_network(xml: str, name: str) -> str:
    """The network with the same addresses and reservations, under another name, and routed by libvirt itself."""
    root = _parsed(xml)
    for part in ("metadata", "uuid", "mac", "bridge", "name", "forward"):
        for element in root.findall(part):
            root.remove(element)
    named = etree.Element("name")
    named.text = name
    root.insert(0, named)
    root.insert(1, etree.Element("forward", mode="nat"))
    return _written(root)


def _put_in(disk: etree._Element, copy: Path | None) -> None:
    for part in (*disk.findall("backingStore"), *disk.findall("source")):
        disk.remove(part)
    if copy is None:  # A drive is emptied; a disc that is no drive is gone.
        if disk.get("device", "disk") == "disk":
            _remove(disk)
        return
    driver = disk.find("driver")
    if driver is not None:
        driver.set("type", "qcow2")
    disk.insert(1 if driver is not None else 0, etree.Element("source", file=str(copy)))


def _join(interface: etree._Element, network: str) -> None:
    """Into that network; a card on a bridge of the host's stays there."""
    bridge = _of(interface.find("source"), "bridge") if interface.get("type") == "bridge" else ""
    where = etree.Element("source", bridge=bridge) if bridge else etree.Element("source", network=network)
    kept = [interface.find("mac"), where, interface.find("model"), *([interface.find("mtu")] if bridge else [])]
    for child in [*interface]:
        interface.remove(child)
    interface.attrib.clear()
    interface.set("type", "bridge" if bridge else "network")
    interface.extend([part for part in kept if part is not None])


def _remove(element: etree._Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def _of(element: etree._Element | None, key: str) -> str:
    return "" if element is None else element.get(key, "")


def _parsed(xml: str) -> etree._Element:
    try:
        return etree.fromstring(xml.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not XML: {error}") from error


def _written(root: etree._Element) -> str:
    etree.cleanup_namespaces(root)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode") + "\n"
