"""`upgrade:` of a service: how its instances are made anew, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.errors import Problem
from orchestrator.model import INSTANCES_MAX, OnFailure, Order, Role, Upgrade, Walking
from orchestrator.servicefile.fields import Answer, choice, duration_s, integer, percent, shape_of, shaped
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map

KEYS: Final = ("domains", "maxUnavailable", "mode", "order", "within", "soak", "onFailure", "canary")
_DAY_S: Final = 24 * 3600
_NOBODY: Final = "nobody could ever be made anew: an instance has no second VM to serve meanwhile"
_number, _part = integer(1, INSTANCES_MAX), percent(1, 100)


@shaped(anyOf=[shape_of(_number), shape_of(_part)])
def unavailable(node: object) -> Answer[int | str]:
    """A number of instances as it is, or a part of them in per cent as a text."""
    if node in (0, "0", "0%", "0 %") and not isinstance(node, bool):
        return Problem(f"{node}: {_NOBODY}", hint="1 or more, or 1 % or more; or leave it out")
    if isinstance(node, str) and node.endswith("%"):
        part = _part(node)
        return part if isinstance(part, Problem) else str(part)
    number = _number(node)
    if isinstance(number, Problem):
        return Problem(number.message, hint=f"{number.hint}, or a part such as 25 %")
    return number


def read_upgrade(reader: Reader, top: Map) -> Upgrade:
    """What stands below `upgrade`; faults are noted."""
    at = "upgrade"
    node = reader.keys(top.get(at, Map()), at, KEYS)
    missed = reader.take(node, at, "maxUnavailable", unavailable, None)
    return Upgrade(
        domains=reader.take(node, at, "domains", integer(1, INSTANCES_MAX), None),
        max_unavailable=missed if isinstance(missed, int) else None,
        max_unavailable_percent=int(missed) if isinstance(missed, str) else None,
        walking=reader.take(node, at, "mode", choice(Walking), Walking.AUTO),
        order=reader.take(node, at, "order", choice(Order), Order.ASCENDING),
        within_s=reader.take(node, at, "within", duration_s(1, _DAY_S), None),
        soak_s=reader.take(node, at, "soak", duration_s(0, _DAY_S), 0.0),
        on_failure=reader.take(node, at, "onFailure", choice(OnFailure), OnFailure.HALT),
        canary=reader.take(node, at, "canary", integer(0, INSTANCES_MAX), 0),
    )


def check_canary(reader: Reader, upgrade: Upgrade, roles: Sequence[Role]) -> None:
    """Notes a fault when there is nobody whom the canary could be compared with."""
    instances = sum(role.instances for role in roles)
    if upgrade.canary and upgrade.canary >= instances:
        told = f"{upgrade.canary} of {instances} instances: none would be left to compare it with"
        hint = f"at most {instances - 1}" if instances > 1 else "leave it out: one instance has nobody beside it"
        reader.fault("upgrade.canary", told, hint)
