"""Lives whose reimages go on from a checkpoint, by the kind of the role."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

from orchestrator.model import Instance, InstanceName, LocalStorage, Road, Role, Service, Verb
from tests.world.fabric import Fabric, Trouble, web_role

ROLE = web_role(instances=1, local_storage=(), reimage=Road.WARM)
NAME = InstanceName("web-0.shop")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Life:
    """One instance of a role, from its deployment to its end."""

    role: Role

    def begun(self, fabric: Fabric) -> None:
        """Deployed, and at rest."""
        fabric.deploy(self.role)
        fabric.until(fabric.quiet)

    def lived(self, fabric: Fabric) -> Instance:
        """Deployed, reimaged, restarted: what was written after the checkpoint is gone, but for local storage, and
        boots are counted on.
        """
        self.begun(fabric)
        before = fabric.instance()
        fabric.world.machines[NAME].system_marker = "written"
        for storage in self.role.local_storage:
            fabric.world.storage[NAME][storage.name] = f"kept in {storage.name}"
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
        """Deployed and reimaged, with a strike at another call each time, and gone."""
        for at in range(1, len(self.untroubled()) + 1):
            fabric = Fabric(Trouble(at, after=bool(at % 2)))
            fabric.trouble.strike = functools.partial(strike, fabric)
            self.begun(fabric)
            fabric.act(Verb.REIMAGE, NAME)
            fabric.until(fabric.quiet)
            self.gone(fabric)


@functools.cache
def _untroubled(life: Life) -> tuple[str, ...]:
    fabric = Fabric()
    life.lived(fabric)
    return tuple(fabric.trouble.verbs)


STORAGE = (LocalStorage(name="cache", size_mib=64), LocalStorage(name="jobs", size_mib=64))
WARM = Life(role=ROLE)
WITH_STORAGE = Life(role=dataclasses.replace(ROLE, local_storage=STORAGE))
PREPARED = Life(role=dataclasses.replace(ROLE, local_storage=STORAGE[:1], reimage=Road.PREPARED))
LIVES = {"warm": WARM, "warm-with-storage": WITH_STORAGE, "prepared": PREPARED}
