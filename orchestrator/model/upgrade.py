"""How a service's instances are made anew, one after the other."""

from __future__ import annotations

import dataclasses
import enum


class Walking(enum.StrEnum):
    """Whether a rollout goes from domain to domain by itself."""

    AUTO = "auto"
    MANUAL = "manual"  # each domain waits for `rollout next`


class Order(enum.StrEnum):
    """Which instance of a role goes first."""

    ASCENDING = "ascending"  # by index
    DESCENDING = "descending"


class OnFailure(enum.StrEnum):
    """What becomes of a rollout whose instance fails."""

    HALT = "halt"
    UNDO = "undo"  # those that were changed go back to the revision that it came from


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """How a service's instances are made anew, one after the other."""

    domains: int | None = None  # spread over so many by index, one begins when the last is done; None: one
    max_unavailable: int | None = None  # of a role at a time, whatever took them out; None: as per cent, or 1
    max_unavailable_percent: int | None = None  # of a role's instances, rounded down, 1 at least
    walking: Walking = Walking.AUTO
    order: Order = Order.ASCENDING
    within_s: float | None = None  # how long an instance may take until it serves; None: as long as its phases may
    soak_s: float = 0.0  # how long a new instance must serve before the next domain begins
    on_failure: OnFailure = OnFailure.HALT
    canary: int = 0  # so many instances first, then a rollout pauses by itself

    def domain(self, index: int) -> int | None:
        """In which domain an instance is; None: there are none."""
        return None if self.domains is None else index % self.domains

    def may_miss(self, instances: int) -> int:
        """How many instances of a role that has so many may serve nobody at a time."""
        if self.max_unavailable_percent is not None:
            return max(1, instances * self.max_unavailable_percent // 100)
        return 1 if self.max_unavailable is None else self.max_unavailable
