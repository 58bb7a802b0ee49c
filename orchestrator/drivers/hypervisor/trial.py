"""What libvirt says of a role's VM before there is one.

It is asked for the command line of QEMU: that has it read the domain, hold it against what QEMU can do here, and
make everything up that a start needs, without a domain, a file or a process. Defining one under another name would
be seen by everybody who lists domains, would stay where we are killed, and finds less: what a processor lacks, for
one, libvirt looks for at a start alone.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import Final

import libvirt

from orchestrator.drivers.hypervisor import domain_xml, host_devices
from orchestrator.drivers.hypervisor.domain_parts import MachineType, paths_of
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Problem
from orchestrator.model import Goal, Instance, Nic, Role, instance_name

_SERVICE: Final = "trial"
_UNLIKE: Final = str(uuid.uuid5(uuid.NAMESPACE_DNS, "trial.vmrole.dev"))  # of no instance's uid
_NIC: Final = Nic(mac="52:54:00:00:00:01", address="", tap="vr-trial")
# What libvirt says of a domain, and not of itself or of how it is spoken to.
_OF_THE_DOMAIN: Final = (
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
)


def model_fault(connection: libvirt.virConnect, role: Role, machine: MachineType) -> Problem | None:
    """Why guests here cannot have the processor that the role names."""
    if not role.devices.cpu_model:
        return None
    kind = domain_xml.domain_type(machine)
    told: str = connection.getDomainCapabilities(machine.emulator, machine.arch, machine.machine, kind)
    return host_devices.model_fault(role, host_devices.cpu_models(told))


def fault(connection: libvirt.virConnect, role: Role, layout: Layout, machine: MachineType) -> Problem | None:
    """Why libvirt would not start a VM of the role for its extra XML; None where that is not to blame, or there is
    none. Raises libvirtError when it cannot be asked.
    """
    if not role.libvirt_xml or not (told := _refusal(connection, role, layout, machine)):
        return None
    if _refusal(connection, dataclasses.replace(role, libvirt_xml=""), layout, machine):
        return None  # The host lacks something else, which its start tells.
    hint = "change it, or leave it out; `virsh domcapabilities` tells what guests of this host can have"
    return Problem(f"libvirt takes no VM with it: {told}", key="libvirt.xml", hint=hint)


def _refusal(connection: libvirt.virConnect, role: Role, layout: Layout, machine: MachineType) -> str:
    """What libvirt has against a VM of the role; "" for nothing."""
    name = instance_name(_SERVICE, role.name, 0)
    instance = Instance(
        name=name,
        uid=_UNLIKE,
        service=_SERVICE,
        role_name=role.name,
        index=0,
        network=f"vmrole-{_SERVICE}",
        nic=_NIC,
        goal=Goal(role=role),
        role=role,
    )
    try:
        connection.domainXMLToNative("qemu-argv", domain_xml.render(instance, paths_of(layout, instance), machine), 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _OF_THE_DOMAIN:
            raise
        return str(error)
    return ""
