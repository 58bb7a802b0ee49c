"""Instances whose records cannot be read, as far as it is known what was given to them: theirs it stays.

Their wishes say so, where those can be read; else the host does, which has what was laid for them still.
A damaged record is not asked: a byte of it that is another would give a neighbour's address away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.control import asides
from orchestrator.control.present import Present
from orchestrator.model import Goal, Instance, InstanceName, Nic, Role, Service, place_of

Laid = Callable[[Service], Mapping[InstanceName, Nic]]  # see ports.Network.laid
_NOBODY = "00000000-0000-0000-0000-000000000000"


def shadows_of(present: Present, service: Service, laid: Laid) -> list[Instance]:
    """Those of the service: none of them is to be acted upon, and nothing of theirs is to be taken away or given out.

    `laid` is asked only where a wish cannot be read, and may raise as a port does.
    """
    known = present.shadows_of(service.name)
    lost = [one.key for one in asides.instances_of(present.set_aside(), service.name) if one.key not in known]
    cards = laid(service) if lost else {}
    names = [InstanceName(key) for key in lost if key in cards]
    return [*known.values(), *(_shadow(service, name, cards[name]) for name in names)]


def _shadow(service: Service, name: InstanceName, nic: Nic) -> Instance:
    role_name, index = place_of(name)
    role = replace(service.spec.role(role_name) or _stand_in(service, role_name), instances=0)
    return Instance(
        name=name,
        uid=_NOBODY,
        service=service.name,
        role_name=role_name,
        index=index,
        network=service.network.name,
        nic=nic,
        goal=Goal(role=role),
        role=role,
    )


def _stand_in(service: Service, name: str) -> Role:
    """For a role that the file has no more: of what a shadow is built nobody asks."""
    return replace(service.spec.roles[0], name=name, endpoints=())
