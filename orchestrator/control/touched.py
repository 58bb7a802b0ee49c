"""What commits have written, for who watches: how it stands now, and what it was last where it is gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from orchestrator.model import Instance, InstanceName, Operation

KEPT = 4096  # of those that went last: a watch looks after every commit, and is late by a few at most


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """What commits up to `revision` have written, as it stands now; None is gone, or cannot be read."""

    revision: int
    instances: Mapping[InstanceName, Instance | None]
    departed: Mapping[InstanceName, Instance]  # what those of them that are gone were last, as far as that is kept
    operations: Mapping[str, Operation | None]


class Departed:
    """The last states of the `kept` instances that went last."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._last: dict[InstanceName, Instance] = {}  # the one that went first stands first

    def add(self, instance: Instance) -> None:
        """One has gone, and was so."""
        self._last.pop(instance.name, None)
        self._last[instance.name] = instance
        while len(self._last) > self._kept:
            del self._last[next(iter(self._last))]

    def of(self, names: Iterable[InstanceName]) -> Mapping[InstanceName, Instance]:
        """Those of the names that went, as they were last."""
        return {name: last for name in names if (last := self._last.get(name)) is not None}
