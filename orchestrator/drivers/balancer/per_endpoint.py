"""Two balancers as one: each endpoint has its own carrier, and a member is wherever its endpoints are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.errors import EndpointRefused, Transient
from orchestrator.model import Carrier, Frontend, InstanceName, Member, Seat, Standing


class PerEndpoint:
    """See ports.Balancer."""

    def __init__(self, haproxy: HaproxyBalancer, nftables: NftablesBalancer) -> None:
        self._haproxy = haproxy
        self._nftables = nftables

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer. HAProxy first: it lets go of the ports that the kernel shall have."""
        refused: list[EndpointRefused] = []
        for carrier, balancer in ((Carrier.HAPROXY, self._haproxy), (Carrier.NFTABLES, self._nftables)):
            try:
                balancer.shape([frontend for frontend in frontends if frontend.carrier is carrier])
            except EndpointRefused as error:
                refused.append(error)
        if refused:
            pools = frozenset(pool for error in refused for pool in error.pools)
            raise EndpointRefused("; ".join(map(str, refused)), pools=pools, hint=refused[0].hint)

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

    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._nftables.drain(name)
        self._haproxy.drain(name)

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        self._nftables.leave(name)
        self._haproxy.leave(name)

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        haproxys, kernels = self._haproxy.seats(), self._nftables.seats()
        if not kernels:
            return haproxys
        return {
            name: seat
            for name in {*haproxys, *kernels}
            if (seat := _together(haproxys.get(name), kernels.get(name))) is not None
        }

    def seat(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer."""
        return _together(self._haproxy.seat(name), self._nftables.seat(name))

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        return [*self._haproxy.faults(), *self._nftables.faults()]


def _together(one: Seat | None, other: Seat | None) -> Seat | None:
    """A member over all its pools: draining when draining in any, up only when up in all."""
    if one is None or other is None:
        return one or other
    standings = {one.standing, other.standing}
    worst = next(standing for standing in (Standing.DRAINING, Standing.DOWN, Standing.UP) if standing in standings)
    return Seat(
        address=one.address or other.address,
        standing=worst,
        connections=one.connections + other.connections,
        pools=(*one.pools, *other.pools),
        checked=one.checked and other.checked,
    )
