"""The fake world as a stage."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.drivers.fake import World, fake_host
from orchestrator.drivers.fake.world import FakeDrive
from orchestrator.model import Instance, InstanceName, PausedBy
from tests.contract.suites.stage import NO_SUCH_DEVICE, NO_SUCH_SHARE, SERVICE, make_instance

_LOOK_S = 0.25


class FakeStage:
    """Time passes only while a test waits for something."""

    image_sha256 = "ab" * 32

    def __init__(self) -> None:
        self.world = World()
        self._host = fake_host(self.world)
        self.hypervisor = self._host.machine.hypervisor
        self.guest = self._host.machine.guest
        self.inside = self._host.machine.inside
        self.disks = self._host.machine.disks
        self.world.faults.shares_gone.add(NO_SUCH_SHARE)
        self.world.faults.pci_gone.add(NO_SUCH_DEVICE)
        self.world.images.add(self.image_sha256)
        self.world.networks[SERVICE] = frozenset(make_instance(self, index).name for index in range(3))

    def lay(self, instance: Instance, *, disc: bool = True) -> None:
        """See Stage."""
        self._host.machine.media.erase(instance.name)
        self._host.machine.disks.erase_overlay(instance.name)
        self._host.machine.disks.lay_overlay(instance)
        self._host.machine.disks.lay_local_storage(instance)
        if disc:
            self._host.machine.media.write(instance)

    def lay_drive(self, name: str) -> None:
        """See Stage."""
        self.world.drives[name] = FakeDrive(size_mib=16)

    def until(self, true: Callable[[], bool], within_s: float = 120.0) -> None:
        """See Stage."""
        end_s = self.world.now_s() + within_s
        while not true():
            assert self.world.now_s() < end_s, "it did not come true"
            self.world.pass_time(_LOOK_S)

    def kill(self, name: InstanceName) -> None:
        """See Stage."""
        self.world.kill(name)

    def stop_qemu(self, name: InstanceName) -> None:
        """See Stage."""
        self.world.stop_qemu(name)

    def continue_qemu(self, name: InstanceName) -> None:
        """See Stage."""
        self.world.continue_qemu(name)

    def suspend(self, name: InstanceName) -> None:
        """See Stage."""
        self.world.pause(name, PausedBy.USER)

    def resume(self, name: InstanceName) -> None:
        """See Stage."""
        self.world.resume(name)
