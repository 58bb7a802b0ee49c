"""Two balancers as one: each endpoint has its own carrier, and a member is wherever its endpoints are.

The kernel's balancer asks its members by a prober of its own; HAProxy's are asked here, beside its
own checks, which are the fastest way out for a dead one: both have to be content.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, Self

from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.prober import Health, Prober, Target, Targets, results_in
from orchestrator.drivers.balancer.watch import watching
from orchestrator.errors import EndpointRefused, NoSpace, Transient, Whose, WorldError
from orchestrator.model import Carried, Carrier, Frontend, InstanceName, Member, PoolName, Probed, Seat, Standing
from orchestrator.ports import Clock

# Of those who are well, all together: a check costs some 0.3 ms, and HAProxy's own are the fast ones.
CHECKS_EACH_SECOND: Final = 25
_STOP_S: Final = 5.0


Join = Callable[[Member], None]


class Asking(Protocol):
    """What is needed of a prober; see prober.Prober."""

    def watch(self, targets: Mapping[Hashable, Target], *, spared_s: float = 0.0) -> None:
        """Exactly these are asked from now on."""

    def has_checked(self, key: Hashable) -> bool:
        """Whether it has been asked, and has answered."""

    def healths(self) -> Mapping[Hashable, Health]:
        """What is thought of them."""

    def results(self) -> Mapping[Hashable, Sequence[Probed]]:
        """The last answers of each."""


@contextlib.contextmanager
def _balancers() -> Iterator[None]:
    """What fails in a balancer is the balancer's to mend, but for a full disk and what says otherwise itself."""
    try:
        yield
    except NoSpace:
        raise
    except WorldError as error:
        if error.whose is WorldError.whose:
            error.whose = Whose.BALANCER
        raise


