"""Instances to which drives are attached by hand, for who looks at what becomes of those."""

from __future__ import annotations

from orchestrator.control.attaching import Attaching
from orchestrator.model import InstanceName
from tests.trouble.warm_lives import drives_of
from tests.world.fabric import Fabric, web_role

WEB = InstanceName("web-0.shop")
PLAIN = web_role(instances=2, local_storage=())


def attaching_of(fabric: Fabric) -> Attaching:
    """As a daemon has it that has just been started."""
    machine, find = fabric.host.machine, fabric.control.instance
    return Attaching(fabric.present, drives_of(fabric), machine, find, patience=0.02)


def plain() -> Fabric:
    """Two drives with something in them, and a service that serves without."""
    fabric = Fabric()
    for name in ("db-0", "db-1"):
        drives_of(fabric).create(name, 64)
        fabric.world.drives[name].written = f"orders of {name}"
    fabric.deploy(PLAIN)
    fabric.until(fabric.quiet)
    return fabric


def plugged(fabric: Fabric, name: InstanceName = WEB) -> set[str]:
    """The drives that the VM holds."""
    return set(fabric.world.machines[name].drives)
