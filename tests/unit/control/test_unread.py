"""What cannot be read keeps what was given to it: the network beneath its VM, addresses, its size, its template."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.control.deployment import Capacity
from orchestrator.control.leavings import STOP_S
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.errors import Conflict, InvalidInput, Permanent
from orchestrator.model import InstanceName, Power, Service, Size
from orchestrator.ports import Write
from tests.world.fabric import Fabric, web_role

LOST = InstanceName("web-1.shop")


def body(fabric: Fabric, kind: str, key: str) -> dict[str, Any]:
    """A document as it lies, free to be changed."""
    document = fabric.store.get(kind, key)
    assert document is not None
    whole: dict[str, Any] = json.loads(json.dumps(dict(document.body)))
    return whole


def overwrite(fabric: Fabric, kind: str, key: str, content: dict[str, Any]) -> None:
    """As another version would."""
    document = fabric.store.get(kind, key)
    fabric.store.commit([Write(kind, key, content, document.revision if document else 0)])


def serving(store: SqliteStore | None = None) -> Fabric:
    """Two instances that serve."""
    fabric = Fabric(store=store)
    fabric.deploy()
    fabric.until(fabric.quiet)
    return fabric


@pytest.fixture
def fabric() -> Fabric:
    """See `serving`."""
    return serving()


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Damaged]:
    """Records on a disk that loses bytes."""
    whole = Damaged(tmp_path / "records.sqlite")
    yield whole
    whole.fabric.store.close()


class Damaged:
    """A fabric on SQLite, of which a row may be changed behind its back; its daemon begins anew with that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fabric = serving(SqliteStore(path))

    def damage(self, kind: str, key: str, change: str) -> None:
        """Has the body of a record be `change(body)` in SQL, and its digest as it was."""
        self.fabric.store.close()
        raw = sqlite3.connect(self._path)
        changed = raw.execute(f"UPDATE documents SET body = {change} WHERE kind = ? AND key = ?", (kind, key))
        assert changed.rowcount == 1
        raw.commit()
        raw.close()
        store = SqliteStore(self._path)
        world, before = self.fabric.world, self.fabric
        self.fabric = Fabric.__new__(Fabric)
        self.fabric.__dict__.update(before.__dict__)
        self.fabric.store, self.fabric.present = store, Present(store)
        self.fabric.control = Control(
            store,
            find_image=lambda _: None,
            capacity=Capacity(
                pool="10.90.0.0/16",
                memory_mib=64_000,
                held=lambda: frozenset(world.vips),
                laid=before.host.machine.network.laid,
            ),
            clock=world,
            wake=lambda _kind, _key: None,
            seats=self.fabric.host.front.balancer.seats,
            present=self.fabric.present,
        )
        self.fabric.restart()


def phase_is_odd(fabric: Fabric, name: str = LOST) -> dict[str, Any]:
    """Has the instance's state be one that nobody can read; returns what it was."""
    state = body(fabric, records.STATE, name)
    overwrite(fabric, records.STATE, name, {**state, "phase": "levitating"})
    return state


def alone(fabric: Fabric) -> bool:
    """Whether nobody is left who can be read."""
    return not fabric.instances()


def rounds(fabric: Fabric, count: int = 40) -> None:
    """Lets everybody have turns."""
    for _ in range(count):
        fabric.round()


def test_no_network_is_lifted_beneath_a_vm_that_cannot_be_read(fabric: Fabric) -> None:
    """A deletion takes away what it can, says what stays and why, and ends when the record can be read again."""
    state = phase_is_odd(fabric)
    fabric.control.remove("shop")
    fabric.until(lambda: alone(fabric))
    fabric.deploy(web_role(instances=1), name="other", vip="203.0.113.11")  # Its turns hold what VIPs there are.
    rounds(fabric)
    fabric.control.remove("other")
    fabric.until(lambda: alone(fabric) and [one.name for one in fabric.present.all(Service)] == ["shop"])
    assert LOST in fabric.world.machines
    assert "203.0.113.10" in fabric.world.vips
    assert "shop" in fabric.world.networks
    service = fabric.present.load(Service, "shop")
    assert "web-1.shop cannot be read (phase: " in fabric.control.held_up(service)
    lines = [one.message for one in fabric.control.events("shop") if "not deleted yet" in one.message]
    assert len(lines) == 1, "told once"
    assert "network and VIP stay" in lines[0]
    overwrite(fabric, records.STATE, LOST, state)
    assert not fabric.control.held_up(service)
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()


def test_what_cannot_be_read_is_forgotten_by_who_says_so(fabric: Fabric) -> None:
    """Its VM is shut down as any other, its disks stay until somebody has them removed, and the service goes."""
    phase_is_odd(fabric)
    fabric.world.storage[LOST]["cache"] = "writing"
    fabric.control.remove("shop")
    fabric.until(lambda: alone(fabric))
    fabric.control.remove("shop", forgets=True)
    assert not fabric.present.set_aside()
    fabric.daemon.attend(("service", "shop"))
    assert fabric.world.machines[LOST].power is Power.RUNNING, "it is asked first"
    assert "shop" in fabric.world.networks
    fabric.until(lambda: not fabric.present.all(Service))
    assert LOST not in fabric.world.machines
    assert fabric.world.storage[LOST] == {"cache": "written"}
    assert "shop" not in fabric.world.networks
    assert not fabric.world.vips