class PerEndpoint:
    """See ports.Balancer. `with` asks HAProxy's members; at its end, what was thought of them last stays."""

    def __init__(
        self,
        haproxy: HaproxyBalancer,
        nftables: NftablesBalancer,
        clock: Clock,
        prober: Asking | None = None,
        *,
        commands: CommandChecks | None = None,
    ) -> None:
        """`prober`: who asks instead of one of its own; `commands`: see Prober."""
        self._haproxy = haproxy
        self._nftables = nftables
        self._clock = clock
        self._stack = contextlib.ExitStack()
        self._prober = prober
        self._commands = commands
        self._targets = Targets()
        self._asked = Shape()  # whose members the prober asks
        self._parted: tuple[tuple[Frontend, ...], Mapping[Carrier, Sequence[Frontend]]] | None = None  # as of last
        self._shaped: tuple[Frontend, ...] | None = None  # what both have by now: of it nothing moves any more

    def __enter__(self) -> Self:
        if self._prober is None:  # A change is acted on with the next look: whom a check wakes has nothing to do.
            self._prober = self._stack.enter_context(Prober(lambda _: None, self._clock, self._commands))
        self._stack.enter_context(
            watching("health", lambda: None, self.heed_health, clock=self._clock, join_s=_STOP_S)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def heed_health(self) -> None:
        """Tells HAProxy what is thought of its members; of one that has not been asked yet what was thought stays.

        Raises what it meets with one of them, when all have been told.
        """
        if self._prober is None:
            return
        shape = self._haproxy.desired.shape
        if shape is not self._asked:
            targets = self._targets.of(shape)
            self._prober.watch(targets, spared_s=len(targets) / CHECKS_EACH_SECOND)
            self._asked = shape
        healths = self._prober.healths()
        sick = {_name_in(key) for key, health in healths.items() if not health.up}
        unasked = {_name_in(key) for key, health in healths.items() if not health.checked}
        turned = [(name, False) for name in sick - shape.unwell] + [
            (name, True) for name in map(InstanceName, shape.unwell) if name not in sick | unasked
        ]
        met: WorldError | None = None
        for name, well in turned:
            try:
                self._haproxy.heed(name, well=well)
            except WorldError as error:
                met = error
        if met is not None:
            raise met

    @_balancers()
    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer. HAProxy first: it lets go of the ports that the kernel shall have. Where only who is
        reached at which address changes, all is prepared, and then both do it, one right after the other.
        Who is in a pool that goes from one to the other goes with it.
        """
        refused: list[EndpointRefused] = []
        every = tuple(frontends)
        parts = self._parts(every)
        moving = [*self._moving(parts)] if every != self._shaped else []

        @contextlib.contextmanager
        def noting() -> Iterator[None]:
            try:
                yield
            except EndpointRefused as error:
                refused.append(error)

        with noting(), self._haproxy.shaping(parts[Carrier.HAPROXY]) as last:
            try:
                with noting():
                    self._nftables.shape(parts[Carrier.NFTABLES], last)
            finally:
                last()
        for join, member in moving:
            with contextlib.suppress(Transient):  # Its turn joins it, and says what is in its way.
                join(member)
        if refused:
            pools = frozenset(pool for error in refused for pool in error.pools)
            raise EndpointRefused("; ".join(map(str, refused)), pools=pools, hint=refused[0].hint)
        self._shaped = every

    def _moving(self, parts: Mapping[Carrier, Sequence[Frontend]]) -> Iterator[tuple[Join, Member]]:
        """Who takes new connections in pools that get another balancer, and where that lets him in."""
        for carrier, there, here in (
            (Carrier.NFTABLES, self._haproxy, self._nftables),
            (Carrier.HAPROXY, self._nftables, self._haproxy),
        ):
            shape = there.desired.shape
            moved = shape.pools.intersection(one.pool for one in parts[carrier])
            for name, member in shape.members.items() if moved else ():
                pools = tuple(pool for pool in member.pools if pool[0] in moved)
                if pools and not shape.closed(name):
                    before = here.desired.shape.members.get(name)
                    yield here.join, replace(member, pools=(*(before.pools if before else ()), *pools))

    def _parts(self, frontends: tuple[Frontend, ...]) -> Mapping[Carrier, Sequence[Frontend]]:
        """By who carries them. Every service's turn asks for all anew, and next to never is one another."""
        parted = self._parted
        if parted is None or parted[0] != frontends:
            parts = {carrier: tuple(one for one in frontends if one.carrier is carrier) for carrier in Carrier}
            parted = self._parted = frontends, parts
        return parted[1]

    @_balancers()
    def join(self, member: Member) -> None:
        """See ports.Balancer. What one refuses does not keep the other from serving."""
        kernels = tuple(pool for pool in member.pools if self._nftables.carries(pool[0]))
        others = tuple(pool for pool in member.pools if pool not in kernels)
        trouble: Transient | None = None
        if kernels:
            try:
                self._nftables.join(replace(member, pools=kernels))
            except Transient as error:
                trouble = error
        if others:
            self._haproxy.join(replace(member, pools=others))
        if trouble is not None:
            raise trouble

    @_balancers()
    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._nftables.drain(name)
        self._haproxy.drain(name)

    @_balancers()
    def heed(self, name: InstanceName, *, well: bool) -> None:
        """See ports.Balancer."""
        self._nftables.heed(name, well=well)
        self._haproxy.heed(name, well=well)

    @_balancers()
    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._nftables.leave(name)
        self._haproxy.leave(name)

    @_balancers()
    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        haproxys = {name: self._known(name, seat) for name, seat in self._haproxy.seats().items()}
        kernels = self._nftables.seats()
        if not kernels:
            return haproxys
        return {
            name: seat
            for name in {*haproxys, *kernels}
            if (seat := _together(haproxys.get(name), kernels.get(name))) is not None
        }

    @_balancers()
    def glance(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        seat = self._haproxy.glance(name)
        return _together(seat and self._known(name, seat), self._nftables.glance(name))

    @_balancers()
    def seat(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        seat = self._haproxy.seat(name)
        return _together(seat and self._known(name, seat), self._nftables.seat(name))

    def _known(self, name: InstanceName, seat: Seat) -> Seat:
        """HAProxy has seen that a port is open: where a command decides, that has to have been asked as well."""
        commanded = self._haproxy.desired.shape.commanded
        if not commanded or self._prober is None:
            return seat
        asked = all(self._prober.has_checked((pool, name)) for pool in seat.pools if pool in commanded)
        return replace(seat, checked=seat.checked and asked)

    @_balancers()
    def traffic(self, pools: Collection[PoolName]) -> Mapping[PoolName, Carried]:
        """See ports.Balancer."""
        return {**self._haproxy.traffic(pools), **self._nftables.traffic(pools)}

    def probed(self, pools: Collection[PoolName]) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        """See ports.Balancer."""
        haproxys = {} if self._prober is None else results_in(set(pools), self._prober.results())
        return {**haproxys, **self._nftables.probed(pools)}

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        return [*self._haproxy.faults(), *self._nftables.faults()]


def _name_in(key: Hashable) -> InstanceName:
    """Whom a target of ours asks."""
    assert isinstance(key, tuple)
    return InstanceName(key[1])


def _together(one: Seat | None, other: Seat | None) -> Seat | None:
    """A member over all its pools: draining when draining in any, up only when up in all.

    Where it is in none, and has but what is open from before, says nothing of where it is in some.
    """
    if one is None or other is None:
        return one or other
    seated = [seat for seat in (one, other) if seat.pools] or [one, other]
    standings = {seat.standing for seat in seated}
    worst = next(standing for standing in (Standing.DRAINING, Standing.DOWN, Standing.UP) if standing in standings)
    return Seat(
        address=one.address or other.address,
        standing=worst,
        connections=one.connections + other.connections,
        pools=(*one.pools, *other.pools),
        checked=all(seat.checked for seat in seated),
    )
