"""Which road a generation takes: each condition by itself is enough for the colder one, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.model import (
    Attachment,
    Checkpoints,
    DiskBus,
    Firmware,
    Goal,
    Hardware,
    HostFit,
    Instance,
    LocalStorage,
    Ready,
    Road,
    Role,
    RoleNetwork,
)
from orchestrator.rules import roads
from tests.world.fabric import web_role
from tests.world.instances import FIT, checkpoint, instance_of

ROLE = web_role(local_storage=(), reimage=Road.WARM)
TAKEN_S, NOW_S = 1000.0, 2000.0


def with_checkpoint() -> Instance:
    """In the generation after the one that was kept, with nothing against it."""
    bare = instance_of(ROLE, generation=2)
    kept = checkpoint(template=roads.built_from(ROLE), place=roads.place_of(bare), taken_at_s=TAKEN_S)
    return replace(bare, checkpoint=kept, storage=1)


def of_role(instance: Instance, role: Role) -> Instance:
    """The instance, built and wished of another role."""
    return replace(instance, role=role, goal=replace(instance.goal, role=role))


def wished(instance: Instance, **changes: object) -> Instance:
    """The instance with another goal."""
    goal: Goal = replace(instance.goal, **changes)  # type: ignore[arg-type]
    return replace(instance, goal=goal)


def test_nothing_against_it_is_the_warm_road() -> None:
    """And only then the host has to be asked, and is."""
    one = with_checkpoint()
    assert roads.wants_fit(one)
    assert roads.chosen(one, FIT, NOW_S) == roads.Chosen(Road.WARM)
    assert str(roads.chosen(one, FIT, NOW_S)) == "warm, from its checkpoint"


@pytest.mark.parametrize(
    ("changed", "why_not"),
    [
        (lambda one: replace(one, checkpoint=None), "no checkpoint"),
        (lambda one: replace(one, checkpoint=None, no_checkpoint="no room"), "no checkpoint: no room"),
        (lambda one: of_role(one, replace(ROLE, user_data="#!other")), "another template"),
        (lambda one: replace(one, nic=replace(one.nic, address="10.90.0.99")), "another address"),
        (lambda one: replace(one, network="other"), "another address or network"),
        (lambda one: replace(one, nic=replace(one.nic, address6="fd00::1")), "another address or network"),
        (lambda one: replace(one, nic=replace(one.nic, gateway="10.90.0.254")), "another address or network"),
        (lambda one: replace(one, nic=replace(one.nic, prefix_length=16)), "another address or network"),
        (lambda one: replace(one, strikes=1), "healed"),
        (lambda one: wished(one, storage=2), "rebuild"),
        (lambda one: wished(one, cold=2), "asked for"),
        (lambda one: of_role(one, replace(ROLE, checkpoint=Checkpoints(max_age_s=999.0))), "too old"),
        (lambda one: wished(one, attached=(Attachment(name="d", drive="db"),)), "came or went by hand"),
        (lambda one: of_role(one, replace(ROLE, network=RoleNetwork(bridge="br0"))), "by its bridge"),
        (lambda one: of_role(one, replace(ROLE, keep_failed_disk=True)), "evidence.disk"),
        (lambda one: of_role(one, replace(ROLE, ready=Ready(agent=False))), "without an agent"),
    ],
)
@pytest.mark.parametrize("road", [Road.WARM, Road.PREPARED], ids=str)
def test_each_condition_is_enough(road: Road, changed: Callable[[Instance], Instance], why_not: str) -> None:
    """Whatever the role would have, and is told."""
    one = changed(with_checkpoint())
    one = replace(one, goal=replace(one.goal, role=replace(one.goal.role, reimage=road)))
    chosen = roads.chosen(one, FIT, NOW_S)
    assert chosen.road is Road.COLD
    assert why_not in chosen.why_not
    assert str(chosen).startswith("cold: ")


def without_memory(one: Instance, why: str = "") -> Instance:
    """The instance with the disk of its checkpoint alone."""
    assert one.checkpoint is not None
    return replace(one, checkpoint=replace(one.checkpoint, memory=None, no_memory=why))


@pytest.mark.parametrize(
    ("changed", "why_not"),
    [
        (without_memory, "its checkpoint has no memory"),
        (lambda one: without_memory(one, "too old a kernel"), "its checkpoint has no memory: too old a kernel"),
        (lambda one: with_template(one, hardware=Hardware(disk_bus=DiskBus.SATA)), "its disk is not a virtio one"),
    ],
)
def test_what_is_against_its_memory_is_a_boot(changed: Callable[[Instance], Instance], why_not: str) -> None:
    """Of the same disk; a role that would have no more is told nothing."""
    one = changed(with_checkpoint())
    assert roads.chosen(one, FIT, NOW_S) == roads.Chosen(Road.PREPARED, why_not)
    assert str(roads.chosen(one, FIT, NOW_S)) == f"prepared, a boot from its checkpoint: {why_not}"
    content = replace(one, goal=replace(one.goal, role=replace(one.goal.role, reimage=Road.PREPARED)))
    assert roads.chosen(content, FIT, NOW_S) == roads.Chosen(Road.PREPARED)
    assert str(roads.chosen(content, FIT, NOW_S)) == "prepared, a boot from its checkpoint"


def with_template(one: Instance, **changes: object) -> Instance:
    """The instance of another role, and its checkpoint as well."""
    role: Role = replace(ROLE, **changes)  # type: ignore[arg-type]
    other = of_role(one, role)
    assert other.checkpoint is not None
    return replace(other, checkpoint=replace(other.checkpoint, template=roads.built_from(role)))


@pytest.mark.parametrize(
    ("fit", "why_not"),
    [
        (replace(FIT, qemu="8.0"), "another QEMU"),
        (replace(FIT, cpu="c"), "another processor"),
        (replace(FIT, boot="c"), "started again"),
    ],
)
def test_another_host_is_a_boot(fit: HostFit, why_not: str) -> None:
    """Memory fits the QEMU and the processor that it was saved by; a disk fits any."""
    chosen = roads.chosen(with_checkpoint(), fit, NOW_S)
    assert chosen.road is Road.PREPARED
    assert why_not in chosen.why_not


@pytest.mark.parametrize(("now_s", "road"), [
    (TAKEN_S - 1, Road.COLD), (TAKEN_S, Road.WARM), (TAKEN_S + 7 * 86400, Road.WARM),
    (TAKEN_S + 7 * 86400 + 1, Road.COLD),
])  # fmt: skip
def test_it_has_an_age(now_s: float, road: Road) -> None:
    """Also where the clock of the host was set back."""
    assert roads.chosen(with_checkpoint(), FIT, now_s).road is road


def test_a_cold_role_says_nothing() -> None:
    """Its reimages are what they were, and the host is asked nothing."""
    one = of_role(with_checkpoint(), replace(ROLE, reimage=Road.COLD))
    assert not roads.wants_fit(one)
    assert str(roads.chosen(one, None, NOW_S)) == ""


@pytest.mark.parametrize(
    ("role", "kept", "with_memory"),
    [
        (ROLE, True, True),
        (replace(ROLE, reimage=Road.PREPARED), True, False),
        (replace(ROLE, reimage=Road.COLD), False, False),
        (replace(ROLE, local_storage=(LocalStorage(name="d", size_mib=1),)), True, True),
        (replace(ROLE, hardware=Hardware(disk_bus=DiskBus.SATA)), True, False),
        (replace(ROLE, hardware=Hardware(disk_bus=DiskBus.NVME)), True, False),
        (replace(ROLE, hardware=Hardware(firmware=Firmware.UEFI, tpm=True)), True, True),
        (replace(ROLE, hardware=Hardware(firmware=Firmware.SECURE_BOOT)), True, True),
    ],
)
def test_what_is_kept_of_a_role(role: Role, kept: bool, with_memory: bool) -> None:
    """As much as its reimages may begin with."""
    assert (roads.keeps(role), roads.keeps_memory(role)) == (kept, with_memory)
    assert roads.wants_memory(instance_of(role)) is with_memory
    assert not roads.wants_memory(replace(instance_of(role), no_memory="no room"))


def test_a_checkpoint_is_awaited_before_the_first_traffic_alone() -> None:
    """Of what a reimage may begin with, once."""
    fresh = instance_of(ROLE, boot_id="boot")
    assert roads.awaits_checkpoint(fresh)
    for other in (
        replace(fresh, served_at_s=1.0),
        replace(fresh, strikes=1),
        replace(fresh, boot_id=""),
        replace(fresh, no_checkpoint="no room"),
        replace(fresh, checkpoint=with_checkpoint().checkpoint),
        wished(fresh, protected=True),
        wished(fresh, role=replace(ROLE, user_data="#!other")),
        of_role(fresh, replace(ROLE, reimage=Road.COLD)),
    ):
        assert not roads.awaits_checkpoint(other)


def test_what_a_vm_is_not_built_from_leaves_its_checkpoint() -> None:
    """Another drain time, another number of instances, another age."""
    same = replace(ROLE, drain_s=9.0, instances=7, checkpoint=Checkpoints(max_age_s=1.0), reimage=Road.COLD)
    assert roads.built_from(same) == roads.built_from(ROLE)
    assert roads.built_from(replace(ROLE, keep_ssh_host_keys=True)) != roads.built_from(ROLE)
