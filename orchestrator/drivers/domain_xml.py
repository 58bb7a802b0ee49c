"""An instance as libvirt's domain XML. Pure: no I/O, no libvirt; the same input gives the same bytes.

Every text goes in through lxml, which quotes it and refuses what XML cannot hold. What is decided here, and why:

- q35 with the answer disc on virtio-scsi: it boots as fast as `pc` (measured), and Debian's cloud kernel has no AHCI,
  so a disc on the board's own SATA would be invisible to it.
- `on_crash preserve`: a panicked guest stays as it is, so that it is seen as crashed and can be looked into; nothing
  restarts behind the reconciler's back.
- Disks name their whole backing chain, so that neither libvirt nor a confinement profile has to guess it from bytes
  that a guest wrote. Image locking stays on, which is QEMU's default.
- The console goes to a log that virtlogd bounds; a terminal can be attached beside it.
"""

from __future__ import annotations

import dataclasses
import enum
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, cast

from lxml import etree

from orchestrator.model import DiskFormat, Instance

NAMESPACE: Final = "https://vmrole.dev/domain/1"  # of our metadata; a name, never fetched
METADATA_PREFIX: Final = "vmrole"
AGENT_CHANNEL: Final = "org.qemu.guest_agent.0"
DISC_TARGET: Final = "sda"
_QEMU: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
_TB_CACHE_MIB = 32  # QEMU's default of 1 GiB makes each VM 40 MiB bigger for no measured gain in speed.
_RNG_BYTES_PER_S = 65536  # A booting guest wants some hundred bytes; a hostile one must not keep a core busy.


class Accelerator(enum.StrEnum):
    """What runs the guest's code."""

    KVM = "kvm"
    TCG = "tcg"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The kind of machine that all guests of this host get."""

    accelerator: Accelerator
    machine: str = "q35"
    emulator: str = "/usr/bin/qemu-system-x86_64"
    arch: str = "x86_64"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DomainPaths:
    """Where the parts of one VM lie. `local_storage` by name, in the order in which the guest sees the disks."""

    overlay: Path
    image: Path
    image_format: DiskFormat
    local_storage: Mapping[str, Path]
    disc: Path | None  # None: the drive is empty
    console: Path
    monitor: Path


def render(instance: Instance, paths: DomainPaths, machine: Machine) -> str:
    """The domain of the instance's present generation.

    Raises ValueError when a text cannot be in XML; labels and our own paths always can.
    """
    root = etree.Element("domain", {"type": _domain_type(machine)}, nsmap={"qemu": _QEMU})
    _add(root, "name", text=instance.name)
    _add(root, "uuid", text=instance.vm_uuid)
    _add(root, "genid", text=str(uuid.uuid5(uuid.UUID(instance.vm_uuid), "genid")))
    _add(root, "title", text=f"{instance.role_name} {instance.index} of {instance.service}")
    _add(root, "description", text=f"vmrole instance, generation {instance.generation}; change it with vmrole")
    _metadata(root, instance)
    _add(root, "memory", {"unit": "MiB"}, str(instance.role.size.memory_mib))
    _add(root, "vcpu", text=str(instance.role.size.vcpus))
    os = _add(root, "os")
    _add(os, "type", {"arch": machine.arch, "machine": machine.machine}, "hvm")
    _add(os, "bios", {"useserial": "no"})
    _features_and_cpu(root, machine)
    _add(root, "clock", {"offset": "utc"})
    _add(root, "on_poweroff", text="destroy")
    _add(root, "on_reboot", text="restart")
    _add(root, "on_crash", text="preserve")
    devices = _add(root, "devices")
    _add(devices, "emulator", text=machine.emulator)
    _overlay(devices, paths)
    for number, (name, path) in enumerate(paths.local_storage.items()):
        _local_storage(devices, number, name, path)
    _add(devices, "controller", {"type": "scsi", "index": "0", "model": "virtio-scsi"})
    devices.append(_disc(paths.disc))
    _network(devices, instance)
    _small_devices(devices, paths)
    _monitor(root, paths.monitor)
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def empty_drive() -> str:
    """The answer disc's drive without a disc, as `updateDeviceFlags` takes it."""
    return etree.tostring(_disc(None), encoding="unicode")


