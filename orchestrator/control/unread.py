"""What records that cannot be read may still hold: enough to refuse by, and never to act by.

Whoever is set aside keeps what was given to him, as far as that can be known: by what lies in the record's place, by
the records beside it, and by what is on the host.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Final

from orchestrator.control import records
from orchestrator.control.asides import SetAside
from orchestrator.control.present import Present
from orchestrator.errors import Conflict
from orchestrator.model import Service, ServiceSpec
from orchestrator.rules.addressing import SERVICE_PREFIX

_WORD: Final = re.compile(r"[0-9A-Za-z.:-]{2,45}")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f.:]{3,45}")
_SUBNET: Final = re.compile(r"[0-9.]{7,15}/[0-9]{1,2}")


def services(asides: Iterable[SetAside]) -> list[SetAside]:
    """Those of them that are a service."""
    return [one for one in asides if one.kind == records.SERVICE]


def words(aside: SetAside) -> frozenset[str]:
    """Whatever in it may be an address, or the name of an interface."""
    return frozenset(_WORD.findall(_text(aside)))


def subnets(asides: Iterable[SetAside]) -> list[str]:
    """The networks (CIDR) that services among them tell of."""
    told = {text for aside in services(asides) for text in _SUBNET.findall(_text(aside))}
    return sorted(text for text in told if _is_private_network(text))


def deployed(present: Present, asides: Iterable[SetAside]) -> list[ServiceSpec]:
    """The services among them, as their newest file that can be read says, or what there is of their instances."""
    specs = (_spec(present, aside) for aside in services(asides))
    return [spec for spec in specs if spec is not None]


def unsized(present: Present, asides: Iterable[SetAside]) -> list[str]:
    """The names of the services among them of which nobody knows what their instances may come to hold: what tells of
    a template that cannot be read, or nothing is left that tells.
    """
    lost = services(asides)
    places = present.unsized() if lost else set()
    return [
        one.key
        for one in lost
        if (records.SERVICE, one.key) in places
        or any(kind == records.REVISION and key.startswith(f"{one.key}/") for kind, key in places)
        or _spec(present, one) is None
    ]


def refuse_vips(
    spec: ServiceSpec, known: Collection[Service], asides: Sequence[SetAside], held: Collection[str]
) -> None:
    """Raises Conflict when a VIP of the spec may be that of a service that cannot be read.

    `known` are the services that can be, `held` the VIPs that the host has: those of none of them are somebody's.
    """
    unread = services(asides)
    own = {vip for one in known for vip in (one.spec.vip, one.spec.staging_vip)}
    for key, vip in (("vip", spec.vip), ("stagingVip", spec.staging_vip)):
        if not vip or vip in own or not unread:
            continue
        whose = next((one for one in unread if _names(one, vip)), unread[0] if vip in held else None)
        if whose is not None:
            told = f"{key}: {vip} may be the VIP of a service that nobody can read: {whose}"
            raise Conflict(told, hint=f"choose another, or mend that first: vmrole verify; {whose.hint}")


def _names(aside: SetAside, vip: str) -> bool:
    wanted = ipaddress.ip_address(vip)
    return any(_address(text) == wanted for text in _ADDRESS.findall(_text(aside)))


def _address(text: str) -> object:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _is_private_network(text: str) -> bool:
    try:
        return ipaddress.ip_network(text).prefixlen >= SERVICE_PREFIX
    except ValueError:
        return False


def _text(aside: SetAside) -> str:
    return aside.hearsay + (json.dumps(dict(aside.body), ensure_ascii=False) if aside.body else "")


def _spec(present: Present, aside: SetAside) -> ServiceSpec | None:
    there = list(present.instances_of(aside.key).values())
    kept = present.revisions_of(aside.key)
    newest = max(kept, key=lambda one: (one.applied_at_s, one.number)).spec if kept else None
    roles = {role.name: role for role in newest.roles} if newest is not None else {}
    for instance in there:
        roles.setdefault(instance.role_name, replace(instance.goal.role, instances=0))
    if not roles:
        return None
    counts = Counter(instance.role_name for instance in there)
    whole = tuple(replace(one, instances=max(one.instances, counts[one.name])) for one in roles.values())
    return replace(newest or ServiceSpec(name=aside.key, vip="", roles=()), name=aside.key, roles=whole)
