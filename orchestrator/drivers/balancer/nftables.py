"""Pools in the kernel: nftables deals connections out, conntrack remembers them, a prober says who is well.

Nothing runs for it but the kernel: a daemon that dies leaves all of it working, health excepted. The next daemon lays
it again from what was kept; what affinity remembers and what is open stays.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self, cast

from orchestrator.drivers.balancer import conntrack, nft_words, places
from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.desired import Desired, Shape
from orchestrator.drivers.balancer.kernel_pools import KernelPools
from orchestrator.drivers.balancer.last_count import LastCount
from orchestrator.drivers.balancer.nft_pools import Place
from orchestrator.drivers.balancer.prober import Prober, Targets, results_in
from orchestrator.drivers.balancer.watch import watching
from orchestrator.drivers.tools.ruleset_watch import ruleset_watch
from orchestrator.errors import Busy, EndpointRefused, Unreachable, WorldError
from orchestrator.model import (
    TAP_PREFIX,
    Carried,
    Frontend,
    InstanceName,
    Member,
    PoolName,
    Probed,
    Seat,
    Standing,
    place_of,
)
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
TURN_S: Final = 2.0  # All is laid anew in some 20 ms; who waits longer is asked to come again.
AUDIT_S: Final = 60.0  # Changes by somebody else are told at once; what was not told is found then.
CUTS_MOST: Final = 5  # A packet that was on its way when the table changed may begin one more connection.
STOP_S: Final = 5.0
_NET: Final = Path("/sys/class/net")
_FILTERED: Final = [Path(f"/proc/sys/net/bridge/bridge-nf-call-{one}tables") for one in ("ip", "ip6")]
COUNT_SHARE: Final = 10  # Counting open connections takes a tenth of a core at most, however many there are.


@dataclass(frozen=True, slots=True)
class _Open:
    """Open connections as they were counted."""

    by_member: Mapping[str, int] = field(default_factory=dict)  # by its address
    by_pool: Mapping[tuple[PoolName, str], int] = field(default_factory=dict)  # by an endpoint's pool and that


class NftablesBalancer:
    """See ports.Balancer and ports.Doors. Thread-safe; needs CAP_NET_ADMIN.

    `with` watches members and table; its end leaves both.
    """

    def __init__(
        self,
        place: Path,
        wake: Callable[[InstanceName, str], None],
        clock: Clock,
        *,
        desired: Callable[[Path], Desired] = Desired,
        apply: Callable[[str], object] | None = None,
        commands: CommandChecks | None = None,
    ) -> None:
        """`place` is a directory of its own under the run directory; `apply` runs one transaction; see Prober."""
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.desired = desired(place / "pools.json")
        self._wake = wake
        self._clock = clock
        self.table = KernelPools(apply)
        self._connections = conntrack.Ear()
        self._lock = threading.RLock()
        self._prober = Prober(self._heard, clock, commands)
        self._targets = Targets()
        self._refused: dict[PoolName, str] = {}
        self._suspect = threading.Event()  # whether the table, or who is well, may have changed
        self._audit_at = 0.0
        self._counted: LastCount[_Open] = LastCount(clock, COUNT_SHARE)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._suspect.set()
        self._stack.enter_context(self.table)
        self._stack.enter_context(self._connections)
        try:
            self.revive()
        except WorldError as error:  # Guests can be looked after without it, and the watch goes on trying.
            log.warning("%s", error)
        self._stack.enter_context(self._prober)
        self._stack.enter_context(ruleset_watch(nft_words.TABLE, lambda _: self._suspect.set(), whole=True))
        self._stack.enter_context(
            watching("nftables", self.revive, self._let_members_reach_themselves, clock=self._clock, join_s=STOP_S)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=TURN_S):
            raise Busy("the pools are being changed")
        try:
            yield
        finally:
            self._lock.release()

    # The port --------------------------------------------------------------------------------------------------
    # What shall be is noted after a member has come, and before it goes.

    def shape(self, frontends: Sequence[Frontend], just_before: Callable[[], None] = lambda: None) -> None:
        """See ports.Balancer. `just_before` is called when nothing but the change of the table is left to do, if it
        is to change; once or twice.
        """
        wanted = tuple(sorted(frontends, key=lambda frontend: frontend.pool))
        with self._turn():
            ours = {place for one in self.desired.shape.frontends for place in places.places(one)}
            self._refused = places.refusals(wanted, ours)
            served = tuple(one for one in wanted if one.pool not in self._refused)
            if served != self.desired.shape.frontends or (served and not self.table.is_known()):
                self._shape_to(served, just_before)
            if self._refused:
                told = "; ".join(self._refused.values())
                raise EndpointRefused(told, pools=frozenset(self._refused), hint="the other endpoints are served")

    def _shape_to(self, served: tuple[Frontend, ...], just_before: Callable[[], None]) -> None:
        counted = self._counted.ask(self._count, fresh=True) if self.desired.shape.members else _Open()
        shape = self.desired.shape.with_frontends(served)
        for name, member in self.desired.shape.members.items():
            # What is open goes on until it leaves.
            if name not in shape.members and counted.by_member.get(member.address):
                shape = shape.with_member(member)
        self._lay(shape, just_before)
        self.desired.keep(shape)
        if not served and not shape.members:
            self.desired.forget()

    def carries(self, pool: PoolName) -> bool:
        """Whether the pool is one of this balancer's, served or refused."""
        return pool in self._refused or pool in self.desired.shape.pools

    def join(self, member: Member) -> None:
        """See ports.Balancer. Busy while an endpoint is not set up yet, and in all others by then."""
        with self._turn():
            known = self.desired.shape.pools
            missing = [pool for pool, _ in member.pools if pool not in known]
            served = replace(member, pools=tuple((pool, port) for pool, port in member.pools if pool in known))
            if served.pools:
                before = self.desired.shape.members.get(member.name)
                shape = self.desired.shape.with_member(served)
                self._lay(shape)
                self.desired.keep(shape)
                if before is not None and before.address != member.address:
                    self._cut(before)
            for pool in missing:
                if pool in self._refused:  # The host's fault, and not the member's.
                    raise Unreachable(f"nobody listens on the endpoint {pool}: {self._refused[pool]}")
            if missing:
                raise Busy(f"the endpoint {missing[0]} is not set up yet")

    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        with self._turn():
            if name not in self.desired.shape.members:
                return
            if name not in self.desired.shape.draining:
                self.desired.keep(self.desired.shape.with_draining(name))
            self._lay(self.desired.shape)
            self._counted.forget()

    def heed(self, name: InstanceName, *, well: bool) -> None:
        """See ports.Balancer. Beside what its own prober thinks."""
        with self._turn():
            after = self.desired.shape.with_health(name, well=well)
            if after != self.desired.shape:
                self._lay(after)
                self.desired.keep(after)

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer. Noted as draining first: who dies in between finds a member that is still to be cut."""
        with self._turn():
            member = self.desired.shape.members.get(name)
            if member is None:
                return
            if name not in self.desired.shape.draining:
                self.desired.keep(self.desired.shape.with_draining(name))
            shape = self.desired.shape.without(name)
            self._lay(shape)
            self._cut(member)
            self.desired.keep(shape)
            self._counted.forget()

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        shape = self.desired.shape
        if not shape.members:
            return {}
        counted = self._counted.ask(self._count)
        return {InstanceName(name): self._seat(shape, member, counted) for name, member in shape.members.items()}

    def glance(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        return self.seat(name)  # Which counts connections once in a while for everybody.

    def seat(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        shape = self.desired.shape
        member = shape.members.get(name)
        return None if member is None else self._seat(shape, member, self._counted.ask(self._count))

    def traffic(self, pools: Collection[PoolName]) -> Mapping[PoolName, Carried]:
        """See ports.Balancer. Conntrack knows what is open, the table what there was."""
        shape, asked = self.desired.shape, set(pools)
        ends = [one for one in shape.frontends if one.pool in asked]
        members = [one for one in shape.members.values() if not asked.isdisjoint(pool for pool, _ in one.pools)]
        counts, counted = self.table.counts(ends, members), self._counted.ask(self._count)
        return {
            end.pool: counts.carried(
                end,
                {
                    InstanceName(one.name): (one.addresses, counted.by_pool.get((end.pool, one.address), 0))
                    for one in members
                    if one.behind(end) and any(pool == end.pool for pool, _ in one.pools)
                },
            )
            for end in ends
        }

    def probed(self, pools: Collection[PoolName]) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        """See ports.Balancer."""
        return results_in(set(pools), self._prober.results())

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        with self._turn():
            if not self.desired.shape.frontends or self.table.is_known():
                return ()
            self._suspect.set()
            return ["the nft table of the pools is not as it was laid; it is laid again at once"]

    def reach(self, member: Member) -> None:
        """See ports.Doors."""
        shape = self.desired.shape
        index = place_of(member.name)[1]
        served = replace(member, pools=tuple((pool, port) for pool, port in member.pools if shape.door(pool, index)))
        if shape.reached.get(member.name, replace(member, pools=())) != served:
            with self._turn():
                self._reach(served)
        missing = [pool for pool, _ in member.pools if not self.carries(pool)]
        if missing:
            raise Busy(f"the endpoint {missing[0]} is not set up yet")

    def _reach(self, member: Member) -> None:
        before = self.desired.shape.reached.get(member.name)
        shape = self.desired.shape.with_reached(member)
        self._lay(shape)
        if before is not None and before != member:
            self._cut(before, each=True)
        self.desired.keep(shape)

    def reached(self) -> Collection[InstanceName]:
        """See ports.Doors."""
        return cast("Collection[InstanceName]", self.desired.shape.reached.keys())

    # Members ---------------------------------------------------------------------------------------------------

    def _seat(self, shape: Shape, member: Member, counted: _Open) -> Seat:
        pools = tuple(pool for pool, _ in member.pools if pool in shape.pools and shape.address(member, pool))
        healths = [self._prober.health((pool, member.name)) for pool in pools]
        if member.name in shape.draining or not pools:
            standing = Standing.DRAINING
        else:
            up = member.name not in shape.unwell and all(health.up for health in healths)
            standing = Standing.UP if up else Standing.DOWN
        return Seat(
            address=member.address if pools else "",
            standing=standing,
            connections=counted.by_member.get(member.address, 0),
            pools=pools,
            checked=all(health.checked for health in healths),
        )

    def _count(self) -> _Open:
        by_member: Counter[str] = Counter()
        by_pool: Counter[tuple[PoolName, str]] = Counter()
        home = self.desired.shape.of_ipv6
        for flow in conntrack.flows(self._connections):
            at, member = self._endpoint_of(flow), home.get(flow.member, flow.member)
            if flow.open and not (at and at.each):
                by_member[member] += 1
                if at is not None:
                    by_pool[at.pool, member] += 1
        return _Open(by_member, by_pool)

    def _endpoint_of(self, flow: conntrack.Flow) -> Frontend | None:
        return self.desired.shape.by_way.get((flow.member, flow.port, flow.protocol == socket.IPPROTO_UDP))

    def _cut(self, member: Member, *, each: bool = False) -> None:
        """What is open through pools; `each`: through ports that are the member's own."""

        def of_it(flow: conntrack.Flow) -> bool:
            at = self._endpoint_of(flow)
            return flow.member in (member.address, member.address6) and each is (at is not None and at.each)

        for _ in range(CUTS_MOST):
            if conntrack.cut(of_it, self._connections) == 0:
                return
        raise Busy(f"connections to {member.address} go on though they were cut")

    # The table -------------------------------------------------------------------------------------------------

    def _lay(self, shape: Shape, just_before: Callable[[], None] = lambda: None) -> None:
        """Makes the kernel and the prober do what the shape says."""
        self._prober.watch(self._targets.of(shape))
        if not shape.frontends:
            self.table.remove()
            return
        takers = [
            Place(pool=pool, address=address, port=port)
            for name, member in shape.members.items()
            if not shape.closed(name)
            for pool, port in member.pools
            if (address := shape.address(member, pool)) and self._prober.health((pool, name)).up
        ]
        own = [
            Place(pool=pool, address=address, port=port, index=place_of(member.name)[1])
            for member in shape.reached.values()
            for pool, port in member.pools
            if shape.door(pool, place_of(member.name)[1]) and (address := shape.address(member, pool))
        ]
        everybody = [
            Place(pool=pool, address=address, port=port)
            for member in shape.members.values()
            for pool, port in member.pools
            for address in member.addresses
        ]
        self.table.lay(shape.frontends, [*takers, *own], [*everybody, *own], just_before)

    def revive(self) -> None:
        """Lays the table again where it is not as it was laid, and anew where members' health has changed."""
        if not self.desired.shape.frontends:
            return
        due = self._clock.monotonic_s() > self._audit_at
        if not due and not self._suspect.is_set():
            return
        with self._turn():
            self._suspect.clear()
            self._audit_at = self._clock.monotonic_s() + AUDIT_S
            try:
                self._lay(self.desired.shape)
            except WorldError:
                self._suspect.set()
                raise

    def _let_members_reach_themselves(self) -> None:
        """Where frames on bridges are filtered as packets (br_netfilter), what a member asks of its own VIP is sent
        back by the bridge itself, which does that only for a port that is told to.
        """
        if not (self.desired.shape.members or self.desired.shape.reached) or not _bridges_are_filtered():
            return
        for port in _NET.glob(f"{TAP_PREFIX}*/brport/hairpin_mode"):
            with contextlib.suppress(OSError):  # Its VM has ended meanwhile.
                if port.read_text().strip() == "0":
                    port.write_text("1")

    def _heard(self, key: Hashable) -> None:
        """A member has fallen sick or has become well."""
        self._suspect.set()
        with contextlib.suppress(WorldError):  # The watch tries again in a moment.
            self.revive()
        _, name = key if isinstance(key, tuple) else ("", str(key))
        if (seat := self.desired.shape.members.get(name)) is not None:
            up = all(self._prober.health((pool, name)).up for pool, _ in seat.pools)
            self._wake(InstanceName(name), f"the balancer's check: {Standing.UP if up else Standing.DOWN}")


def _bridges_are_filtered() -> bool:
    try:
        return any(one.read_text().strip() == "1" for one in _FILTERED)
    except OSError:
        return False
