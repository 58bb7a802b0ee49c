"""`verify` finds whatever contradicts the records, each under its stable code."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import pytest

from orchestrator.control import verify
from orchestrator.control.leavings import STOP_S
from orchestrator.drivers.fake import FakeBlobs, World
from orchestrator.model import Checkpoints, InstanceName, Phase, Road
from orchestrator.model.blob import BlobOwner, Of
from orchestrator.ports import Host
from tests.contract.suites.blobs import wish
from tests.world.counted import Looks
from tests.world.fabric import Fabric, web_role
from tests.world.images import MICRO

WEB, STRANGER = InstanceName("web-0.shop"), InstanceName("web-0.ghost")


@pytest.fixture
def fabric() -> Fabric:
    """One serving instance."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    return fabric


def found(fabric: Fabric) -> list[tuple[str, str]]:
    """Codes and subjects."""
    told = verify.findings(fabric.host, fabric.control.services(), fabric.instances())
    return [(one.code, one.subject) for one in told]


def put_by(world: World, owner: BlobOwner) -> None:
    """A blob of that owner."""
    held = wish("state", b"x")
    FakeBlobs(world).part(owner, "guest", held, 0, b"x")


def test_health_is_an_empty_list(fabric: Fabric) -> None:
    """Nothing to say about a service that serves, and that has put blobs by."""
    for owner in (BlobOwner(Of.INSTANCE, WEB), BlobOwner(Of.ROLE, "web.shop")):
        put_by(fabric.world, owner)
    assert found(fabric) == []


@pytest.mark.parametrize(
    ("code", "subject", "break_it"),
    [
        ("DISC-STRAY", STRANGER, lambda world: world.discs.update({STRANGER: 1})),
        ("IDENTITY-STRAY", STRANGER, lambda world: world.identities.update({STRANGER: "kept"})),
        ("BLOB-STRAY", STRANGER, lambda world: put_by(world, BlobOwner(Of.INSTANCE, STRANGER))),
        ("BLOB-STRAY", "role db.shop", lambda world: put_by(world, BlobOwner(Of.ROLE, "db.shop"))),
        ("DISK-STRAY", STRANGER, lambda world: world.overlays.update({STRANGER: {1}})),
        ("STORAGE-STRAY", STRANGER, lambda world: world.storage.update({STRANGER: {"cache": ""}})),
        ("DISK-OLD", WEB, lambda world: world.overlays[WEB].add(7)),
        ("DISK-OLD", WEB, lambda world: world.layers.update({WEB: (7, "")})),
        ("OVERLAY-MISSING", WEB, lambda world: world.overlays.pop(WEB)),
        ("NETWORK-STRAY", "ghost", lambda world: world.networks.update(ghost=frozenset())),
        ("NETWORK-MISSING", "shop", lambda world: world.networks.pop("shop")),
        ("PORT-MISSING", WEB, lambda world: world.unplugged.add(WEB)),
        ("PORT-MISSING", WEB, lambda world: world.delete_port(WEB)),
        ("VIP-MISSING", "shop", lambda world: world.vips.clear()),
        ("VIP-STRAY", "203.0.113.99", lambda world: world.vips.add("203.0.113.99")),
        ("DOMAIN-MISSING", WEB, lambda world: world.machines.pop(WEB)),
        ("DOMAIN-POWER", WEB, lambda world: world.kill(WEB)),
        ("DISK-UNPLUGGED", WEB, lambda world: world.machines[WEB].storage.clear()),
        ("DOMAIN-STRAY", STRANGER, lambda world: world.machines.update({STRANGER: world.machines[WEB]})),
        ("BALANCER", "host", lambda world: world.faults.balancer.append("HAProxy is old")),
        ("MEMBER-STRAY", STRANGER, lambda world: world.seats_taken.update({STRANGER: world.seats_taken[WEB]})),
    ],
)
def test_every_contradiction_is_found(
    fabric: Fabric, code: str, subject: str, break_it: Callable[[object], None]
) -> None:
    """One broken thing, one finding."""
    break_it(fabric.world)
    if code == "DOMAIN-STRAY":
        assert code in [one for one, _ in found(fabric)] or (code, subject) in found(fabric)
    else:
        assert (code, subject) in found(fabric)