def test_a_vm_without_a_record_that_hears_nothing_ends_in_time(fabric: Fabric) -> None:
    """As long as a role may give a guest, and no longer."""
    phase_is_odd(fabric)
    fabric.world.faults.deaf_to_requests.add(LOST)
    fabric.control.remove("shop", forgets=True)
    fabric.until(lambda: alone(fabric))
    began_s = fabric.world.time_s
    fabric.until(lambda: not fabric.present.all(Service), rounds=2000)
    assert STOP_S <= fabric.world.time_s - began_s < STOP_S + 60


def test_who_is_damaged_holds_his_service_too(damaged: Damaged) -> None:
    """Bytes that are others: of the wish, which is all that tells where an instance is."""
    damaged.damage(records.WISH, LOST, "substr(body, 1, length(body) - 1) || ' '")
    fabric = damaged.fabric
    fabric.control.remove("shop")
    fabric.until(lambda: alone(fabric))
    rounds(fabric)
    assert "shop" in fabric.world.networks
    fabric.control.remove("shop", forgets=True)
    fabric.until(lambda: not fabric.present.all(Service))


def test_a_vip_is_not_given_away_whose_service_cannot_be_read(fabric: Fabric) -> None:
    """Whoever asks for it is told whose it may be."""
    overwrite(fabric, records.SERVICE, "shop", {**body(fabric, records.SERVICE, "shop"), "network": "levitating"})
    with pytest.raises(Conflict, match=r"vip: 203\.0\.113\.10 may be .* 'shop' cannot be read"):
        fabric.deploy(name="other")
    fabric.deploy(name="other", vip="203.0.113.11")
    fabric.deploy(web_role(instances=1), name="other", vip="203.0.113.11")
    assert fabric.present.load(Service, "other").vip == "203.0.113.11"


@pytest.mark.parametrize(
    "change",
    ["replace(body, '203.0.113.10', '203.0.113.90')", "substr(body, 1, 20)", "replace(body, '\"vip\"', '\"vjp\"')"],
)
def test_a_vip_of_a_damaged_service_is_known_by_what_there_is(damaged: Damaged, change: str) -> None:
    """By what lies in its place, or by the host that holds it."""
    damaged.damage(records.SERVICE, "shop", change)
    with pytest.raises(Conflict, match=r"203\.0\.113\.10 may be"):
        damaged.fabric.deploy(name="other")
    damaged.fabric.deploy(name="other", vip="203.0.113.11")


def test_what_was_promised_to_an_unreadable_service_is_not_promised_again(fabric: Fabric) -> None:
    """Memory, disk and vCPUs: by its newest file, by its instances where there are more, and told in the refusal."""
    large = web_role(name="big", instances=2, size=Size(vcpus=2, memory_mib=20_000), endpoints=())
    fabric.deploy(large, name="large", vip="")
    service = body(fabric, records.SERVICE, "large")
    overwrite(fabric, records.SERVICE, "large", {**service, "network": "levitating"})
    more = dataclasses.replace(large, instances=1, size=Size(vcpus=1, memory_mib=30_000))
    with pytest.raises(InvalidInput, match="40128 of them to what cannot be read: large"):
        fabric.deploy(more, name="more", vip="")
    for document in fabric.store.all(records.REVISION):
        if document.key.startswith("large/"):
            fabric.store.commit([Write(records.REVISION, document.key, None, document.revision)])
    with pytest.raises(InvalidInput, match="40128 of them to what cannot be read: large"):
        fabric.deploy(more, name="more", vip="")
    overwrite(fabric, records.SERVICE, "large", {**service, "removing": True})
    fabric.until(lambda: [one.name for one in fabric.present.all(Service)] == ["shop"])
    fabric.deploy(more, name="more", vip="")


def test_no_address_is_given_out_that_a_damaged_instance_has(damaged: Damaged) -> None:
    """Two VMs with one address reach nobody: what lies in the place of its record is enough to leave it alone."""
    taken = damaged.fabric.instance(LOST).nic
    damaged.damage(records.WISH, LOST, "body || ' '")
    fabric = damaged.fabric
    fabric.control.scale("shop", {"web": 3})
    nic = fabric.instance("web-2.shop").nic
    assert (nic.address, nic.tap) != (taken.address, taken.tap)
    assert nic.address not in (taken.address, fabric.instance("web-0.shop").nic.address)


def test_no_template_is_forgotten_while_somebody_may_name_it(damaged: Damaged) -> None:
    """A damaged record names nothing that can be trusted: what it stands on is there when it is restored."""
    fabric = damaged.fabric
    other = web_role(user_data="#cloud-config\n# of one alone\n")
    fabric.store.commit([records.put_template(other)])
    assert records.digest(other) in [write.key for write in fabric.present.unused_templates()]
    damaged.damage(records.STATE, LOST, "body || ' '")
    assert damaged.fabric.present.unused_templates() == []
    damaged.fabric.deploy(web_role(user_data="#cloud-config\n# new\n"), name="other", vip="203.0.113.11")
    assert damaged.fabric.store.get(records.TEMPLATE, records.digest(other)) is not None


