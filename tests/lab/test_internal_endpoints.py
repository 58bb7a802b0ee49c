"""Which roles of a service reach which, on the real bridge and its table: stand-ins for guests, no VM."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.model import Instance, InternalEndpoint, Mode, Part, Ports, Role, Service, instance_name
from orchestrator.rules import addressing
from tests.contract.suites.network import make_service
from tests.lab.harness.places import HOST
from tests.lab.stand_in import (
    ARRIVES_S,
    BROADCAST,
    StandIn,
    answering_udp,
    echoes_udp,
    ethernet,
    serving,
    udp,
)
from tests.world.instances import instance_of

_IP = 0x0800
GAP_S = 0.3  # A frame over a veth pair and a bridge takes microseconds; the controls show that this is enough.
SQL = InternalEndpoint(name="sql", ports=Ports(3306, 3306), mode=Mode.TCP, callers=("web",))
RPC = InternalEndpoint(name="rpc", ports=Ports(5000, 5010), mode=Mode.TCP, callers=("web",))
NAMES = InternalEndpoint(name="names", ports=Ports(5300, 5301), mode=Mode.UDP, callers=("web",))


def tiers(*ends: InternalEndpoint) -> tuple[Service, list[Instance]]:
    """A service of three roles, web, db and job, the second of two instances; the db has these internal endpoints."""
    shop, _ = make_service("shop", "", 0)
    web = replace(shop.spec.roles[0], endpoints=(), instances=1)
    roles = (web, replace(web, name="db", instances=2, internal_endpoints=ends), replace(web, name="job"))
    shop = replace(shop, spec=replace(shop.spec, roles=roles))
    made: list[Instance] = []
    for role, index in ((roles[0], 0), (roles[1], 0), (roles[1], 1), (roles[2], 0)):
        made.append(_instance(shop, role, index, made))
    return shop, made


def _instance(shop: Service, role: Role, index: int, made: list[Instance]) -> Instance:
    nic = addressing.allocate_nic(shop.network, [one.nic for one in made], instance_name("shop", role.name, index))
    uid = str(uuid.uuid4())
    return instance_of(role, index, service="shop", uid=uid, network=shop.network.name, nic=nic)


@contextlib.contextmanager
def standing_in(shop: Service, made: list[Instance]) -> Iterator[list[StandIn]]:
    """All of them, configured."""
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(StandIn(shop, one).plugged()) for one in made]
        for guest in guests:
            guest.configure()
        yield guests


@pytest.fixture
def laid(network: HostNetwork) -> Iterator[list[StandIn]]:
    """The three tiers: web reaches sql, rpc and names of the db."""
    shop, made = tiers(SQL, RPC, NAMES)
    network.lay(shop, made)
    with standing_in(shop, made) as guests:
        yield guests
    network.lift(shop)


def test_a_role_reaches_what_it_may_and_nothing_else(laid: list[StandIn]) -> None:
    """By TCP and UDP, by ports and who may: the answers come back; inside a role everything is open, and ping is."""
    web, db, other, job = laid
    with contextlib.ExitStack() as stack:
        for port in (3306, 5000, 5010, 5011, 22):
            stack.enter_context(serving(db.namespace, port))
        stack.enter_context(serving(web.namespace, 80))
        for port in (5300, 5301, 5302):
            stack.enter_context(answering_udp(db.namespace, port))
        assert {port: web.reaches(db.address, port) for port in (3306, 5000, 5010)} == dict.fromkeys(
            (3306, 5000, 5010), True
        )
        assert {port: web.reaches(db.address, port) for port in (5011, 22)} == {5011: False, 22: False}
        assert [echoes_udp(web.namespace, db.address, port) for port in (5300, 5301, 5302)] == [True, True, False]
        assert not job.reaches(db.address, 3306), "a role that is not named reaches it"
        assert not echoes_udp(job.namespace, db.address, 5300)
        assert not db.reaches(web.address, 80), "who may be asked may ask, too"
        assert other.reaches(db.address, 22), "instances of one role do not reach each other"
        job.place.run(["ping", "-c", "1", "-W", "2", db.address])


def test_nothing_leads_around_it(laid: list[StandIn]) -> None:
    """Not the host as a router, no broadcast, no datagram from an answering port that nobody has asked."""
    web, db, _, job = laid
    mark = os.urandom(12)
    with serving(db.namespace, 22):
        HOST.run(["ip", "-n", job.namespace, "route", "add", f"{db.address}/32", "via", job.gateway])
        HOST.run(["ip", "-n", db.namespace, "route", "add", f"{job.address}/32", "via", db.gateway])
        assert not job.reaches(db.address, 22), "by way of the host"
    aimed = ethernet(job.mac, db.mac, _IP, udp(job.address, db.address, 4000, 22, mark))
    spread = ethernet(job.mac, BROADCAST, _IP, udp(job.address, "255.255.255.255", 4000, 9999, mark))
    unasked = ethernet(db.mac, web.mac, _IP, udp(db.address, web.address, 5300, 4000, mark))
    may = ethernet(web.mac, db.mac, _IP, udp(web.address, db.address, 4000, 5300, mark))
    for sender, hearer, frame in ((job, db, aimed), (job, db, spread), (db, web, unasked)):
        with hearer.listening() as ear:
            sender.send(frame)
            assert not ear.hears(mark, GAP_S)
    with db.listening() as ear:
        web.send(may)
        assert ear.hears(mark, ARRIVES_S)
    with web.listening() as ear:  # It has asked by now, from any port.
        db.send(unasked)
        assert ear.hears(mark, ARRIVES_S)


def test_rules_follow_the_file_and_nobody_says_anything_means_all(network: HostNetwork) -> None:
    """Open as ever without an internal endpoint; another file holds at once, for instances that run."""
    shop, made = tiers()
    network.lay(shop, made)
    with standing_in(shop, made) as (web, db, _, job), serving(db.namespace, 22), serving(db.namespace, 5005):
        assert job.reaches(db.address, 22)
        for ends, expected in (
            ((SQL,), (False, False)),
            ((RPC,), (True, False)),
            (
                (replace(RPC, ports=Ports(5005, 5005)), replace(RPC, name="more", ports=Ports(5006, 5010))),
                (True, False),
            ),
            ((replace(RPC, callers=()),), (True, True)),
            ((InternalEndpoint(name="all", callers=("job",)),), (False, True)),
            ((), (True, True)),
        ):
            changed, _ = tiers(*ends)
            network.lay(replace(shop, spec=changed.spec), made)
            assert (web.reaches(db.address, 5005), job.reaches(db.address, 5005)) == expected, ends
    network.lift(shop)


def test_who_tears_the_rules_down_is_found_out(network: HostNetwork) -> None:
    """An element that somebody deleted is missed, and put back by the next lay."""
    shop, made = tiers(SQL)
    network.lay(shop, made)

    def missed() -> list[str]:
        return [one.message for one in network.missing(shop, made) if one.part is Part.FIREWALL]

    with standing_in(shop, made) as (web, db, _, job), serving(db.namespace, 22):
        assert missed() == []
        HOST.run(["nft", "flush", "map", "bridge", "vmrole", "callers"])
        assert job.reaches(db.address, 22)
        assert missed() == ["its rules are not as they were laid"]
        network.lay(shop, made)
        assert not job.reaches(db.address, 22)
        assert not web.reaches(db.address, 22)
    network.lift(shop)
