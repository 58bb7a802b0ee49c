"""Which deployments a service has, and which of them is meant: by its slot, by its own name, or by the service's.

What users name is `shop`, which is in production, or `shop@staging`; a second deployment may be named by its own
name, `shop--b`, too. Inside, a deployment is known by its own name alone.
"""

from __future__ import annotations

import contextlib

from orchestrator.control.present import Present
from orchestrator.errors import InvalidInput, NotFound, Permanent
from orchestrator.model import SECOND, Instance, Service, Slot, deployments_of, other_deployment

AT = "@"  # between a service's name and a slot; no name has one


def deployed(present: Present, service: str, slot: Slot) -> Service | None:
    """What is in a slot of a service; None when nothing is. Raises as `Present.find`."""
    return next((one for one in all_deployed(present, service) if one.slot is slot), None)


def all_deployed(present: Present, service: str) -> list[Service]:
    """What a service has, in either slot. Raises as `Present.find`."""
    found = (present.find(Service, name) for name in deployments_of(service))
    return [one for one in found if one is not None]


def beside(present: Present, deployment: str) -> Service | None:
    """The other deployment of the same service, if clients see that; None, too, when it cannot be read."""
    with contextlib.suppress(Permanent):
        other = present.find(Service, other_deployment(deployment))
        if other is not None and (not other.removing or present.instances_of(other.name)):
            return other
    return None


def place(present: Present, service: str, slot: Slot) -> str:
    """The name of the deployment in a slot, or of the one that an apply to it would make."""
    there = {one.slot: one.name for one in all_deployed(present, service)}
    return there.get(slot) or next(name for name in deployments_of(service) if name not in there.values())


def _named(name: str) -> tuple[str, Slot]:
    service, at, word = name.partition(AT)
    try:
        return service, Slot(word) if at else Slot.PRODUCTION
    except ValueError as error:
        raise InvalidInput(f"there is no slot {word[:40]!r}", hint=f"slots are: {', '.join(Slot)}") from error


def meant(present: Present, name: str) -> Service:
    """The deployment that a user names. Raises NotFound, which tells what is in the other slot, and InvalidInput."""
    if name.endswith(SECOND):
        return present.load(Service, name)
    service, slot = _named(name)
    found = deployed(present, service, slot)
    if found is not None:
        return found
    if others := all_deployed(present, service):
        raise NotFound(f"service {service} has nothing in {slot}", hint=f"name the other: {others[0].address}")
    return present.load(Service, service)


def to_remove(present: Present, name: str) -> list[Service]:
    """What goes when a user deletes by a name: a service with all that it has, else the one deployment that he names.

    What is in production comes first. Raises as `meant`.
    """
    there = all_deployed(present, name) if AT not in name else []
    return sorted(there, key=lambda one: one.slot) or [meant(present, name)]


def subject(present: Present, name: str) -> str:
    """What a user names (a service, ROLE.SERVICE, an instance), by the deployment's own name.

    A whole instance's name, and what is of no service, stays as it is. Raises InvalidInput for another slot.
    """
    head, dot, last = name.rpartition(".")
    service, slot = _named(last)
    if AT not in name and (service.endswith(SECOND) or present.find(Instance, name) is not None):
        return name
    with contextlib.suppress(Permanent):
        there = {one.slot: one for one in all_deployed(present, service)}
        found = there.get(slot)
        if found is not None and (not head or AT in name or found.spec.role(head) is not None):
            return f"{head}{dot}{found.name}"
        if there and (not head or AT in name):
            return f"{head}{dot}{service}{AT}{slot}"  # which nobody is called
    return name
