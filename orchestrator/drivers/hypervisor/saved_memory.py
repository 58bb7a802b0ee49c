"""The memory of a VM in a file, by libvirt: saved whole or not at all, and what a restored VM is described as.

libvirt lets the disks' files and our metadata of a restored VM differ from those of the one that was saved; name,
UUID, addresses and devices must not. It gives each restored VM a generation id of its own (vmgenid), by which the
guest's kernel knows that its randomness has been seen before.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

import libvirt
from lxml import etree

from orchestrator.drivers.hypervisor import domain_devices, domain_xml, domains
from orchestrator.drivers.hypervisor.domain_parts import DomainPaths
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.errors import Busy, Permanent
from orchestrator.model import HostFit, Instance

PLACE_MODE: Final = 0o710
_PART: Final = ".part"  # A memory that is being saved, or was when something died.
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def let_qemu_at(connection: libvirt.virConnect, place: Path) -> None:
    """QEMU's group gets through the directory to a layer, whose mode lets it be read; nobody else does."""
    group = domains.qemu_group(connection.getCapabilities())
    with file_faults(place, "the state directory must be writable for the daemon"):
        os.chown(place, -1, group)
        place.chmod(PLACE_MODE)


def save(found: libvirt.virDomain, memory: Path) -> None:
    """Saves the memory of a VM that runs, which ends it. Raises Busy while its guest holds on to the answer disc, or
    to a disk that goes on without it: restored, it would write what it remembers of that over what has come since.
    """
    running = found.XMLDesc(0)
    if domain_devices.disc_of(running):
        raise Busy(f"{found.name()}: its guest has not let go of its answer disc")
    if others := domain_devices.other_disks(running):
        raise Busy(f"{found.name()}: its guest has not let go of {', '.join(others)}")
    being_saved = memory.with_name(memory.name + _PART)
    with file_faults(memory, "the state directory must be writable for the daemon"):
        being_saved.unlink(missing_ok=True)
    found.saveFlags(str(being_saved), None, libvirt.VIR_DOMAIN_SAVE_RUNNING)
    with file_faults(memory, "the state directory must be writable for the daemon"):
        os.chown(being_saved, os.geteuid(), os.getegid(), follow_symlinks=False)
        being_saved.chmod(0o600)
        being_saved.rename(memory)


def restore(connection: libvirt.virConnect, memory: Path, instance: Instance, paths: DomainPaths) -> None:
    """Has the VM go on that was saved there, with this generation's disk and metadata."""
    saved: str = connection.saveImageGetXMLDesc(str(memory), libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
    connection.restoreFlags(str(memory), described(saved, instance, paths), libvirt.VIR_DOMAIN_SAVE_RUNNING)


def described(saved: str, instance: Instance, paths: DomainPaths) -> str:
    """The description of a saved VM with another overlay, on the checkpoint's layer, and another generation. Pure.

    Raises Permanent when it is not one of ours with one disk.
    """
    root = untrusted_xml.parsed(saved)
    ours = root.find(f"metadata/{{{domain_xml.NAMESPACE}}}instance")
    disks = [each for each in root.findall("devices/disk") if each.get("device") == "disk"]
    if ours is None or len(disks) != 1 or root.findtext("name") != instance.name:
        raise Permanent(
            f"{instance.name}: what was saved is not its VM", hint=f"vmrole reimage --cold {instance.name}"
        )
    ours.set("generation", str(instance.generation))
    if (description := root.find("description")) is not None:
        description.text = domain_xml.description(instance)
    if (variables := root.find("os/nvram")) is not None and paths.nvram is not None:
        variables.text = str(paths.nvram)
    domain_devices.lay_below(disks[0], paths)
    return etree.tostring(root, encoding="unicode")


def host_fit(connection: libvirt.virConnect, emulator: str) -> HostFit:
    """What saved memory depends on here."""
    capabilities = untrusted_xml.parsed(connection.getCapabilities())
    cpu = capabilities.find("host/cpu")
    told = b"" if cpu is None else etree.tostring(cpu)
    with file_faults(Path(emulator), "is QEMU installed?"):
        program, boot = Path(emulator).stat(), _BOOT_ID.read_text().strip()
    build = f"{connection.getVersion()} {program.st_size} {program.st_mtime_ns}"
    return HostFit(qemu=build, cpu=hashlib.sha256(told).hexdigest(), boot=boot)
