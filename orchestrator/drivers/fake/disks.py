"""The disks of the fake world, and what is kept of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.drivers.fake.world import World
from orchestrator.errors import Foreign, NoSpace, Permanent, Whose
from orchestrator.model import Digested, Firmware, Instance, InstanceName, Kept, Power


class FakeDisks:
    """Disks in memory."""

    def __init__(self, world: World) -> None:
        self._world = world

    def lay_overlay(self, instance: Instance) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        with self._world.lock:
            if self._world.faults.disk_is_full:
                raise NoSpace("the disk is full", hint="make room; it goes on by itself")
            if instance.role.image_sha256 not in self._world.images:
                raise Permanent(
                    f"image {instance.role.image_sha256[:12]} is not in the repository", whose=Whose.IMAGE
                )
            laid = self._world.overlays.setdefault(instance.name, set())
            assert laid <= {instance.generation}, (
                f"{instance.name}: an overlay of another generation still lies there"
            )
            laid.add(instance.generation)

    def erase_overlay(self, name: InstanceName) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        with self._world.lock:
            assert name not in self._world.machines, f"{name}: its overlay must outlive its domain"
            self._world.overlays.pop(name, None)
            self._world.set_up.pop(name, None)
            self._world.empty.discard(name)

    def prepare_checkpoint(self, instance: Instance, *, memory: bool) -> str:
        """See ports.Disks."""
        self._world.meet("disks")
        if self._world.layers.get(instance.name, (0, ""))[0] == instance.generation:
            raise Foreign(f"{instance.name}: its VM was kept, and somebody has started it since")
        self._world.memories.pop(instance.name, None)
        if self._world.faults.disk_is_full:
            raise NoSpace("the disk is full", hint="make room; it goes on by itself")
        in_ram = memory and instance.goal.role.checkpoint.memory
        fits = in_ram and instance.name not in self._world.faults.no_ram
        (self._world.in_ram.add if fits else self._world.in_ram.discard)(instance.name)
        return "the host has no memory left" if in_ram and not fits else ""

    def keep_checkpoint(self, instance: Instance, *, memory: bool) -> Kept | None:
        """See ports.Disks."""
        self._world.meet("disks")
        world, name = self._world, instance.name
        with world.lock:
            self._is_off(name)
            saved = world.memories.get(name)
            if memory and (saved is None or saved.generation != instance.generation):
                return None
            laid = world.layers.get(name, (instance.generation, ""))[0]
            assert laid == instance.generation, f"{name}: a layer of another generation still lies there"
            if name not in world.layers:
                machine = world.machines.get(name)
                whole = machine is None or machine.written  # Else it lacks what its guest has yet to write.
                world.layers[name] = (instance.generation, world.set_up.get(name, "") if whole else "")
            world.empty.add(name)
            layer = Digested(f"layer of {instance.uid} {instance.generation}", 1)
            memory_file = Digested(f"memory of {saved.uuid} at {saved.at_s}", 1) if saved and memory else None
            hardware = instance.role.hardware
            if hardware.firmware is Firmware.BIOS and not hardware.tpm:
                return Kept(layer, memory_file)
            world.boards[name] = instance.generation
            return Kept(layer, memory_file, Digested(f"board of {instance.uid} {instance.generation}", 1))

    def read_ahead(self, instance: Instance) -> None:
        """See ports.Disks. What is in memory takes no time."""

    def layer_damage(self, instance: Instance) -> str:
        """See ports.Disks."""
        self._world.meet("disks")
        name, checkpoint, layer = instance.name, instance.checkpoint, self._world.layers.get(instance.name)
        if checkpoint is None or layer is None or layer[0] != checkpoint.generation:
            return "the layer of its checkpoint is not there"
        if checkpoint.board is not None and self._world.boards.get(name) != checkpoint.generation:
            return "the board of its checkpoint is not there"
        return "the layer of its checkpoint is damaged" if name in self._world.faults.layer_damaged else ""

    def memory_damage(self, instance: Instance) -> str:
        """See ports.Disks."""
        self._world.meet("disks")
        name, checkpoint, memory = instance.name, instance.checkpoint, self._world.memories.get(instance.name)
        if checkpoint is None or checkpoint.memory is None or memory is None:
            return "the memory of its checkpoint is not there"
        same = checkpoint.memory.sha256 == f"memory of {memory.uuid} at {memory.at_s}"
        return "" if same and name not in self._world.faults.memory_damaged else "its memory file is damaged"

    def renew_overlay(self, instance: Instance) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        world, name = self._world, instance.name
        with world.lock:
            self._is_off(name)
            if world.faults.disk_is_full:
                raise NoSpace("the disk is full", hint="make room; it goes on by itself")
            laid = world.overlays.setdefault(name, set())
            assert laid <= {instance.generation}, f"{name}: an overlay of another generation still lies there"
            laid.add(instance.generation)
            world.set_up[name] = world.layers[name][1]
            world.empty.add(name)

    def _is_off(self, name: InstanceName) -> None:
        machine = self._world.machines.get(name)
        assert machine is None or machine.power is Power.OFF, f"{name}: its overlay is taken away while it runs"

    def erase_memory(self, name: InstanceName) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        self._world.memories.pop(name, None)

    def erase_checkpoint(self, name: InstanceName) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        with self._world.lock:
            assert name not in self._world.machines, f"{name}: its layer is erased under its VM"
            self._world.memories.pop(name, None)
            self._world.layers.pop(name, None)
            self._world.boards.pop(name, None)

    def lay_local_storage(self, instance: Instance) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        with self._world.lock:
            for storage in instance.role.local_storage:
                laid = self._world.storage.setdefault(instance.name, {})
                if storage.name not in laid and self._world.faults.disk_is_full:
                    raise NoSpace("the disk is full", hint="make room; it goes on by itself")
                laid.setdefault(storage.name, "")
            for drive in instance.drives_now:
                there = self._world.drives.get(drive)
                if there is None or there.size_mib is None:
                    raise Permanent(f"drive {drive} is not there")

    def erase_local_storage(self, name: InstanceName) -> None:
        """See ports.Disks."""
        self._world.meet("disks")
        with self._world.lock:
            assert name not in self._world.machines, f"{name}: local storage in use is erased"
            self._world.storage.pop(name, None)

    def inventory(self) -> Mapping[InstanceName, frozenset[str]]:
        """See ports.Disks."""
        self._world.meet("disks")
        world = self._world
        names = {*world.overlays, *world.storage, *world.layers, *world.memories}
        return {
            name: frozenset(
                {f"overlay:{number}" for number in world.overlays.get(name, ())}
                | {f"storage:{storage}" for storage in world.storage.get(name, {})}
                | ({f"layer:{world.layers[name][0]}"} if name in world.layers else set())
                | ({f"board:{world.boards[name]}"} if name in world.boards else set())
                | ({f"memory:{world.memories[name].generation}"} if name in world.memories else set())
            )
            for name in names
        }
