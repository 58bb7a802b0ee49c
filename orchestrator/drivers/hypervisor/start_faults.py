"""Why libvirt did not start a VM, and what helps."""

from __future__ import annotations

import errno
import re
from typing import Final

import libvirt

from orchestrator.drivers.tools import host_bridges, host_pci
from orchestrator.drivers.tools.libvirt_connection import translated
from orchestrator.errors import Permanent, Transient, WorldError
from orchestrator.model import Firmware, Instance

_NO_TPM: Final = re.compile(r"TPM|swtpm")
_NO_CPU: Final = re.compile(r"CPU model|guest CPU|guest and host CPU")
_NOT_TAKEN: Final = (
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
)
_NO_PCI: Final = re.compile(r"passthrough|vfio|iommu|\bPCI device|hostdev|sys/bus/pci", re.IGNORECASE)
_NO_SHARE: Final = re.compile(r"virtiofs|serve-share")
_NO_PAGES: Final = re.compile(r"hugetlbfs|hugepage|huge page|backing store for guest RAM", re.IGNORECASE)


def require_parts(instance: Instance) -> None:
    """Raises Transient while the host lacks a bridge or a device that the instance is to have."""
    require_bridge(instance)
    host_pci.require(instance)


def require_bridge(instance: Instance) -> None:
    """Raises Transient while the bridge of the host's that the instance has a card on takes none."""
    if instance.lan is not None:
        why, hint = host_bridges.fault(instance.lan.bridge, instance.lan.mtu)
        if why:
            raise Transient(f"start {instance.name}: {why}", hint=hint)


def why_not_started(instance: Instance, error: libvirt.libvirtError) -> WorldError:
    """The error as one of ours, with the hint that fits the instance."""
    what = f"start {instance.name}"
    if error.get_error_code() == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() == errno.ENOENT:
        return Permanent(f"{what}: {error}", hint=f"a part of it is missing; run: vmrole reimage {instance.name}")
    hardware = instance.role.hardware
    if hardware.firmware is not Firmware.BIOS and "firmware" in str(error):
        hint = "the image asks for UEFI: apt-get install ovmf, and see what vmrole doctor says"
        return Permanent(f"{what}: {error}", hint=hint)
    if hardware.tpm and _NO_TPM.search(str(error)):
        hint = "the image asks for a TPM: apt-get install swtpm swtpm-tools, and see what vmrole doctor says"
        return Permanent(f"{what}: {error}", hint=hint)
    if (wanted := instance.role.devices).cpu_model and _NO_CPU.search(str(error)):
        hint = f"guests of this host can have no {wanted.cpu_model}: change devices.cpuModel in the service's file"
        return Permanent(f"{what}: {error}", hint=hint)
    if wanted.hugepages and _NO_PAGES.search(str(error)):
        hint = "reserve more huge pages (vm.nr_hugepages), and see what vmrole doctor says"
        return Transient(f"{what}: {error}", hint=hint)
    if wanted.pci and _NO_PCI.search(str(error)):
        hint = "the IOMMU must be on and the kernel have vfio-pci (modprobe vfio-pci): see what vmrole doctor says"
        return Transient(f"{what}: {error}", hint=hint)
    if instance.role.shares and _NO_SHARE.search(str(error)):
        hint = (
            "see its fs0-virtiofsd.log in /var/log/libvirt/qemu; AppArmor must let libvirt serve it (docs/devices.md)"
        )
        return Transient(f"{what}: {error}", hint=hint)
    if instance.role.libvirt_xml and error.get_error_code() in _NOT_TAKEN:
        hint = "its extra XML may be why: change libvirt.xml in the service's file, and see docs/devices.md"
        return Permanent(f"{what}: {error}", hint=hint)
    return translated(what, error)
