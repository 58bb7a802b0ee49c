"""Whether automation stands still, as whoever decides has to know. The requests are in `pausing`."""

from __future__ import annotations

from typing import Final

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.errors import Permanent
from orchestrator.model import Service, other_deployment, service_of
from orchestrator.model.standstill import Standstill, key_of
from orchestrator.ports import Write

UNREADABLE: Final = Standstill(since_s=0.0)  # Of what a record does not say any more the most is taken.


def standstill_of(present: Present, deployment: str) -> Standstill | None:
    """What keeps us from doing anything to a deployment unasked: the host's standstill, or its service's. O(1)."""
    try:
        whole = present.find(Standstill, key_of())
        return whole or present.find(Standstill, key_of(service_of(deployment)))
    except Permanent:
        return UNREADABLE


def ending_with(present: Present, deployment: str) -> list[Write]:
    """The write that ends a service's standstill with the last that is left of it: of that name another may come."""
    if present.find(Service, other_deployment(deployment)) is not None:
        return []
    there = present.find(Standstill, key_of(service_of(deployment)))
    return [records.drop(there)] if there is not None else []
