"""What can be done to the disks of a fake machine that runs."""

from __future__ import annotations

from orchestrator.drivers.fake.world import World
from orchestrator.errors import Busy, Foreign, Permanent, Unreachable
from orchestrator.model import Attachment, Instance, InstanceName, Power


class FakePlugging:
    """A part of the Hypervisor port."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _away(self, name: InstanceName | None = None) -> None:
        if self._world.faults.libvirt_is_away:
            raise Unreachable("libvirt does not answer", hint="is libvirtd running?")
        if name is not None and name in self._world.faults.foreign:
            raise Foreign(f"domain {name} is not vmrole's")

    def _answers(self, name: InstanceName) -> None:
        """Raises Busy where a question to the VM's QEMU would never come back."""
        machine = self._world.machines.get(name)
        if machine is not None and machine.power is Power.RUNNING and machine.stopped:
            raise Busy(f"{name}: its QEMU is stopped")

    def enlarge(self, name: InstanceName, drive: str, size_mib: int) -> None:
        """See ports.Hypervisor."""
        self._away(name)
        machine = self._world.machines.get(name)
        if machine is not None and machine.power is not Power.OFF and drive in machine.drives:
            machine.drives[drive] = size_mib

    def plug(self, instance: Instance, attached: Attachment) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        self._answers(instance.name)
        machine = self._world.machines.get(instance.name)
        if machine is None or machine.power is Power.OFF or attached.drive in machine.drives:
            return
        if instance.name in self._world.faults.takes_no_drive:
            raise Permanent(f"{instance.name}: no slot is free", hint="it has it when its VM starts next")
        machine.drives.update(self._world.open_drives(instance, {attached.drive}))
        machine.instance = instance
        machine.bare |= set() if attached.mounted else {attached.drive}

    def unplug(self, name: InstanceName, drive: str) -> bool:
        """See ports.Hypervisor."""
        self._away(name)
        self._answers(name)
        machine = self._world.machines.get(name)
        if machine is None or machine.power is Power.OFF or drive not in machine.drives:
            return True
        if name in self._world.faults.keeps_drives:
            return False
        self._world.torn_out |= machine.mounted & {drive}
        machine.mounted.discard(drive)
        del machine.drives[drive]
        return True

    def plug_disks(self, instance: Instance) -> None:
        """See ports.Hypervisor."""
        self._away(instance.name)
        self._answers(instance.name)
        machine = self._world.machines.get(instance.name)
        if machine is None or machine.power is Power.OFF:
            return
        own, lacks = self._world.own_storage(instance), set(instance.drives_now) - machine.drives.keys()
        if own == machine.storage and not lacks:
            return
        if instance.name in self._world.faults.takes_no_drive:
            raise Permanent(f"{instance.name}: no slot is free", hint="it has it when its VM starts next")
        machine.storage, machine.instance = own, instance
        machine.drives.update(self._world.open_drives(instance, lacks))
        machine.bare = {one.drive for one in instance.goal.attached if not one.mounted}

    def unplug_disks(self, instance: Instance) -> bool:
        """See ports.Hypervisor."""
        self._away(instance.name)
        self._answers(instance.name)
        machine = self._world.machines.get(instance.name)
        if machine is None or machine.power is Power.OFF or not (machine.storage or machine.drives):
            return True
        assert not machine.storage_mounted | machine.mounted, f"{instance.name}: a disk is torn out of its guest"
        if instance.name in self._world.faults.keeps_drives:
            machine.ejects_disks = True
        else:
            machine.lose_disks()
        return False
