"""What a balancer shall listen on for a service."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from orchestrator.model import Carrier, Endpoint, Frontend, Mode, PoolName, Role, Service, pool_name


@dataclasses.dataclass(frozen=True, slots=True)
class Faced:
    """What clients see of all services: these themselves, their endpoints, and whose each virtual address is."""

    services: tuple[Service, ...]
    frontends: tuple[Frontend, ...]
    vips: Mapping[str, tuple[str, ...]]


def faced_of(services: Sequence[Service], endpoints: Mapping[str, Sequence[Frontend]]) -> Faced:
    """Of these services; `endpoints` are those of each, as `frontends_of` makes them, by its name."""
    vips: dict[str, tuple[str, ...]] = {}
    for one in services:
        if one.vip:
            vips[one.vip] = (*vips.get(one.vip, ()), one.name)
    return Faced(
        services=tuple(services),
        frontends=tuple(itertools.chain.from_iterable(endpoints[one.name] for one in services)),
        vips=MappingProxyType(vips),
    )


def frontends_of(service: Service) -> tuple[Frontend, ...]:
    """Every endpoint of the service's roles, and where clients are sent on from, in the order of its file.

    Without a VIP its pools are there all the same, with their members: a swap makes them nothing but reachable.
    """
    pooled = (one for role in service.spec.roles for end in role.endpoints for one in _listened(service, role, end))
    return *pooled, *(one for role in service.spec.roles for one in _of_instances(service, role))


def doors_of(role: Role, vip: str, index: int) -> dict[str, str]:
    """ADDRESS:PORT by which clients reach one instance by itself, by endpoint; of udp with /udp behind."""
    return {
        end.name: f"{vip}:{end.ports.first + index}" + ("/udp" if end.mode is Mode.UDP else "")
        for end in role.instance_endpoints
        if vip and index < end.ports.number
    }


def _of_instances(service: Service, role: Role) -> Iterator[Frontend]:
    """Where each instance is reached by itself. The kernel leads there: nobody is chosen, and nothing is asked."""
    for end in role.instance_endpoints:
        yield Frontend(
            pool=pool_name(service.name, role.name, end.name),
            vip=service.vip,
            port=end.ports.first,
            range=end.ports,
            each=True,
            mode=end.mode,
            probe=None,
            carrier=Carrier.NFTABLES,
            allow=end.allow,
        )


def _listened(service: Service, role: Role, end: Endpoint) -> Iterator[Frontend]:
    pool = pool_name(service.name, role.name, end.name)
    yield Frontend(
        pool=pool,
        vip=service.vip,
        port=end.port,
        range=end.range,
        mode=end.mode,
        probe=end.probe,
        timeout_s=end.timeout_s,
        connections_max=end.max_connections,
        client_connections_max=end.max_connections_per_client,
        carrier=end.carrier,
        affinity_s=end.affinity_s,
        affinity_cookie=end.kept_by is not None,
        service=service.service,
        certificates=end.tls.certificates if end.tls is not None else (),
        allow=end.allow,
        proxy_protocol=end.proxy_protocol is True,
        member_connections=end.member_connections,
    )
    if end.tls is not None and end.tls.redirect_from is not None and service.vip:
        yield Frontend(
            pool=PoolName(f"{pool}.redirect"),
            vip=service.vip,
            port=end.tls.redirect_from,
            mode=Mode.HTTP,
            probe=None,
            allow=end.allow,
            redirect_to=end.port,
        )
