"""What the host promises to all instances together: memory, vCPUs, disks, and room for what is new."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.control import deployment
from orchestrator.control.deployment import Capacity
from orchestrator.control.requests import Control
from orchestrator.errors import InvalidInput, NoSpace
from orchestrator.model import (
    Checkpoints,
    DiskBus,
    Hardware,
    LocalStorage,
    Road,
    Role,
    Service,
    ServiceNetwork,
    ServiceSpec,
    Size,
)
from tests.world.fabric import Fabric, web_role

CAPACITY = Capacity(pool="10.90.0.0/16", memory_mib=10_000, vcpus=32, disk_mib=100_000)
NETWORK = ServiceNetwork(name="vmrole-db", bridge="vr-db", subnet="10.90.1.0/24", gateway="10.90.1.1")


def role(name: str = "web", *, instances: int = 1, vcpus: int = 1, memory_mib: int = 64, disk_mib: int = 1) -> Role:
    """A role of that size."""
    size = Size(vcpus=vcpus, memory_mib=memory_mib, disk_mib=disk_mib)
    return Role(name=name, image="micro", image_sha256="a" * 64, instances=instances, size=size)


def spec(*roles: Role) -> ServiceSpec:
    """A service without endpoints."""
    return ServiceSpec(name="shop", vip="", roles=roles)


OTHER = Service(spec=ServiceSpec(name="db", vip="", roles=(role(instances=3, vcpus=8),)), network=NETWORK)


def test_vcpus_are_promised_so_many_times_and_no_more() -> None:
    """Those of all instances of all services; the numbers, the greediest role and the remedy are said."""
    deployment.check(spec(role(instances=4, vcpus=2)), [OTHER], CAPACITY)
    with pytest.raises(InvalidInput) as caught:
        deployment.check(spec(role("db"), role(instances=4, vcpus=2)), [OTHER], CAPACITY)
    assert str(caught.value) == "needs 9 vCPUs; the host gives 32, 24 are promised"
    assert caught.value.problems[0].key == "roles.web.size.vcpus"
    assert "vcpu_overcommit" in caught.value.hint
    deployment.check(spec(role(instances=40, vcpus=2)), [OTHER], dataclasses.replace(CAPACITY, vcpus=None))


def test_what_is_in_blobs_is_promised_to_nobody_else() -> None:
    """As it is by then; who asks for no more than he had is never refused."""
    wanted = spec(role(instances=2, disk_mib=1000))
    holding = [dataclasses.replace(CAPACITY, disk_mib=2500, blobs_mib=lambda mib=mib: mib) for mib in (500, 501)]
    deployment.check(wanted, [], holding[0])
    with pytest.raises(InvalidInput, match="2500 MiB, 501 MiB are promised"):
        deployment.check(wanted, [], holding[1])
    deployment.check(wanted, [], holding[1], before=wanted)


def test_a_checkpoint_is_promised_its_room() -> None:
    """Its layer may become as large as the disk above it, and its memory as the guest's; cold ones have neither."""
    warm = dataclasses.replace(role(disk_mib=1000, memory_mib=500), reimage=Road.WARM)
    capacity = dataclasses.replace(CAPACITY, disk_mib=2499)
    with pytest.raises(InvalidInput, match="needs up to 2500 MiB of disk"):
        deployment.check(spec(warm), [], capacity)
    deployment.check(spec(warm), [], dataclasses.replace(capacity, disk_mib=2500))
    for role_of, mib in (
        (dataclasses.replace(warm, reimage=Road.COLD), 1000),
        (dataclasses.replace(warm, reimage=Road.PREPARED), 2000),
        (dataclasses.replace(warm, local_storage=(LocalStorage(name="data", size_mib=1),)), 2501),
    ):
        deployment.check(spec(role_of), [], dataclasses.replace(capacity, disk_mib=mib))
        with pytest.raises(InvalidInput, match=f"needs up to {mib} MiB of disk"):
            deployment.check(spec(role_of), [], dataclasses.replace(capacity, disk_mib=mib - 1))


def test_a_memory_in_ram_is_promised_twice() -> None:
    """As the guest's and as its checkpoint's, of roles whose memory is kept; and its room on disk, if it has to lie
    there.
    """
    warm = dataclasses.replace(role(memory_mib=500), reimage=Road.WARM, checkpoint=Checkpoints(memory=True))
    capacity = dataclasses.replace(CAPACITY, memory_mib=1064)
    deployment.check(spec(warm), [], capacity)
    with pytest.raises(InvalidInput, match="needs 1064 MiB of memory"):
        deployment.check(spec(warm), [], dataclasses.replace(capacity, memory_mib=1063))
    booted = Hardware(disk_bus=DiskBus.SATA)
    for role_of in (
        dataclasses.replace(warm, checkpoint=Checkpoints()),
        dataclasses.replace(warm, hardware=booted),
    ):
        deployment.check(spec(role_of), [], dataclasses.replace(capacity, memory_mib=564))


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"vcpus": 34}, "size.vcpus"),
        ({"memory_mib": 11_000}, "size.memory"),
        ({"disk_mib": 101_000}, "size.disk"),
    ],
)
def test_who_asks_for_less_is_not_refused(more: dict[str, int], key: str) -> None:
    """A host that has promised too much, for it was made smaller, does not hold up who gives something back."""
    before = spec(role(instances=3, **more))
    for instances in (1, 2, 3):
        deployment.check(spec(role(instances=instances, **more)), [], CAPACITY, before=before)
    with pytest.raises(InvalidInput) as caught:
        deployment.check(spec(role(instances=4, **more)), [], CAPACITY, before=before)
    assert caught.value.problems[0].key == f"roles.web.{key}"


def full() -> None:
    """A disk without room."""
    raise NoSpace("no room for new disks", hint="make room")


def test_a_full_disk_gets_no_new_disks() -> None:
    """Instances, larger disks and local storage are not begun; all that needs no more is done."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    control = Control(
        fabric.store,
        find_image=lambda _: None,
        capacity=dataclasses.replace(CAPACITY, require_room=full),
        clock=fabric.world,
        wake=lambda _kind, _name: None,
        seats=fabric.host.front.balancer.seats,
    )
    before = control.service("shop").spec
    for role in (
        dataclasses.replace(before.roles[0], instances=3),
        dataclasses.replace(before.roles[0], size=Size(disk_mib=1000)),
        dataclasses.replace(before.roles[0], local_storage=(LocalStorage(name="more", size_mib=1000),)),
    ):
        with pytest.raises(NoSpace):
            control.apply_spec(dataclasses.replace(before, roles=(role,)))
    assert control.service("shop").spec == before
    control.scale("shop", {"web": 1})
    control.apply_spec(dataclasses.replace(control.service("shop").spec, roles=(web_role(instances=1, drain_s=7.0),)))
    control.remove("shop")
    assert control.service("shop").removing


def test_drives_are_promised_their_room_as_well() -> None:
    """They are disks of the same host: what they may come to hold nobody else is promised."""
    capacity = dataclasses.replace(CAPACITY, disk_mib=1000)
    deployment.check(spec(role(disk_mib=400)), [], capacity, drives_mib=600)
    with pytest.raises(InvalidInput, match="needs up to 401 MiB of disk; the host gives 1000 MiB, 600 MiB"):
        deployment.check(spec(role(disk_mib=401)), [], capacity, drives_mib=600)
    before = spec(role(disk_mib=401))
    deployment.check(before, [], capacity, before=before, drives_mib=600)  # who wants no more is not refused
