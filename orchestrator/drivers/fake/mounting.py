"""What the guests of the fake machines mount and unmount."""

from __future__ import annotations

from orchestrator.drivers.fake.world import World
from orchestrator.model import Attachment, Instance, Silence

PUTS_ASIDE_S = 20.0  # A guest that is slow to do so: it has much to write.


class FakeMounting:
    """A part of the Guest port."""

    _world: World

    def _silence(self, instance: Instance) -> Silence | None:
        raise NotImplementedError

    def take_up(self, instance: Instance, attached: Attachment) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        machine = self._world.machines[instance.name]
        if attached.drive not in machine.drives:
            return "it sees no such disk"
        machine.mounted.add(attached.drive)
        return ""

    def let_go(self, instance: Instance, attached: Attachment) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        if attached.drive in self._world.faults.busy_drives:
            return f"/local/{attached.name} is busy; by: app (77)"
        self._world.machines[instance.name].mounted.discard(attached.drive)
        return ""

    def put_aside(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        machine = self._world.machines[instance.name]
        has = machine.storage_mounted | machine.mounted
        if has and instance.name in self._world.faults.uses_storage:
            return "/local/cache is busy; by: app (77)"
        if has and instance.name in self._world.faults.slow_to_put_aside:
            machine.puts_aside_at_s = machine.puts_aside_at_s or self._world.time_s + PUTS_ASIDE_S
            return Silence(reason="it is being asked")
        machine.put_aside()
        return ""

    def take_back(self, instance: Instance) -> str | Silence:
        """See ports.Guest."""
        if (silence := self._silence(instance)) is not None:
            return silence
        machine = self._world.machines[instance.name]
        to_mount = machine.drives.keys() - machine.bare
        all_mounted = (machine.storage_mounted, machine.mounted) == (machine.storage, to_mount)
        if not all_mounted and instance.name in self._world.faults.storage_unmountable:
            return "what is in it cannot be mounted"
        own = {one.name for one in instance.role.local_storage}
        if own - machine.storage or set(instance.drives_now) - machine.drives.keys():
            return "it sees no such disk"
        machine.storage_mounted, machine.mounted = set(machine.storage), set(to_mount)
        return ""
