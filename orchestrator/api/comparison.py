"""What endpoints carry, and how a canary is beside the others: what the balancer says of a service, as shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from orchestrator.control.requests import Control
from orchestrator.errors import Transient
from orchestrator.model import (
    Carried,
    Endpoint,
    Instance,
    InstanceEndpoint,
    InstanceName,
    PoolName,
    Probed,
    Role,
    Rollout,
    Seat,
    Service,
    Standing,
    Traffic,
    instance_name,
    pool_name,
    total,
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """What one endpoint carries, and each member of its pool. `whole` null: the balancer does not carry it now.

    `probed`: the last results of our own checks of each member, oldest first, as far as there are any.
    One each of whose ports leads to one instance has no pool: its `doors` say which is whose.
    """

    role: str
    name: str
    port: int  # of several the first
    whole: Traffic | None
    members: dict[InstanceName, Traffic]
    probed: dict[InstanceName, tuple[Probed, ...]]
    doors: dict[InstanceName, int]  # ports of the VIP


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """How a part of a rollout's instances is; `up`: at the balancer, None where it does not say or there are none.

    `begun` and `errors` are as of Traffic, over all endpoints; None where the balancer does not count them.
    """

    name: str
    instances: int
    serving: int
    up: int | None
    unwell: int  # whose probes fail while they serve
    failed: int
    strikes: int  # healing attempts since they served last
    begun: int | None
    errors: int | None


Asked = Callable[[Sequence[PoolName]], Mapping[PoolName, Carried]]  # see ports.Balancer.traffic
Results = Callable[[Sequence[PoolName]], Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]]  # its `probed`


def view_endpoints(service: Service, asked: Asked, probed: Results) -> list[EndpointView]:
    """All endpoints of a service, by role, as shown."""
    ends = {
        pool_name(service.name, role.name, end.name): (role.name, end)
        for role in service.spec.roles
        for end in role.endpoints
    }
    carried, results = asked(list(ends)), probed(list(ends))
    pools = [_endpoint(role, end, carried.get(pool), results.get(pool, {})) for pool, (role, end) in ends.items()]
    return pools + [
        _of_instances(service.name, role, end) for role in service.spec.roles for end in role.instance_endpoints
    ]


def _of_instances(service: str, role: Role, end: InstanceEndpoint) -> EndpointView:
    names = (instance_name(service, role.name, index) for index in range(role.instances))
    doors = dict(zip(names, end.ports, strict=False))
    return EndpointView(
        role=role.name, name=end.name, port=end.ports.first, whole=None, members={}, probed={}, doors=doors
    )


def _endpoint(
    role: str, end: Endpoint, carried: Carried | None, probed: Mapping[InstanceName, Sequence[Probed]]
) -> EndpointView:
    members = dict(sorted(carried.members.items())) if carried else {}
    whole = carried.whole if carried else None
    results = {name: tuple(of_it) for name, of_it in sorted(probed.items())}
    return EndpointView(
        role=role, name=end.name, port=end.port, whole=whole, members=members, probed=results, doors={}
    )


def view_compared(
    rollout: Rollout, instances: Sequence[Instance], seats: Mapping[InstanceName, Seat] | None, asked: Asked
) -> tuple[Compared, ...]:
    """The canary beside the others of its roles, as shown; () without one."""
    canaries = rollout.walk.canaries
    roles = {one.role_name for one in instances if one.name in canaries}
    alike = [one for one in instances if one.role_name in roles]
    if not alike:
        return ()
    pools = {pool_name(one.service, one.role_name, end.name) for one in alike for end in one.goal.role.endpoints}
    carried = asked(sorted(pools)).values()
    traffic = {one.name: [pool.members[one.name] for pool in carried if one.name in pool.members] for one in alike}
    return (
        _compared("the canary", [one for one in alike if one.name in canaries], seats, traffic),
        _compared("the others", [one for one in alike if one.name not in canaries], seats, traffic),
    )


def _compared(
    name: str,
    part: Sequence[Instance],
    seats: Mapping[InstanceName, Seat] | None,
    traffic: Mapping[InstanceName, Sequence[Traffic]],
) -> Compared:
    pooled = [one for one in part if one.goal.role.endpoints]
    up = sum(one.name in seats and seats[one.name].standing is Standing.UP for one in pooled) if seats else None
    carried = total([of_pool for one in part for of_pool in traffic[one.name]])
    return Compared(
        name=name,
        instances=len(part),
        serving=sum(one.serving for one in part),
        up=up if pooled else None,
        unwell=sum(one.serving and one.unwell_since_s > 0 for one in part),
        failed=sum(one.has_failed for one in part),
        strikes=sum(one.strikes for one in part),
        begun=carried.begun,
        errors=carried.errors,
    )


def traffic_of(control: Control) -> Asked:
    """What pools carry; nothing while the balancer does not answer: that must not hide the rest."""

    def asked(pools: Sequence[PoolName]) -> Mapping[PoolName, Carried]:
        try:
            return control.traffic(pools)
        except Transient:
            return {}

    return asked


def probed_of(control: Control) -> Results:
    """What checks of members have met; nothing while the balancer does not answer."""

    def probed(pools: Sequence[PoolName]) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        try:
            return control.probed(pools)
        except Transient:
            return {}

    return probed


def seats_of(control: Control) -> Mapping[InstanceName, Seat] | None:
    """Members of pools as the balancer sees them; None when it does not answer: that must not hide the rest."""
    try:
        return control.seats()
    except Transient:
        return None
