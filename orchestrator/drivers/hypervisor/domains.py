"""Domains of one libvirtd as this family's modules meet them: found, told apart, ended. They raise libvirtError."""

from __future__ import annotations

import contextlib
import os

import libvirt
from lxml import etree

from orchestrator.drivers.hypervisor import domain_xml, process_end
from orchestrator.drivers.hypervisor.domain_parts import PID_FILES
from orchestrator.drivers.hypervisor.qmp_watch import Run
from orchestrator.errors import Foreign
from orchestrator.model import InstanceName

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE


def find(connection: libvirt.virConnect, name: InstanceName) -> libvirt.virDomain | None:
    """The domain of that name, ours or not; None when there is none."""
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def ownership(found: libvirt.virDomain, installation: str) -> domain_xml.Ownership:
    """Our metadata in the domain; raises Foreign when there is none, or when it is of another installation."""
    try:
        text = found.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_xml.NAMESPACE, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
            raise
        text = ""
    owned = domain_xml.ownership(text)
    if owned is None or owned.name != found.name():
        raise Foreign(
            f"the domain {found.name()!r} is not vmrole's",
            hint="rename or remove it, or give the service another name; vmrole will not touch it",
        )
    if installation and owned.installation not in ("", installation):
        raise Foreign(
            f"the domain {found.name()!r} is of another vmrole, whose id is {owned.installation}",
            hint="is state_dir the one that it was made with, and mounted? This daemon will not touch it",
        )
    return owned


def run_of(found: libvirt.virDomain) -> Run | None:
    """Which start of the VM this is; None when libvirt says that it is off."""
    number = found.ID()
    return None if number < 0 else Run(found.UUIDString(), number)


def destroy(found: libvirt.virDomain, *, erased: bool = False) -> None:
    """Ends the VM if libvirt thinks that there is one; its process first, whose end libvirt notices late. One whose
    disks are erased next (`erased`) is killed.
    """
    try:
        if found.isActive():
            with contextlib.suppress(OSError, ValueError):
                end = process_end.kill if erased else process_end.ask
                end(int((PID_FILES / f"{found.name()}.pid").read_text()), found.UUIDString())
            found.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:  # It ended by itself meanwhile.
            raise


def qemu_group(capabilities: str) -> int:
    """The group that libvirt runs QEMU as, from the base label "+64055:+109"; ours when it does not say."""
    label = etree.fromstring(capabilities.encode()).findtext("host/secmodel[model='dac']/baselabel") or ""
    group = label.replace("+", "").partition(":")[2]
    return int(group) if group.isdigit() else os.getgid()