def test_who_lags_behind_a_template_that_is_lost_keeps_its_guard(fabric: Fabric) -> None:
    """An instance whose template cannot be read runs on in its network, as what was given out to it says."""
    other = web_role(user_data="#cloud-config\n# of one alone\n")
    fabric.store.commit([records.put_template(other)])
    for kind in (records.WISH, records.STATE):
        whole = body(fabric, kind, LOST)
        (whole["goal"] if kind == records.WISH else whole)["role"] = records.digest(other)
        overwrite(fabric, kind, LOST, whole)
    template = fabric.store.get(records.TEMPLATE, records.digest(other))
    assert template is not None
    overwrite(fabric, records.TEMPLATE, template.key, {"name": 7})
    fabric.restart()
    with pytest.raises(Permanent):
        fabric.instance(LOST)
    rounds(fabric)
    assert LOST in fabric.world.networks["shop"]


WHOLE = "body || ' '"  # as JSON it is what it was; its digest is another's


def other_address(fabric: Fabric) -> str:
    """In SQL, the record of LOST with a byte of its address changed: it is another instance's that is to come."""
    own, next_ = fabric.instance(LOST).nic.address, f"{fabric.instance(LOST).nic.address[:-1]}2"
    assert own != next_
    return f"replace(body, '\"{own}\"', '\"{next_}\"')"


@pytest.mark.parametrize("change", [WHOLE, "substr(body, 1, 30)", "'{}'", "address"])
def test_a_vm_whose_wish_is_damaged_keeps_its_guard_and_its_card(damaged: Damaged, change: str) -> None:
    """What the host has laid for it says what it has, whatever its record is by now, and for the next daemon, too."""
    nic = damaged.fabric.instance(LOST).nic
    damaged.damage(records.WISH, LOST, other_address(damaged.fabric) if change == "address" else change)
    fabric = damaged.fabric
    with pytest.raises(Permanent):
        fabric.instance(LOST)
    for _ in range(2):
        rounds(fabric)
        assert fabric.world.cards["shop"][LOST] == nic
        assert LOST in fabric.world.networks["shop"]
        assert fabric.world.machines[LOST].power is Power.RUNNING
        fabric.restart()
    fabric.control.scale("shop", {"web": 4})
    rounds(fabric)
    given = [fabric.instance(f"web-{index}.shop").nic for index in (0, 2, 3)]
    assert nic.address not in [one.address for one in given]
    assert nic.tap not in [one.tap for one in given]
    assert fabric.world.cards["shop"][LOST] == nic


def test_an_instance_that_has_lost_its_wish_altogether_keeps_its_guard(fabric: Fabric) -> None:
    """Nothing is left but how far it was, or a wish of another shape."""
    nic = fabric.instance(LOST).nic
    whole = body(fabric, records.WISH, LOST)
    document = fabric.store.get(records.WISH, LOST)
    assert document is not None
    fabric.store.commit([Write(records.WISH, LOST, None, document.revision)])
    rounds(fabric)
    assert fabric.world.cards["shop"][LOST] == nic
    overwrite(fabric, records.WISH, LOST, {**whole, "nic": "levitating", "role_name": "gone"})
    rounds(fabric)
    assert fabric.world.cards["shop"][LOST] == nic
    overwrite(fabric, records.WISH, LOST, whole)
    assert fabric.instance(LOST).nic == nic


@pytest.mark.parametrize("left", ["revisions", "service", "nothing"])
def test_nobody_gets_more_while_it_is_not_known_what_others_may_have(damaged: Damaged, left: str) -> None:
    """A size in a damaged template may be any; an older file of the service says what it once was: no answer."""
    fabric = damaged.fabric
    for memory_mib in (256, 50_000):
        large = web_role(name="big", instances=1, size=Size(vcpus=2, memory_mib=memory_mib), endpoints=())
        fabric.deploy(large, name="large", vip="")
    fabric.until(fabric.quiet)
    gone = {"revisions": "none", "service": "the newest", "nothing": "all"}[left]
    for kind in (records.REVISION, records.WISH, records.STATE):
        for one in fabric.store.all(kind):
            if "large" in one.key and (gone == "all" or (gone == "the newest" and one.key.endswith("/2"))):
                fabric.store.commit([Write(kind, one.key, None, one.revision)])
    if left != "service":
        damaged.damage(records.SERVICE, "large", WHOLE)
    damaged.damage(records.TEMPLATE, records.digest(large), "replace(body, '50000', '10000')")
    fabric = damaged.fabric
    more = dataclasses.replace(large, size=Size(vcpus=1, memory_mib=20_000))
    with pytest.raises(Conflict, match="how much memory is left nobody knows: what large may hold cannot be read"):
        fabric.deploy(more, name="more", vip="")
    fabric.control.scale("shop", {"web": 1})
    fabric.store.close()
