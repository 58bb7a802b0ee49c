"""Versions of a service's file, and how far it is on its way to the newest, as the API shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from orchestrator.api.comparison import Compared
from orchestrator.control import revisions
from orchestrator.model import Instance, InstanceName, Revision, Rollout, Service, Upgrade
from orchestrator.servicefile.difference import Change, difference


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """A version of a service's file. `applied_at_s` 0 and `applied_by` null: not known; `restores`: 0, or which."""

    number: int
    applied_at_s: float
    applied_by: int | None  # uid
    restores: int
    changes: tuple[Change, ...]  # from the one before it, if that is kept
    instances: tuple[InstanceName, ...]  # whose VMs are built as it says, and as no later one does


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """How far a service is on its way to its newest file. `rollout`: the one that runs, else the last, if any."""

    service: str
    file_revision: int
    rollout: Rollout | None
    upgrade: Upgrade
    compared: tuple[Compared, ...]  # the canary and the others, while there is one; () else
    instances: dict[InstanceName, int]  # of which revision each one's VM is; 0: of none that is kept


def view_revisions(known: Sequence[Revision], instances: Sequence[Instance]) -> list[RevisionView]:
    """The revisions of a service, the oldest first, as shown."""
    numbers = {one.name: revisions.of_instance(one, known) for one in instances}
    before: list[Revision | None] = [None, *known[:-1]]
    return [
        RevisionView(
            number=one.number,
            applied_at_s=one.applied_at_s,
            applied_by=one.applied_by,
            restores=one.restores,
            changes=difference(past.spec if past else None, one.spec) if past or one.number == 1 else (),
            instances=tuple(name for name, number in numbers.items() if number == one.number),
        )
        for past, one in zip(before, known, strict=True)
    ]


def view_rollout(
    service: Service,
    known: Sequence[Revision],
    rollouts: Sequence[Rollout],
    instances: Sequence[Instance],
    compared: tuple[Compared, ...],
) -> RolloutView:
    """How far a service's rollout is, as shown."""
    return RolloutView(
        service=service.address,
        file_revision=known[-1].number,
        rollout=rollouts[-1] if rollouts else None,
        upgrade=service.spec.upgrade,
        compared=compared,
        instances={one.name: revisions.of_instance(one, known) for one in instances},
    )
