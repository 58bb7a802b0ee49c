"""What helps where libvirt does not start a VM of a machine that its role asked for."""

from __future__ import annotations

import dataclasses

import libvirt
import pytest

from orchestrator.drivers.hypervisor.start_faults import why_not_started
from orchestrator.errors import Permanent, Transient, WorldError
from orchestrator.model import Devices
from orchestrator.model.share import Share
from tests.world.instances import instance

_EXTRA = "<domain><clock><timer name='hpet' tickpolicy='catchup'/></clock></domain>"
# As libvirt 9.0 says it.
_NO_MODEL = "internal error: Unknown CPU model Nonesuch-v7"
_NO_PAGES = "internal error: hugetlbfs filesystem is not mounted or disabled by administrator config"
_NO_ROOM = "internal error: process exited: unable to map backing store for guest RAM: Cannot allocate memory"
_NOT_SERVED = "internal error: virtiofsd died unexpectedly"
_NO_IOMMU = "unsupported configuration: host doesn't support passthrough of host PCI devices"
_NO_DEVICE = "Device 0000:01:00.0 not found: could not access /sys/bus/pci/devices/0000:01:00.0/config: No such file"
_IN_USE = "Requested operation is not valid: PCI device 0000:01:00.0 is in use by driver QEMU, domain other"
_PCI = Devices(pci=("0000:01:00.0",))
_SHARES = (Share(name="data", source="/srv/data"),)
_NO_POLICY = "unsupported configuration: unsupported rtc timer tickpolicy 'catchup'"


def told(text: str, code: int, **role: object) -> WorldError:
    """What is made of such an error about an instance whose role says that."""
    error = libvirt.libvirtError(text)
    error.err = (code, libvirt.VIR_FROM_QEMU, text, libvirt.VIR_ERR_ERROR, None, None, None, -1, -1)
    one = instance()
    return why_not_started(dataclasses.replace(one, role=dataclasses.replace(one.role, **role)), error)


@pytest.mark.parametrize(
    ("text", "code", "role", "kind", "hint"),
    [
        (_NO_MODEL, libvirt.VIR_ERR_INTERNAL_ERROR, {"devices": Devices(cpu_model="N")}, Permanent, "cpuModel"),
        (_NO_PAGES, libvirt.VIR_ERR_INTERNAL_ERROR, {"devices": Devices(hugepages=True)}, Transient, "nr_hugepages"),
        (_NO_ROOM, libvirt.VIR_ERR_INTERNAL_ERROR, {"devices": Devices(hugepages=True)}, Transient, "nr_hugepages"),
        (_NO_IOMMU, libvirt.VIR_ERR_CONFIG_UNSUPPORTED, {"devices": _PCI}, Transient, "vfio-pci"),
        (_NO_DEVICE, libvirt.VIR_ERR_INTERNAL_ERROR, {"devices": _PCI}, Transient, "vfio-pci"),
        (_IN_USE, libvirt.VIR_ERR_OPERATION_INVALID, {"devices": _PCI}, Transient, "vfio-pci"),
        (_NOT_SERVED, libvirt.VIR_ERR_INTERNAL_ERROR, {"shares": _SHARES}, Transient, "virtiofsd.log"),
        (_NO_POLICY, libvirt.VIR_ERR_CONFIG_UNSUPPORTED, {"libvirt_xml": _EXTRA}, Permanent, "libvirt.xml"),
    ],
)
def test_the_key_that_may_be_why_is_named(
    text: str, code: int, role: dict[str, object], kind: type[WorldError], hint: str
) -> None:
    """Of a role that says it, and of no other."""
    error = told(text, code, **role)
    assert isinstance(error, kind)
    assert hint in error.hint
    assert text in str(error)
    assert hint not in told(text, code).hint


def test_another_error_is_not_put_down_to_extra_xml() -> None:
    """A libvirtd that is away, a disk that is locked: that is nobody's file."""
    assert told("end of file while reading data", libvirt.VIR_ERR_INTERNAL_ERROR, libvirt_xml=_EXTRA).hint == ""
