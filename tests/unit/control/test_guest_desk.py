"""What a guest is told of itself: its names, its upgrade domain, and of which revision of the file its VM is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.control import records
from orchestrator.control.guest_desk import GuestDesk
from orchestrator.control.present import Present
from orchestrator.drivers.fake.blobs import FakeBlobs
from orchestrator.model import InstanceName, Road, ServiceSpec, Slot, Upgrade, Verb
from tests.unit.control.fleet import OTHER, WEB
from tests.world.fabric import Fabric, web_role

BY_TWO = Upgrade(domains=2, max_unavailable=5)


def spec(name: str = "a", upgrade: Upgrade = BY_TWO, **changes: object) -> ServiceSpec:
    """The service whose VMs are of that kind."""
    role = web_role(user_data=f"#!/bin/sh\n# {name}\n", instances=3, **changes)
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,), upgrade=upgrade)


@pytest.fixture
def fabric() -> Fabric:
    """Three instances that serve, as of the first file."""
    fabric = Fabric()
    fabric.control.apply_spec(spec())
    fabric.until(fabric.quiet)
    return fabric


def who(fabric: Fabric, name: InstanceName = WEB) -> Mapping[str, object]:
    """What it is told."""
    desk = GuestDesk(Present(fabric.store), fabric.world, FakeBlobs(fabric.world), fabric.store)
    found = desk.who(name)
    assert found is not None
    return found


def test_it_knows_its_upgrade_domain(fabric: Fabric) -> None:
    """By its index; none where the file has none."""
    names = [InstanceName(f"web-{index}.shop") for index in range(3)]
    assert [who(fabric, name)["domain"] for name in names] == [0, 1, 0]
    fabric.control.apply_spec(spec(upgrade=Upgrade()))
    assert who(fabric, OTHER)["domain"] is None


def test_it_knows_the_revision_that_its_vm_is_built_from(fabric: Fabric) -> None:
    """Not the one that it is to be built from: of a rollout it is the new one when it is made anew."""
    assert who(fabric)["revision"] == 1
    fabric.control.apply_spec(spec("b"))
    assert (who(fabric)["generation"], who(fabric)["revision"]) == (1, 1)
    fabric.until(fabric.quiet)
    assert (who(fabric)["generation"], who(fabric)["revision"]) == (2, 2)
    fabric.control.apply_spec(spec("b", drain_s=7.0))
    assert (who(fabric)["generation"], who(fabric)["revision"]) == (2, 3)


def test_one_whose_revision_is_not_kept_is_told_0(fabric: Fabric) -> None:
    """Its VM was left as it was by more files than are kept."""
    fabric.control.apply_spec(spec("b"))
    kept = next(one for one in fabric.control.revisions("shop") if one.number == 1)
    fabric.present.commit([records.drop(kept)])
    assert who(fabric)["revision"] == 0


def test_what_is_in_staging_has_revisions_of_its_own(fabric: Fabric) -> None:
    """Its deployment's, which its name leads to."""
    fabric.control.apply_spec(spec("b"))
    fabric.until(fabric.quiet)
    staged = fabric.control.apply_spec(spec("c", Upgrade(domains=1)), slot=Slot.STAGING).service
    assert staged is not None
    fabric.until(fabric.quiet)
    found = who(fabric, InstanceName(f"web-1.{staged.name}"))
    assert (found["service"], found["deployment"], found["domain"]) == ("shop", staged.name, 0)
    assert found["revision"] == 1
    assert who(fabric)["revision"] == 2


@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_it_knows_its_generation_and_boot_after_a_reimage_from_its_checkpoint(road: Road) -> None:
    """What it was told at its setup is as old as that; this is not."""
    fabric = Fabric()
    fabric.control.apply_spec(spec(reimage=road, local_storage=()))
    fabric.until(fabric.quiet)
    boot = {Road.WARM: 2, Road.PREPARED: 3}[road]  # Restored, it is in the boot of its checkpoint; else in the next.
    for generation in (1, 2, 3):
        assert (who(fabric)["generation"], who(fabric)["boot"], who(fabric)["phase"]) == (generation, boot, "serving")
        fabric.act(Verb.REIMAGE, WEB)
        fabric.until(fabric.quiet)
        assert fabric.instance(WEB).road.startswith(road)
