"""Whose endpoints of tcp are that name no balancer: of files that are read, and of records of a former version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import records
from orchestrator.model import Carrier, Operation, Rollout, Service
from tests.world.fabric import Fabric

FILE = """service: shop
vip: 203.0.113.10
roles:
  web:
    image: micro
    instances: 2
    endpoints: {web: {port: 80, protocol: http}, sql: {port: 81}, dns: {port: 53, protocol: udp}}
"""


def carriers(fabric: Fabric) -> dict[str, Carrier]:
    """Who carries each endpoint, as a balancer is told."""
    return {one.pool.rpartition(".")[2]: one.carrier for one in fabric.present.frontends()}


@pytest.fixture
def old() -> Fabric:
    """A service that serves, as a former version has recorded it."""
    fabric = Fabric()
    fabric.control.apply(FILE)
    fabric.until(fabric.quiet)
    service = fabric.present.load(Service, "shop")
    (role,) = service.spec.roles
    ends = tuple(replace(end, balancer=None) for end in role.endpoints)
    spec = replace(service.spec, roles=(replace(role, endpoints=ends),))
    fabric.store.commit([records.put_template(spec.roles[0]), records.put(replace(service, spec=spec))])
    fabric.until(fabric.quiet)
    return fabric


def test_tcp_is_the_kernel_s() -> None:
    """Beside http, which is HAProxy's, and udp."""
    fabric = Fabric()
    fabric.control.apply(FILE)
    assert carriers(fabric) == {"web": Carrier.HAPROXY, "sql": Carrier.NFTABLES, "dns": Carrier.NFTABLES}


def test_an_old_record_is_moved_by_its_file_alone_and_rolls_nothing(old: Fabric) -> None:
    """An upgrade leaves it with HAProxy. Its file says whom it moves, once; no instance is touched."""
    assert carriers(old)["sql"] is Carrier.HAPROXY
    before = old.instances()
    told = old.control.apply(FILE, dry_run=True).changes
    assert [(one.key, one.before, one.after) for one in told] == [
        ("roles.web.endpoints.sql.balancer", "haproxy", "nftables")
    ]
    applied = old.control.apply(FILE)
    old.until(old.quiet)
    assert applied.changes == told
    assert carriers(old)["sql"] is Carrier.NFTABLES
    assert [(one.vm_uuid, one.at) for one in old.instances()] == [(one.vm_uuid, one.at) for one in before]
    assert not old.present.all(Rollout)
    assert not old.present.all(Operation)
    assert old.control.apply(FILE).changes == ()


def test_who_names_haproxy_stays_there(old: Fabric) -> None:
    """And there is nothing to do."""
    assert old.control.apply(FILE.replace("port: 81", "port: 81, balancer: haproxy")).changes == ()
    assert carriers(old)["sql"] is Carrier.HAPROXY
