"""Whether the host can give a service's instances the machines that their roles ask for. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from orchestrator.errors import Problem
from orchestrator.model import Devices, Role, ServiceSpec

Unfit = Callable[[Role], Problem | None]
"""Why the host has not what a role asks for, its key below the role's; None where it has."""


def no_fault(role: Role) -> Problem | None:  # noqa: ARG001 - it has the shape of Unfit
    """The host has everything."""
    return None


def fault(spec: ServiceSpec, before: ServiceSpec | None, unfit: Unfit) -> Problem | None:
    """The first thing that the host has not; what a role has `before` is not asked of it again."""
    had = {role.name: _asked(role) for role in before.roles} if before is not None else {}
    for role in spec.roles:
        if _asked(role) in (_asked(dataclasses.replace(role, **_NOTHING)), had.get(role.name)):
            continue
        if (found := unfit(role)) is not None:
            return dataclasses.replace(found, key=f"roles.{role.name}.{found.key}")
    return None


_NOTHING: Final[dict[str, Any]] = {"devices": Devices(), "libvirt_xml": "", "shares": ()}  # of what a host may lack


def _asked(role: Role) -> tuple[object, ...]:
    return (role.size, *(getattr(role, name) for name in _NOTHING))
