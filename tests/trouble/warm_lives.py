"""Lives with warm reimages."""

from __future__ import annotations

import functools

from orchestrator.model import Instance, InstanceName, Road, Role, Service, Verb
from tests.world.fabric import Fabric, web_role

ROLE = web_role(instances=1, local_storage=(), reimage=Road.WARM)
NAME = InstanceName("web-0.shop")


def warm_life(fabric: Fabric, role: Role = ROLE) -> Instance:
    """Deployed, reimaged, restarted: what was written after the checkpoint is gone, and boots are counted on."""
    fabric.deploy(role)
    fabric.until(fabric.quiet)
    before = fabric.instance()
    fabric.world.machines[NAME].system_marker = "written"
    fabric.act(Verb.REIMAGE, NAME)
    fabric.until(fabric.quiet)
    after = fabric.instance()
    assert after.generation > before.generation
    assert fabric.world.machines[NAME].system_marker == "", "a reimage keeps nothing of the system disk"
    fabric.act(Verb.RESTART, NAME)
    fabric.until(fabric.quiet)
    assert fabric.instance().boot > after.boot
    return fabric.instance()


def gone(fabric: Fabric) -> None:
    """Nothing is left."""
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    warm_life(fabric)
    return tuple(fabric.trouble.verbs)
