"""The ports that face clients: the pools behind the virtual addresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from orchestrator.model import (
    Frontend,
    InstanceName,
    Member,
    Seat,
)


class Balancer(Protocol):
    """The pools behind the virtual addresses. A member is in all pools of its role or in none."""

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """Makes the endpoints exactly these; members stay; reloads only when something differs.

        EndpointRefused when it cannot listen on some; it does on the others by then.
        """

    def join(self, member: Member) -> None:
        """Puts the member into its pools, ready for traffic; a draining one is taken back."""

    def drain(self, name: InstanceName) -> None:
        """No new connections for the member; open ones go on. An absent member is fine."""

    def leave(self, name: InstanceName) -> None:
        """Takes the member out of all pools, ending what is still open. An absent member is fine."""

    def seats(self) -> Mapping[InstanceName, Seat]:
        """All members as they stood a moment ago: a millisecond for each, so that asking often costs little."""

    def seat(self, name: InstanceName) -> Seat | None:
        """One member as it stands now; None when it is in no pool and nothing of it is open."""

    def faults(self) -> Sequence[str]:
        """What is not as it should be with the balancer itself, in sentences that say what helps."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What one host faces clients with."""

    balancer: Balancer
