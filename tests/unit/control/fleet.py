"""Instances that are deployed, serve, and are asked things."""

from __future__ import annotations

from orchestrator.model import (
    InstanceName,
)
from tests.world.fabric import Fabric, web_role

WEB = InstanceName("web-0.shop")


def deployed(**changes: object) -> Fabric:
    """A fabric with one serving instance."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, **changes))
    fabric.until(fabric.quiet)
    return fabric


OTHER = InstanceName("web-1.shop")


def serving(instances: int, **changes: object) -> Fabric:
    """A fabric in which so many serve."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=instances, **changes))
    fabric.until(fabric.quiet)
    return fabric


def told(fabric: Fabric, name: str = "web-0") -> list[str]:
    """The ledger of an instance."""
    return [event.message for event in fabric.control.events(name)]
