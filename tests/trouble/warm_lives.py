"""Lives whose reimages go on from a checkpoint, by the kind of the role."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from orchestrator.control.drives import Drives
from orchestrator.drivers.fake import FakeDrives
from orchestrator.model import Instance, InstanceName, LocalStorage, Road, Role, RoleDrive, Service, Verb
from tests.world.fabric import Fabric, Trouble, web_role

ROLE = web_role(instances=1, local_storage=(), reimage=Road.WARM)
NAME = InstanceName("web-0.shop")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Life:
    """One instance of a role, from its deployment to its end."""

    role: Role

    def deployed(self, fabric: Fabric) -> None:
        """With a drive for each that it wants."""
        for drive in self.role.drives:
            drives_of(fabric).create(drive.of(0), 64)
        fabric.deploy(self.role)

    def begun(self, fabric: Fabric) -> None:
        """Deployed, and at rest."""
        self.deployed(fabric)
        fabric.until(fabric.quiet)

    def lived(self, fabric: Fabric) -> Instance:
        """Deployed, reimaged, restarted: what was written after the checkpoint is gone, but for its disks beside
        that of the system, and boots are counted on.
        """
        self.begun(fabric)
        before = fabric.instance()
        fabric.world.machines[NAME].system_marker = "written"
        for storage in self.role.local_storage:
            fabric.world.storage[NAME][storage.name] = f"kept in {storage.name}"
        for drive in self.role.drives:
            fabric.world.drives[drive.of(0)].written = f"kept in {drive.name}"
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        after = fabric.instance()
        assert after.generation > before.generation
        assert fabric.world.machines[NAME].system_marker == "", "a reimage keeps nothing of the system disk"
        fabric.act(Verb.RESTART, NAME)
        fabric.until(fabric.quiet)
        assert fabric.instance().boot > after.boot
        for storage in self.role.local_storage:
            assert fabric.world.storage[NAME][storage.name] == f"kept in {storage.name}"
        for drive in self.role.drives:
            assert fabric.world.drives[drive.of(0)].written == f"kept in {drive.name}"
        return fabric.instance()

    def gone(self, fabric: Fabric) -> None:
        """Nothing is left."""
        fabric.remove()
        fabric.until(lambda: not fabric.present.all(Service))
        fabric.world.nothing_is_left()

    def untroubled(self) -> tuple[str, ...]:
        """The verbs with an effect of one life, in order."""
        return _untroubled(self)

    def struck(self, strike: Callable[[Fabric], None]) -> None:
        """Deployed and reimaged, with a strike at another call each time, and gone. What it has cost is not for
        ever: once it was made of the image again, its reimages take the road of its role.
        """
        for at in range(1, len(self.untroubled()) + 1):
            fabric = Fabric(Trouble(at, after=bool(at % 2)))
            fabric.trouble.strike = functools.partial(strike, fabric)
            self.begun(fabric)
            fabric.act(Verb.REIMAGE, NAME)
            fabric.until(fabric.quiet)
            reached = fabric.instance()
            if reached.no_checkpoint or reached.no_memory or not reached.road.startswith(self.role.reimage):
                self.back_on_its_road(fabric)
            self.gone(fabric)

    def back_on_its_road(self, fabric: Fabric) -> None:
        """Made of the image once more, as somebody asks for, and then reimaged."""
        fabric.control.act(Verb.REIMAGE, NAME, cold=True)
        fabric.until(fabric.quiet)
        fabric.act(Verb.REIMAGE, NAME)
        fabric.until(fabric.quiet)
        assert fabric.instance().road.startswith(self.role.reimage), fabric.instance().road


def drives_of(fabric: Fabric) -> Drives:
    """As a daemon has them that has just been started."""
    enlarge = fabric.host.machine.hypervisor.enlarge
    return Drives(fabric.present, FakeDrives(fabric.world), fabric.world, fabric.control.custody, enlarge)


@functools.cache
def _untroubled(life: Life) -> tuple[str, ...]:
    fabric = Fabric()
    life.lived(fabric)
    return tuple(fabric.trouble.verbs)


STORAGE = (LocalStorage(name="cache", size_mib=64), LocalStorage(name="jobs", size_mib=64))
WARM = Life(role=ROLE)
WITH_STORAGE = Life(role=dataclasses.replace(ROLE, local_storage=STORAGE))
DRIVES = (RoleDrive(name="data", drive="orders-{index}", mount="/data"), RoleDrive(name="more", drive="more"))
WITH_DRIVES = Life(role=dataclasses.replace(ROLE, drives=DRIVES))
PREPARED = Life(role=dataclasses.replace(ROLE, local_storage=STORAGE[:1], drives=DRIVES[:1], reimage=Road.PREPARED))
LIVES = {"warm": WARM, "with-storage": WITH_STORAGE, "with-drives": WITH_DRIVES, "prepared": PREPARED}