def test_a_checkpoint_is_known_by_its_parts() -> None:
    """What is not there is told: the next reimage begins with less. One without memory misses none. A VM of another
    generation is told as well, though all that are restored from one checkpoint have one UUID.
    """
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, local_storage=(), reimage=Road.WARM))
    fabric.until(fabric.quiet)
    assert found(fabric) == []
    memory = fabric.world.memories.pop(WEB)
    assert found(fabric) == [("CHECKPOINT-MISSING", WEB)]
    fabric.world.memories[WEB] = memory
    layer = fabric.world.layers.pop(WEB)
    assert found(fabric) == [("CHECKPOINT-MISSING", WEB)]
    fabric.world.layers[WEB] = layer
    machine = fabric.world.machines[WEB]
    machine.instance = dataclasses.replace(machine.instance, generation=2, layered=2)
    assert machine.uuid == fabric.instance().vm_uuid
    assert ("DOMAIN-GENERATION", WEB) in found(fabric)
    booted = Fabric()
    booted.deploy(web_role(instances=1, reimage=Road.PREPARED))
    booted.until(booted.quiet)
    assert found(booted) == []
    booted.world.layers.pop(WEB)
    assert found(booted) == [("CHECKPOINT-MISSING", WEB)]


def test_nobody_misses_a_memory_that_was_in_ram() -> None:
    """After a boot of the host; before it somebody has taken it away. Its layer is missed all the same."""
    fabric = Fabric()
    kept = Checkpoints(memory=True)
    fabric.deploy(web_role(instances=1, local_storage=(), reimage=Road.WARM, checkpoint=kept))
    fabric.until(fabric.quiet)
    memory = fabric.world.memories.pop(WEB)
    assert found(fabric) == [("CHECKPOINT-MISSING", WEB)]
    fabric.world.memories[WEB] = memory
    fabric.world.restart_host()
    fabric.restart()
    fabric.until(lambda: not fabric.instance().serving)
    fabric.until(fabric.quiet)
    assert WEB not in fabric.world.memories
    assert found(fabric) == []
    fabric.world.layers.pop(WEB)
    assert found(fabric) == [("CHECKPOINT-MISSING", WEB)]


def test_the_layer_below_an_overlay_is_no_old_disk(fabric: Fabric) -> None:
    """Of a VM that was saved by a daemon that died before it had that written: who removes it tears a disk."""
    fabric.world.layers[WEB] = (fabric.instances()[0].generation, "")
    assert found(fabric) == []


def test_a_vm_that_may_be_anothers_is_told_and_stays(fabric: Fabric) -> None:
    """A VM of no record that does not say whose it is, as former versions made them, is never removed; one that a
    record knows is nothing to speak of.
    """
    fabric.world.machines[WEB].claimed = False
    assert found(fabric) == []
    fabric.world.machines[STRANGER] = dataclasses.replace(fabric.world.machines[WEB])
    fabric.world.machines[STRANGER].instance = dataclasses.replace(fabric.world.machines[WEB].instance)
    fabric.world.overlays[STRANGER] = {1}
    findings = verify.findings(fabric.host, fabric.control.services(), fabric.instances())
    assert [(one.code, one.subject) for one in findings] == [("DISK-STRAY", STRANGER), ("DOMAIN-UNCLAIMED", STRANGER)]
    assert verify.repair(fabric.host, findings, lambda _: False) == []
    assert STRANGER in fabric.world.machines
    assert fabric.world.overlays[STRANGER] == {1}


def test_strays_are_removed_and_local_storage_is_not(fabric: Fabric) -> None:
    """What a lost record left goes on request, and only that; what a user may want is told and stays."""
    world = fabric.world
    world.discs[STRANGER] = 1
    world.overlays[STRANGER] = {1}
    world.storage[STRANGER] = {"cache": "precious"}
    world.networks["ghost"] = frozenset()
    strays = verify.findings(fabric.host, fabric.control.services(), fabric.instances())
    assert verify.repair(fabric.host, strays, lambda _name: True) == []
    removed = verify.repair(fabric.host, strays, lambda _name: False)
    assert {one.code for one in removed} == {"DISC-STRAY", "DISK-STRAY", "NETWORK-STRAY"}
    assert found(fabric) == [("STORAGE-STRAY", STRANGER)]
    assert world.storage[STRANGER] == {"cache": "precious"}
    assert fabric.quiet()


