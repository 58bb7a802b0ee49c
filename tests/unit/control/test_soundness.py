"""Records of the right shape that cannot be what they say: set aside, and nothing is made of a name in them."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.control import deployment, records, upgrade, verify
from orchestrator.control.asides import SetAside
from orchestrator.control.present import Present
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import Permanent
from orchestrator.model import Image, Instance, Power, Revision, Role, Service, Slot, deployments_of
from orchestrator.ports import Document, Write
from orchestrator.rules import addressing
from tests.world.fabric import Fabric
from tests.world.odd_records import HOSTILE, NAMES, again, spec_of
from tests.world.places import GOLDEN_FILES

WEB, SHOP = "web-1.shop", "shop"
OF_WISH = (("name",), ("service",), ("role_name",), ("uid",), ("nic", "mac"), ("nic", "address"), ("nic", "tap"))
BY_HAND = ("goal", "attached")
OF_SERVICE = (("spec", "name"), ("network", "bridge"), ("network", "subnet"), ("network", "gateway"), ("spec", "vip"))


@pytest.fixture
def fabric() -> Fabric:
    """A service that serves."""
    made = Fabric()
    made.deploy()
    made.until(made.quiet)
    return made


def overwrite(fabric: Fabric, kind: str, key: str, place: tuple[str, ...], value: object) -> None:
    """Has a field of a record be that, as somebody would who knows how records are written."""
    document = fabric.store.get(kind, key)
    assert document is not None
    body: dict[str, Any] = json.loads(json.dumps(dict(document.body)))
    within = body
    for step in place[:-1]:
        within = within[step]
    within[place[-1]] = value
    fabric.store.commit([Write(kind, key, body, document.revision)])


@pytest.mark.parametrize(
    ("name", "drive"), [("../../x", "db"), ("x", "../../etc/shadow"), ("x'y", "db"), ("a" * 17, "db"), ("x", "")]
)
def test_a_drive_by_hand_is_one(fabric: Fabric, name: str, drive: str) -> None:
    """What would become a path, or a word of a script, is read by nobody."""
    overwrite(fabric, records.WISH, WEB, BY_HAND, [{"name": name, "drive": drive, "mounted": True}])
    fabric.restart()
    with pytest.raises(Permanent, match=r"goal\.attached"):
        fabric.present.find(Instance, WEB)


@pytest.mark.parametrize("field", ["wanted", "address", "kind"])
def test_a_device_of_the_host_is_named_as_one(fabric: Fabric, field: str) -> None:
    """What would become a path below /sys, or a part of a domain, is read by nobody."""
    passed = {"wanted": "10de:2204#2", "address": "0000:01:00.0", "kind": "10de:2204"}
    overwrite(fabric, records.WISH, WEB, ("goal", "passed"), [passed])
    fabric.restart()
    assert fabric.present.find(Instance, WEB) is not None
    overwrite(fabric, records.WISH, WEB, ("goal", "passed"), [{**passed, field: "../../net/eth0"}])
    fabric.restart()
    with pytest.raises(Permanent, match=r"goal\.passed"):
        fabric.present.find(Instance, WEB)


@pytest.mark.parametrize("place", OF_WISH, ids="-".join)
def test_an_instance_is_what_its_record_is_called(fabric: Fabric, place: tuple[str, ...]) -> None:
    """Its VM goes on, nothing is made anew, and whoever looks is told."""
    for value in HOSTILE:
        overwrite(fabric, records.WISH, WEB, place, value)
        fabric.restart()
        for _ in range(3):
            fabric.round()
        assert [one.key for one in fabric.present.set_aside()] == [WEB]
        assert fabric.world.machines.keys() == {"web-0.shop", WEB}
        assert all(one.power is Power.RUNNING for one in fabric.world.machines.values())
        told = verify.findings(
            fabric.host, fabric.present.all(Service), fabric.present.all(Instance), fabric.present.set_aside()
        )
        assert "RECORD-UNREADABLE" in [one.code for one in told]
        assert fabric.world.networks["shop"] == {"web-0.shop", WEB}


@pytest.mark.parametrize("place", OF_SERVICE, ids="-".join)
def test_a_service_is_what_its_record_is_called(fabric: Fabric, place: tuple[str, ...]) -> None:
    """Its instances go on, and its VIP stays. One without a VIP is a service."""
    for value in HOSTILE if place != ("spec", "vip") else filter(None, HOSTILE):
        overwrite(fabric, records.SERVICE, SHOP, place, value)
        fabric.restart()
        for _ in range(3):
            fabric.round()
        assert [one.key for one in fabric.present.set_aside()] == [SHOP]
        assert all(one.power is Power.RUNNING for one in fabric.world.machines.values())
        assert "203.0.113.10" in fabric.world.vips


OF_TEMPLATE = (
    ("name",),
    ("image_sha256",),
    ("local_storage", 0, "name"),
    ("endpoints", 0, "name"),
    ("endpoints", 0, "allow", 0),
    ("network", "bridge"),
    ("network", "addresses", 0),
    ("network", "gateway"),
    ("network", "dns", 0),
    ("devices", "cpu_model"),
    ("devices", "pci", 0),
    ("shares", 0, "name"),
    ("shares", 0, "source"),
    ("shares", 0, "mount"),
    ("libvirt_xml",),
)


@pytest.mark.parametrize("place", OF_TEMPLATE, ids=str)
def test_a_template_names_an_image_and_disks_and_endpoints(fabric: Fabric, place: tuple[str | int, ...]) -> None:
    """Whoever is built from it is left as he is."""
    (document,) = fabric.store.all(records.TEMPLATE)
    network = {"bridge": "br0.7", "addresses": ["192.0.2.10/24"], "gateway": "192.0.2.1", "dns": ["192.0.2.53"]}
    hostile = (*HOSTILE, "2001:db8::%a\n    bind :1\n/64")
    fits = {
        "bridge": ("", "WEB-1.SHOP"),
        "gateway": ("",),
        "cpu_model": ("", "WEB-1.SHOP"),
        "libvirt_xml": ("",),
        "mount": ("",),
    }.get(str(place[-1]), ())
    for value in (one for one in hostile if one not in fits):
        body: Any = json.loads(json.dumps(dict(document.body)))
        body["endpoints"][0]["allow"] = ["10.0.0.0/8"]
        body["network"] |= json.loads(json.dumps(network))
        body["devices"]["pci"] = ["0000:01:00.0"]
        body["shares"] = [{"name": "data", "source": "/srv/data", "mount": "/data"}]
        within = body
        for step in place[:-1]:
            within = within[step]
        assert isinstance(records.decode_template(dataclasses.replace(document, body=body)), Role)
        within[place[-1]] = value
        assert isinstance(records.decode_template(dataclasses.replace(document, body=body)), SetAside), value


def test_an_image_and_a_revision_are_what_they_are_called(fabric: Fabric) -> None:
    """A digest is part of a path; a revision is what `rollout undo` deploys."""
    templates = {one.key: role for one in fabric.store.all(records.TEMPLATE) if (role := template(one))}
    (image,), revisions = fabric.store.all(records.IMAGE), fabric.store.all(records.REVISION)
    assert isinstance(records.decode(image, templates), Image)
    for value in (*HOSTILE, "ab" * 32):
        assert isinstance(records.decode(changed(image, sha256=value), templates), SetAside)
    for revision in revisions:
        assert isinstance(records.decode(revision, templates), Revision)
        for value in HOSTILE:
            spec = {**revision.body["spec"], "name": value}
            assert isinstance(records.decode(changed(revision, spec=spec), templates), SetAside)
    assert revisions


def template(document: Document) -> Role | None:
    """As it is read, if it can be."""
    role = records.decode_template(document)
    return role if isinstance(role, Role) else None


def changed(document: Document, **fields: object) -> Document:
    """The document with other fields."""
    return dataclasses.replace(document, body={**document.body, **fields})


# What is ours is never set aside -----------------------------------------------------------------------------

ADDRESSES = st.one_of(st.just(""), st.ip_addresses().map(str), st.sampled_from(("203.0.113.10", "2001:DB8::0:10")))
POOLS = st.builds(
    lambda number, length: ipaddress.ip_network((number, length), strict=False),
    st.integers(1 << 24, (224 << 24) - 1),
    st.integers(8, 24),
)


@settings(deadline=None, max_examples=100)
@given(NAMES, NAMES, NAMES, ADDRESSES, ADDRESSES, POOLS, st.integers(0, (1 << 40) - 1))
@example("a" * 40, "b" * 40, "c" * 40, "2001:db8::1", "203.0.113.9", ipaddress.ip_network("10.90.0.0/16"), 7)
@example("0", "0", "0", "", "", ipaddress.ip_network("10.90.0.0/24"), 0)
def test_whatever_the_service_file_says_is_sound(
    name: str, role: str, inner: str, vip: str, staging: str, pool: ipaddress.IPv4Network, installation: int
) -> None:
    """Names, addresses and what is allocated for them, of both deployments, as records say them: no rule of the
    records is narrower than the reader's.
    """
    spec = spec_of(name, role, inner, vip, staging)
    if spec is None:
        return
    prefix = f"{ipaddress.IPv6Address((0xFD << 120) + (installation << 80))}/48"
    templates = {records.digest(one): records.template(one) for one in spec.roles}
    for deployed in deployments_of(spec.name):
        its = dataclasses.replace(spec, name=deployed)
        network = addressing.with_ipv6(addressing.allocate_network(deployed, str(pool), ()), prefix, ())
        service = Service(spec=its, network=network, slot=Slot.STAGING, uid="u")
        instances = deployment.addressed(deployment.unfolded(service, {}, 1.0), service, addressing.TakenNics())
        assert len(instances) == 3
        writes = [records.put(service), *map(records.put_wish, instances), *map(records.put_template, its.roles)]
        for write in writes:
            assert write.body is not None
            read = again(Document(write.kind, write.key, write.body, 1), templates)
            assert not isinstance(read, SetAside), read


def test_the_reader_takes_most_of_these() -> None:
    """Else the test above says nothing."""
    names = ("a", "0", "9" * 40, "a-" * 19 + "aa", "web-1", "nul", "x--y")
    assert all(spec_of(one, other, "in", "203.0.113.10", "") for one in names for other in names if one != other)
    assert spec_of("a", "b", "c", "", "") is not None


@pytest.mark.parametrize("written_by", ["first-records.sql"])
def test_no_record_of_an_earlier_version_is_set_aside(tmp_path: Path, written_by: str) -> None:
    """Their names, ids and addresses were made by other rules."""
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as db:
        db.executescript((GOLDEN_FILES / written_by).read_text())
        db.commit()
    with SqliteStore(tmp_path / "old.db") as store:
        assert upgrade.upgrade(store) == 6
        present = Present(store)
        assert list(present.set_aside()) == []
        assert len(present.all(Service)) == 2
        assert len(present.all(Instance)) == 4
