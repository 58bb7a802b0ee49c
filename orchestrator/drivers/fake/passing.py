"""Devices of the fake host's PCI bus."""

from __future__ import annotations

from orchestrator.drivers.fake.world import World
from orchestrator.errors import Transient
from orchestrator.model import Instance, Power
from orchestrator.model.pci import PciLook


class FakePci:
    """What its owner gives, as tests say."""

    def __init__(self, world: World) -> None:
        self._world = world

    def look(self) -> PciLook:
        """See ports.Pci."""
        return self._world.faults.pci


def require(world: World, instance: Instance) -> None:
    """Raises Transient as a host does that has not a device of the instance's, or on which it cannot be passed on.

    Its machine has them from then on.
    """
    if instance.passed_lacking:
        told = f"start {instance.name}: no device of the host is free for {', '.join(instance.passed_lacking)}"
        raise Transient(told, hint="see pci in vmrole.toml, and what vmrole doctor says of it")
    own = {one.address for one in instance.passed}
    for address in sorted(own & world.faults.pci_gone):
        raise Transient(f"start {instance.name}: there is no PCI device {address} on this host", hint="put it back")
    if own and world.faults.no_passthrough:
        told = f"start {instance.name}: host doesn't support passthrough of host PCI devices"
        raise Transient(told, hint="the IOMMU must be on")
    for name, machine in world.machines.items():
        if name != instance.name and machine.power is not Power.OFF:
            shared = own & {one.address for one in machine.instance.passed}
            assert not shared, f"{instance.name} and {name} run with one device: {', '.join(sorted(shared))}"
    world.machines[instance.name].instance = instance  # It is defined anew at each start.
