"""An instance as libvirt's domain XML. Pure: no I/O, no libvirt; the same input gives the same bytes.

Every text goes in through lxml, which quotes it and refuses what XML cannot hold. Firmware, processor and clock are
`domain_board`'s, disks and the other devices `domain_devices`'s, how much of the host they may take
`domain_limits`'s. What is decided here, and why:

- q35: it boots as fast as `pc` (measured), and secure boot needs it.
- `on_crash preserve`: a panicked guest stays as it is, so that it is seen as crashed and can be looked into; nothing
  restarts behind the reconciler's back.
- Its second monitor is ours: QEMU brings it to our socket, so that no VM has one that another could reach.
- The console goes to a log that virtlogd bounds; a terminal can be attached beside it.
"""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from typing import Final

from lxml import etree

from orchestrator.drivers.hypervisor import domain_board, domain_devices, domain_extra, domain_limits, domain_pci
from orchestrator.drivers.hypervisor.domain_parts import QEMU, Accelerator, DomainPaths, MachineType, add
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.model import Instance

__all__ = ["Accelerator", "DomainPaths", "MachineType", "Ownership", "ownership", "render"]

NAMESPACE: Final = "https://vmrole.dev/domain/1"  # of our metadata; a name, never fetched
METADATA_PREFIX: Final = "vmrole"


def render(instance: Instance, paths: DomainPaths, machine: MachineType) -> str:
    """The domain of the instance's present generation.

    Raises ValueError when a text cannot be in XML; labels and our own paths always can. InvalidInput when the record
    of its role holds extra XML that is not let through.
    """
    root = etree.Element("domain", {"type": domain_type(machine)}, nsmap={"qemu": QEMU})
    add(root, "name", text=instance.name)
    add(root, "uuid", text=instance.vm_uuid)
    add(root, "genid", text=_genid(instance))
    add(root, "title", text=f"{instance.role_name} {instance.index} of {instance.service}")
    add(root, "description", text=description(instance))
    _metadata(root, instance, machine.installation)
    add(root, "memory", {"unit": "MiB"}, str(instance.role.size.memory_mib))
    domain_board.add_memory(root, instance)
    add(root, "vcpu", text=str(instance.role.size.vcpus))
    limits = domain_limits.of(instance, machine)
    domain_limits.add_cpu(root, limits)
    domain_board.add_board(root, instance, machine, paths.nvram)
    add(root, "on_poweroff", text="destroy")
    add(root, "on_reboot", text="restart")
    add(root, "on_crash", text="preserve")
    devices = add(root, "devices")
    add(devices, "emulator", text=machine.emulator)
    domain_devices.add_disks(devices, instance, paths, limits)
    domain_devices.add_disc(devices, instance, paths.disc)
    domain_pci.add(devices, instance.passed)
    domain_devices.add_shares(devices, instance, paths.share_server)
    domain_devices.add_network(devices, instance, limits)
    domain_devices.add_small_devices(devices, instance, paths, machine)
    domain_board.add_tpm(devices, instance)
    _monitor(root, paths.monitor, machine)
    domain_devices.add_overrides(root, instance, paths)
    domain_extra.merge(root, instance.role.libvirt_xml)
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def description(instance: Instance) -> str:
    """What `virsh desc` says of the instance's present generation."""
    return f"vmrole instance, generation {instance.generation}; change it with vmrole"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What our metadata says of a domain."""

    name: str
    service: str
    role: str
    generation: int
    uid: str
    image_sha256: str
    installation: str = ""  # whose it is; "" when a former version made it, which did not say so


def ownership(metadata_xml: str) -> Ownership | None:
    """Reads our metadata element as libvirt returns it; None when it is not as we write it."""
    try:
        element = untrusted_xml.parsed(metadata_xml)
        said = {str(name): str(value) for name, value in element.attrib.items()}
        return Ownership(
            name=said["name"],
            service=said["service"],
            role=said["role"],
            generation=int(said["generation"]),
            uid=said["uid"],
            image_sha256=said["image"],
            installation=said.get("installation", ""),
        )
    except (etree.XMLSyntaxError, KeyError, ValueError):
        return None


def _metadata(root: etree._Element, instance: Instance, installation: str) -> None:
    metadata = add(root, "metadata")
    ours = etree.SubElement(metadata, f"{{{NAMESPACE}}}instance", nsmap={METADATA_PREFIX: NAMESPACE})
    for name, value in (
        ("name", instance.name),
        ("service", instance.service),
        ("role", instance.role_name),
        ("generation", str(instance.generation)),
        ("uid", instance.uid),
        ("image", instance.role.image_sha256),
        *([("installation", installation)] if installation else []),
    ):
        ours.set(name, value)


def _genid(instance: Instance) -> str:
    """By which the guest's kernel knows that it is not the VM whose disk, and whose saved seed, it boots from."""
    of = instance.checkpoint.generation if instance.checkpoint else instance.generation
    again = f" {instance.generation}" if instance.from_checkpoint and of != instance.generation else ""
    return str(uuid.uuid5(uuid.UUID(instance.vm_uuid), f"genid{again}"))


def domain_type(machine: MachineType) -> str:
    """What libvirt calls the kind of hypervisor that runs them."""
    match machine.accelerator:
        case Accelerator.KVM:
            return "kvm"
        case Accelerator.TCG:
            return "qemu"


def _monitor(root: etree._Element, path: Path, machine: MachineType) -> None:
    """A second monitor, which QEMU brings to our socket, and again whenever it is hung up on.

    It taints the domain, which costs a line in libvirt's log and nothing else.
    """
    line = add(root, f"{{{QEMU}}}commandline")
    escaped = str(path).replace(",", ",,")  # How QEMU's option syntax writes a comma.
    for argument in (
        "-chardev",
        f"socket,id=vmrole,path={escaped},server=off,{machine.reconnect}",
        "-mon",
        "chardev=vmrole,mode=control",
    ):
        add(line, f"{{{QEMU}}}arg", {"value": argument})