class _Passing:
    """The world's clock, on which waiting lets the guests live."""

    def __init__(self, world: World) -> None:
        self._world = world

    def now_s(self) -> float:
        """See ports.Clock."""
        return self._world.now_s()

    def monotonic_s(self) -> float:
        """See ports.Clock."""
        return self._world.monotonic_s()

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock."""
        assert changed
        self._world.pass_time(within_s)


def lost(fabric: Fabric) -> tuple[Host, list[verify.Finding]]:
    """An instance whose record was lost, and what of it is a finding."""
    fabric.world.storage[WEB]["cache"] = "writing"
    fabric.world.identities[WEB] = "made in generation 1"
    machine = dataclasses.replace(fabric.host.machine, clock=_Passing(fabric.world))
    host = dataclasses.replace(fabric.host, machine=machine)
    return host, verify.findings(host, fabric.control.services(), [])


def test_a_vm_without_a_record_is_shut_down_and_keeps_what_was_promised(fabric: Fabric) -> None:
    """A repair asks first, as a deletion does; local storage is whole, and kept SSH host keys stay."""
    host, strays = lost(fabric)
    removed = {one.code: one.message for one in verify.repair(host, strays, lambda _name: False)}
    assert removed["DOMAIN-STRAY"] == "a VM of no instance; it was shut down"
    world = fabric.world
    assert (WEB in world.machines, WEB in world.seats_taken, WEB in world.overlays) == (False, False, False)
    assert world.storage[WEB] == {"cache": "written"}
    assert world.identities[WEB] == "made in generation 1"
    told = verify.findings(host, fabric.control.services(), [])
    assert [one.code for one in told] == ["IDENTITY-STRAY", "STORAGE-STRAY"]


@pytest.mark.parametrize("trouble", ["deaf", "stuck"])
def test_a_vm_without_a_record_that_does_not_shut_down_is_ended_and_told(fabric: Fabric, trouble: str) -> None:
    """After as long as a role may give a guest: no repair waits for ever, and none says that all went well."""
    host, strays = lost(fabric)
    if trouble == "deaf":
        fabric.world.faults.deaf_to_requests.add(WEB)
    else:
        fabric.world.machines[WEB].stopped = True
    began_s = fabric.world.time_s
    removed = {one.code: one.message for one in verify.repair(host, strays, lambda _name: False)}
    assert "it did not shut down within 600 s, so it was ended" in removed["DOMAIN-STRAY"]
    assert STOP_S <= fabric.world.time_s - began_s < STOP_S + 5
    assert WEB not in fabric.world.machines


def test_a_member_outside_its_phase_is_found(fabric: Fabric) -> None:
    """Only ready, serving and draining instances may be in a pool."""
    instances = [dataclasses.replace(one, phase=Phase.STARTING) for one in fabric.instances()]
    told = verify.findings(fabric.host, fabric.control.services(), instances)
    assert [one.code for one in told] == ["MEMBER-PHASE"]


def test_what_is_missing_comes_back_by_itself(fabric: Fabric) -> None:
    """A VM that was undefined behind our back is started again; the pool is joined again."""
    fabric.world.machines.pop(WEB)
    fabric.world.seats_taken.pop(WEB)
    fabric.until(lambda: found(fabric) == [] and fabric.quiet(), rounds=400)


def test_images_without_a_record_or_a_file_are_told_and_stay(fabric: Fabric) -> None:
    """A lost store must not cost an image: nothing that is found about images is a stray that `repair` removes."""
    told = verify.image_findings([f"{'b' * 64}.qcow2"], [MICRO])
    assert [(one.code, one.subject, one.stray) for one in told] == [
        ("IMAGE-STRAY", f"{'b' * 64}.qcow2", False),
        ("IMAGE-MISSING", "micro", False),
    ]
    assert verify.repair(fabric.host, told, lambda _name: False) == []


def test_each_instance_is_looked_at_as_often_however_many_services_there_are() -> None:
    """Ten times the services cost ten times as much, and not a hundred."""

    def looks_of_each(services: int) -> float:
        fabric, looks = Fabric(), Looks()
        for number in range(services):
            fabric.deploy(web_role(instances=1), name=f"shop-{number}", vip="")
        fabric.round()
        verify.findings(fabric.host, fabric.control.services(), looks.at(fabric.instances()))
        return looks.count / services

    assert looks_of_each(20) == looks_of_each(2)
