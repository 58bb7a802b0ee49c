"""Leases: an instance that one client has for a while, and nobody after him as he left it."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from orchestrator.model.naming import InstanceName

HOUR_S: Final = 3600.0
LONGEST_S: Final = 7 * 24 * HOUR_S  # that a file may allow
SHORTEST_S: Final = 1.0
WAITING_MAX: Final = 256  # of a service, in its queue
NOBODY: Final = InstanceName("")
_ID: Final = re.compile(r"lease-[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Leasing:
    """What a role lets its instances be leased for."""

    longest_s: float = 2 * HOUR_S


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one client has asked for: he waits for an instance, has one kept for him while it drains, or has it."""

    id: str
    service: str  # the deployment, by its own name
    service_uid: str
    role: str
    number: int  # his place among those who have ever asked: the lower goes first
    for_s: float  # from when he has the instance
    attended: bool = True  # it ends when nothing is heard of its client; else by its time, once it is given
    asked_at_s: float  # seconds since the epoch, as the next two
    given_at_s: float = 0.0  # 0: not yet
    until_s: float = 0.0
    by: int | None = None  # uid; None: not known
    instance: InstanceName = NOBODY  # "": he waits
    revision: int = 0  # of the record

    @property
    def waits(self) -> bool:
        """Whether no instance is kept for him yet."""
        return not self.instance

    @property
    def given(self) -> bool:
        """Whether he has been told which instance is his."""
        return self.given_at_s > 0


def is_lease_id(text: str) -> bool:
    """Whether this may be the id of a lease."""
    return _ID.fullmatch(text) is not None
