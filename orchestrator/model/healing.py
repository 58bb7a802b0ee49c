"""How far healing may go by itself, and how much of it at a time."""

from __future__ import annotations

import dataclasses
import enum


class Ladder(enum.StrEnum):
    """How far up healing goes by itself."""

    OFF = "off"  # nothing is done to what is ill
    RESTART = "restart"  # again and again, with ever longer pauses
    REIMAGE = "reimage"  # a restart, a reimage, then it is left to a human


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Healing:
    """What healing may do to the instances of a role."""

    ladder: Ladder = Ladder.REIMAGE
    max_unavailable: int | None = None  # out by our own doing at a time; None: as per cent, or nothing is said
    max_unavailable_percent: int | None = None  # of the role's instances, rounded down, 1 at least

    def bound(self, instances: int) -> int | None:
        """How many of a role that has so many may be out by our own doing at a time, whoever does it: rollouts and
        verbs keep to it as well. None: nothing is said, they go by their own number, and healing takes out one.
        """
        if self.max_unavailable_percent is not None:
            return max(1, instances * self.max_unavailable_percent // 100)
        return self.max_unavailable

    def may_miss(self, instances: int) -> int:
        """How many may be out by our own doing at a time, for healing to take out one of them."""
        bound = self.bound(instances)
        return 1 if bound is None else bound


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHealing:
    """What healing may do to the instances of a service."""

    reimages_per_hour: int | None = None  # None: as the host's configuration says
