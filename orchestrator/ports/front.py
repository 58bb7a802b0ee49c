"""The ports that face clients: the pools behind the virtual addresses."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from orchestrator.errors import VmroleError
from orchestrator.model import Carried, Frontend, InstanceName, Member, PoolName, Probed, Seat


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

    def heed(self, name: InstanceName, *, well: bool) -> None:
        """What somebody beside the balancer thinks of the member: while it is not well nothing reaches it, no client
        that keeps its member either; what is open may be cut.

        Being told that it is well takes no draining one back. An absent member is fine.
        """

    def leave(self, name: InstanceName) -> None:
        """Takes the member out of all pools, ending what is still open. An absent member is fine."""

    def seats(self) -> Mapping[InstanceName, Seat]:
        """All members as they stood a moment ago: two milliseconds for each, so that asking often costs little."""

    def glance(self, name: InstanceName) -> Seat | None:
        """One member as it stood a moment ago: what `seats` says of it, at the same cost however many there are."""

    def seat(self, name: InstanceName) -> Seat | None:
        """One member as it stands now; None when it is in no pool and nothing of it is open."""

    def traffic(self, pools: Collection[PoolName]) -> Mapping[PoolName, Carried]:
        """What goes and went through those pools; nothing of one that is not served. It costs by what they hold."""

    def probed(self, pools: Collection[PoolName]) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        """The last results of our own checks of those pools' members, oldest first, `PROBES_KEPT` at most; nothing of
        a pool that is not served, and of a member that has not been asked yet, or that only the balancer itself asks.
        """

    def faults(self) -> Sequence[str]:
        """What is not as it should be with the balancer itself, in sentences that say what helps."""


class Doors(Protocol):
    """Ports of virtual addresses that lead to one instance each: those of endpoints that have `each`.

    `Balancer.shape` sets them up, as all endpoints. A door is no seat: neither a drain nor health has to do with it,
    and what is open there counts nowhere.
    """

    def reach(self, member: Member) -> None:
        """Opens the member's own doors, by its index, in exactly the pools that it says; what is open at others that
        it had is cut.

        Busy while one of the endpoints is not set up yet; one that is refused is left out. Asking again costs next
        to nothing.
        """

    def reached(self) -> Collection[InstanceName]:
        """Who has one that is open."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What became of the virtual addresses that were to be held: by address."""

    put_back: frozenset[str] = frozenset()  # those that somebody had taken off since this process held them
    refused: Mapping[str, VmroleError] = dataclasses.field(default_factory=dict)  # why; all others are held


class Vips(Protocol):
    """The virtual addresses of this host, of all services: one that changes its service stays where it is."""

    def hold(self, vips: Collection[str]) -> Held:
        """Makes them exactly these: what is missing is added and announced, then what is too many is removed.

        One that is there is not touched. An address of somebody else is refused, and holds up none of the others.
        """

    def held(self) -> frozenset[str]:
        """Those that are there, as ours."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What one host faces clients with."""

    balancer: Balancer
    doors: Doors
    vips: Vips
