"""Lives with drives, and trouble before and after every call that has an effect: what is in a drive stays, and no
two VMs ever have one. The fake world asserts the latter inside.
"""

from __future__ import annotations

import functools

import pytest

from orchestrator.control.drives import Drives
from orchestrator.drivers.fake import FakeDrives
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import InstanceName, RoleDrive, Service, Verb
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role

DB = web_role(name="db", instances=2, drives=(RoleDrive(name="data", drive="db-{index}", mount="/data"),))
ONE = InstanceName("db-0.shop")


def drives_of(fabric: Fabric) -> Drives:
    """As a daemon has them that has just been started."""
    enlarge = fabric.host.machine.hypervisor.enlarge
    return Drives(fabric.present, FakeDrives(fabric.world), fabric.world, fabric.control.custody, enlarge)


def begun(trouble: Trouble | None = None) -> Fabric:
    """Two drives with something in them, and a service that has them."""
    fabric = Fabric(trouble)
    for name in ("db-0", "db-1"):
        drives_of(fabric).create(name, 64)
        fabric.world.drives[name].written = f"orders of {name}"
    fabric.deploy(DB)
    return fabric


def whole(fabric: Fabric) -> bool:
    """Whether each drive holds what it held."""
    return {name: one.written for name, one in fabric.world.drives.items()} == {
        name: f"orders of {name}" for name in ("db-0", "db-1")
    }


def life(fabric: Fabric) -> None:
    """Deployed, restarted, reimaged, rebuilt, deleted and deployed again: the drives are what they were."""
    fabric.until(fabric.quiet)
    for verb in (Verb.RESTART, Verb.REIMAGE, Verb.REBUILD):
        fabric.act(verb, "db.shop")
        fabric.until(fabric.quiet)
        assert whole(fabric), verb
        for machine in fabric.world.machines.values():
            assert machine.drives.keys() == {f"db-{machine.instance.index}"}
    fabric.remove()
    fabric.until(lambda: not fabric.present.all(Service))
    fabric.world.nothing_is_left()
    assert whole(fabric), "the service is gone, and its drives are not"


@functools.cache
def effects() -> int:
    """How many calls with an effect an untroubled life has."""
    fabric = begun()
    life(fabric)
    return len(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """And comes back to drives that hold what they held."""
    for at in range(1, effects() + 1):
        life(begun(Trouble(at, after, die)))


@pytest.mark.parametrize("after", [False, True])
def test_the_peer_hangs_up_at_every_call(after: bool) -> None:
    """Nothing is lost by an answer that is."""
    for at in range(1, effects() + 1, 3):
        life(begun(Trouble(at, after, hang_up)))


def test_a_vm_is_killed_at_every_call() -> None:
    """Whatever QEMU does not live to see, the drive does."""
    for at in range(1, effects() + 1, 3):
        fabric = begun(Trouble(at, after=bool(at % 2)))

        def kill(fabric: Fabric = fabric) -> None:
            if ONE in fabric.world.machines:
                fabric.world.kill(ONE)

        fabric.trouble.strike = kill
        life(fabric)


def test_nobody_takes_a_drive_while_somebody_has_it() -> None:
    """At every call of a service's removal: it is refused until the instance is gone, and granted then."""
    fabric = begun()
    fabric.until(fabric.quiet)
    fabric.remove()
    refused = 0
    while fabric.present.all(Service):
        for ask in (
            lambda: fabric.deploy(DB, name="bank", vip="203.0.113.11"),
            lambda: drives_of(fabric).remove("db-0"),
        ):
            if any("db-0" in one.drives for one in fabric.instances()):
                with pytest.raises((InvalidInput, Conflict), match="has"):
                    ask()
                refused += 1
        fabric.round()
    assert refused
    fabric.deploy(DB, name="bank", vip="203.0.113.11")
    fabric.until(fabric.quiet)
    assert whole(fabric)


def test_a_drive_in_use_grows_and_is_not_copied_or_removed() -> None:
    """The VM that runs sees its new size; one that is off has it at its next start. A snapshot has to be whole."""
    fabric = begun()
    fabric.until(fabric.quiet)
    drives = drives_of(fabric)
    drives.grow("db-0", 128)
    assert fabric.world.machines[ONE].drives == {"db-0": 128}
    for ask in (drives.remove, drives.snapshot, lambda name: drives.restore(name, "monday")):
        with pytest.raises(Conflict, match=r"db-0\.shop has drive db-0"):
            ask("db-0")
    assert [found.holder for found in drives.all()] == ["db-0.shop", "db-1.shop"]
    fabric.act(Verb.STOP, ONE)
    fabric.until(fabric.quiet)
    drives.grow("db-0", 256)
    fabric.act(Verb.START, ONE)
    fabric.until(fabric.quiet)
    assert fabric.world.machines[ONE].drives == {"db-0": 256}
    fabric.control.scale("shop", {"db": 1})
    fabric.until(lambda: len(fabric.instances()) == 1)
    drives.snapshot("db-1", "monday")
    drives.remove("db-1")
    with pytest.raises(InvalidInput, match="there is no drive db-1"):
        fabric.control.scale("shop", {"db": 2})


def test_a_drive_whose_file_is_gone_fails_its_instance_with_a_sentence() -> None:
    """Nothing is made in its place: somebody would find an empty disk, and believe it."""
    fabric = begun()
    fabric.until(fabric.quiet)
    lost = fabric.world.drives.pop("db-0")
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(lambda: fabric.instance(ONE).has_failed)
    assert "drive db-0 is not there" in fabric.instance(ONE).failure
    assert "db-0" not in fabric.world.drives
    fabric.world.drives["db-0"] = lost
    fabric.act(Verb.REIMAGE, ONE)
    fabric.until(fabric.quiet)
    assert whole(fabric)


def test_another_deployment_of_the_service_does_not_get_them() -> None:
    """Staging beside production would be a second VM on the same disk."""
    from orchestrator.model import ServiceSpec, Slot

    fabric = begun()
    with pytest.raises(InvalidInput, match="has it"):
        fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(DB,)), slot=Slot.STAGING)
    with pytest.raises(NotFound):
        drives_of(fabric).grow("db-7", 64)
