"""Which machine a Windows instance is, as its answer file and its watch call it."""

from __future__ import annotations

from vmrole_unattend.windows.answers import Machine

from orchestrator.model import Instance, service_of


def windows_machine(instance: Instance) -> Machine:
    """Which machine a Windows instance is, in its present generation."""
    nic = instance.nic
    return Machine(
        role=instance.role_name,
        index=instance.index,
        service=service_of(instance.service),
        instance=instance.name,
        generation=instance.generation,
        instance_id=instance.vm_uuid,
        mac=nic.mac,
        address=f"{nic.address}/{nic.prefix_length}",
        gateway=nic.gateway,
        dns=(nic.gateway,),
        local_storage=instance.disks,
    )