def disc_of(domain_xml: str) -> str:
    """The path of the disc in the answer drive of a domain as libvirt describes it; "" when there is none."""
    root = etree.fromstring(domain_xml.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    found = root.xpath("string(devices/disk[@device='cdrom'][target/@dev=$target]/source/@file)", target=DISC_TARGET)
    return str(cast("str", found))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What our metadata says of a domain."""

    name: str
    service: str
    role: str
    generation: int
    uid: str
    image_sha256: str


def ownership(metadata_xml: str) -> Ownership | None:
    """Reads our metadata element as libvirt returns it; None when it is not as we write it."""
    try:
        element = etree.fromstring(metadata_xml.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
        said = {str(name): str(value) for name, value in element.attrib.items()}
        return Ownership(
            name=said["name"],
            service=said["service"],
            role=said["role"],
            generation=int(said["generation"]),
            uid=said["uid"],
            image_sha256=said["image"],
        )
    except (etree.XMLSyntaxError, KeyError, ValueError):
        return None


def _metadata(root: etree._Element, instance: Instance) -> None:
    metadata = _add(root, "metadata")
    ours = etree.SubElement(metadata, f"{{{NAMESPACE}}}instance", nsmap={METADATA_PREFIX: NAMESPACE})
    for name, value in (
        ("name", instance.name),
        ("service", instance.service),
        ("role", instance.role_name),
        ("generation", str(instance.generation)),
        ("uid", instance.uid),
        ("image", instance.role.image_sha256),
    ):
        ours.set(name, value)


def _domain_type(machine: Machine) -> str:
    match machine.accelerator:
        case Accelerator.KVM:
            return "kvm"
        case Accelerator.TCG:
            return "qemu"


def _features_and_cpu(root: etree._Element, machine: Machine) -> None:
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    match machine.accelerator:
        case Accelerator.KVM:
            _add(root, "cpu", {"mode": "host-passthrough", "check": "none", "migratable": "on"})
        case Accelerator.TCG:
            _add(_add(features, "tcg"), "tb-cache", {"unit": "MiB"}, str(_TB_CACHE_MIB))
            _add(root, "cpu", {"mode": "maximum"})


def _overlay(devices: etree._Element, paths: DomainPaths) -> None:
    disk = _add(devices, "disk", {"type": "file", "device": "disk"})
    _add(disk, "driver", _driver("qcow2"))
    _add(disk, "source", {"file": str(paths.overlay)})
    base = _add(disk, "backingStore", {"type": "file"})
    _add(base, "format", {"type": paths.image_format.value})
    _add(base, "source", {"file": str(paths.image)})
    _add(base, "backingStore")  # An empty one says that the chain ends here.
    _add(disk, "target", {"dev": "vda", "bus": "virtio"})
    _add(disk, "boot", {"order": "1"})


def _local_storage(devices: etree._Element, number: int, name: str, path: Path) -> None:
    disk = _add(devices, "disk", {"type": "file", "device": "disk"})
    _add(disk, "driver", _driver("raw"))
    _add(disk, "source", {"file": str(path)})
    _add(disk, "target", {"dev": f"vd{_letters(number + 1)}", "bus": "virtio"})
    _add(disk, "serial", text=f"ls-{name}")  # virtio-blk passes on 20 bytes; a name has at most 16.


def _driver(disk_format: str) -> dict[str, str]:
    # A guest's flush reaches the disk with writeback; a full file system pauses the guest instead of failing its
    # writes, so that nothing is lost.
    return {
        "name": "qemu",
        "type": disk_format,
        "cache": "writeback",
        "error_policy": "enospace",
        "discard": "unmap",
        "detect_zeroes": "unmap",
    }


def _letters(number: int) -> str:
    """0 is "a", 25 is "z", 26 is "aa": how Linux and libvirt count disks."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def _disc(path: Path | None) -> etree._Element:
    disk = etree.Element("disk", {"type": "file", "device": "cdrom"})
    _add(disk, "driver", {"name": "qemu", "type": "raw"})
    if path is not None:
        _add(disk, "source", {"file": str(path)})
    _add(disk, "target", {"dev": DISC_TARGET, "bus": "scsi"})
    _add(disk, "readonly")
    _add(disk, "address", {"type": "drive", "controller": "0", "bus": "0", "target": "0", "unit": "0"})
    return disk


def _network(devices: etree._Element, instance: Instance) -> None:
    nic = _add(devices, "interface", {"type": "network"})
    _add(nic, "mac", {"address": instance.nic.mac})
    _add(nic, "source", {"network": instance.network})
    _add(nic, "target", {"dev": instance.nic.tap})
    _add(nic, "model", {"type": "virtio"})
    _add(nic, "rom", {"enabled": "no"})  # We never boot from the network; the ROM costs time at each start.


def _small_devices(devices: etree._Element, paths: DomainPaths) -> None:
    channel = _add(devices, "channel", {"type": "unix"})
    _add(channel, "target", {"type": "virtio", "name": AGENT_CHANNEL})
    serial = _add(devices, "serial", {"type": "pty"})
    _add(serial, "log", {"file": str(paths.console), "append": "on"})
    _add(serial, "target", {"port": "0"})
    console = _add(devices, "console", {"type": "pty"})
    _add(console, "target", {"type": "serial", "port": "0"})
    _add(devices, "controller", {"type": "usb", "model": "none"})
    _add(devices, "memballoon", {"model": "none"})
    _add(devices, "panic", {"model": "isa"})
    rng = _add(devices, "rng", {"model": "virtio"})
    _add(rng, "rate", {"bytes": str(_RNG_BYTES_PER_S), "period": "1000"})
    _add(rng, "backend", {"model": "random"}, "/dev/urandom")


def _monitor(root: etree._Element, path: Path) -> None:
    """A second monitor for ourselves. It taints the domain, which costs a line in libvirt's log and nothing else."""
    line = _add(root, f"{{{_QEMU}}}commandline")
    escaped = str(path).replace(",", ",,")  # How QEMU's option syntax writes a comma.
    for argument in (
        "-chardev",
        f"socket,id=vmrole,path={escaped},server=on,wait=off",
        "-mon",
        "chardev=vmrole,mode=control",
    ):
        _add(line, f"{{{_QEMU}}}arg", {"value": argument})


def _add(
    parent: etree._Element, tag: str, attributes: Mapping[str, str] | None = None, text: str | None = None
) -> etree._Element:
    element = etree.SubElement(parent, tag, dict(attributes or {}))
    element.text = text
    return element
