"""Whether the host can give a service's instances the machines that their roles ask for. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator.errors import Problem
from orchestrator.model import Devices, Role, ServiceSpec

Unfit = Callable[[Role], Problem | None]
"""Why the host has not what `devices` of a role ask for, its key below these; None where it has."""


def no_fault(role: Role) -> Problem | None:  # noqa: ARG001 - it has the shape of Unfit
    """The host has everything."""
    return None


def fault(spec: ServiceSpec, before: ServiceSpec | None, unfit: Unfit) -> Problem | None:
    """The first thing that the host has not; what a role has `before` is not asked of it again."""
    had = {role.name: (role.devices, role.size) for role in before.roles} if before is not None else {}
    for role in spec.roles:
        if role.devices == Devices() or (role.devices, role.size) == had.get(role.name):
            continue
        if (found := unfit(role)) is not None:
            return dataclasses.replace(found, key=f"roles.{role.name}.devices.{found.key}")
    return None
