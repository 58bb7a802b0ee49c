"""What a list of all services costs."""

from __future__ import annotations

from typing import Any, cast

from fastapi.routing import APIRoute

from orchestrator.api.service_routes import service_routes
from orchestrator.control.requests import Control
from orchestrator.model import Instance
from tests.world.counted import Looks
from tests.world.fabric import Fabric, web_role


class _Counting:
    """A control that counts how often instances are looked at."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.looks = Looks()

    def instances(self, subject: str = "") -> list[Instance]:
        """See Queries."""
        return self.looks.at(self._control.instances(subject))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)


def looks_of_each(services: int) -> float:
    """How often each instance is looked at to list services of one each."""
    fabric = Fabric()
    for number in range(services):
        fabric.deploy(web_role(instances=1), name=f"shop-{number}", vip="")
    counting = _Counting(fabric.control)
    routes = service_routes(cast("Control", counting)).routes
    (listing,) = (one.endpoint for one in routes if isinstance(one, APIRoute) and one.name == "list_services")
    assert [one.instances for one in listing()] == [1] * services
    return counting.looks.count / services


def test_services_are_listed_by_their_own_instances() -> None:
    """Ten times the services cost ten times as much, and not a hundred."""
    assert looks_of_each(20) == looks_of_each(2)
