"""What a suite of the hypervisor side needs of its world beside the two ports: parts laid, time, and an axe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Protocol

from orchestrator.model import (
    HostFit,
    Instance,
    InstanceName,
    Kept,
    LocalStorage,
    Nic,
    Role,
    Setup,
    Size,
)
from orchestrator.ports import Disks, Guest, Hypervisor, Inside
from orchestrator.rules import roads
from tests.world.instances import checkpoint, instance_of

SERVICE = "shop"
NETWORK = "vmrole-shop"
SUBNET = "10.77.0"
MEMORY_MIB = 128


NO_SUCH_DEVICE: Final = "fffe:1d:1f.7"  # likewise none of its PCI devices
NO_SUCH_SHARE: Final = "/srv/nonesuch"  # no directory of any stage's host


class Stage(Protocol):
    """A world in which VMs can be started."""

    hypervisor: Hypervisor
    guest: Guest
    inside: Inside
    disks: Disks
    image_sha256: str

    def lay(self, instance: Instance, *, disc: bool = True) -> None:
        """Makes everything that a VM of this generation is built from; parts of earlier generations go."""

    def lay_drive(self, name: str) -> None:
        """Makes a drive of 16 MiB."""

    def until(self, true: Callable[[], bool], within_s: float = 120.0) -> None:
        """Lets time pass until it is true; AssertionError when it takes longer."""

    def kill(self, name: InstanceName) -> None:
        """kill -9 of the VM's process."""

    def stop_qemu(self, name: InstanceName) -> None:
        """Stops the VM's process where it is, as SIGSTOP does; ending the VM ends it all the same."""

    def continue_qemu(self, name: InstanceName) -> None:
        """Lets that process go on."""

    def suspend(self, name: InstanceName) -> None:
        """Pauses the VM as a human would, beside the product."""

    def resume(self, name: InstanceName) -> None:
        """Lets it go on, as that human."""


def make_instance(stage: Stage, index: int = 0, generation: int = 1, *, restart: bool = True) -> Instance:
    """`web-INDEX.shop` with an address in SUBNET."""
    role = Role(
        name="web",
        image="micro",
        image_sha256=stage.image_sha256,
        size=Size(memory_mib=MEMORY_MIB),
        setup=Setup(restart=restart),
    )
    return instance_of(
        role,
        index,
        service=SERVICE,
        network=NETWORK,
        nic=Nic(mac=f"52:54:00:77:00:{index:02x}", address=f"{SUBNET}.{10 + index}", tap=f"vr-contract-{index}"),
        generation=generation,
    )


def with_storage(instance: Instance) -> Instance:
    """The instance, to be built with local storage."""
    storage = tuple(LocalStorage(name=name, size_mib=16) for name in ("cache", "jobs"))
    return dataclasses.replace(instance, role=dataclasses.replace(instance.role, local_storage=storage))


def kept(instance: Instance, files: Kept, fit: HostFit) -> Instance:
    """The instance with a checkpoint of its present generation, on whose layer it lies."""
    of = checkpoint(
        generation=instance.generation,
        boot=1,
        boot_id="",
        template=roads.built_from(instance.role),
        place=roads.place_of(instance),
        fit=fit,
        layer=files.layer,
        memory=files.memory,
        board=files.board,
    )
    return dataclasses.replace(instance, checkpoint=of, layered=instance.generation)


def next_generation(instance: Instance) -> Instance:
    """The same instance, to be built anew, from its checkpoint where it lies on one."""
    generation = instance.generation + 1
    layered = generation if instance.from_checkpoint else instance.layered
    return dataclasses.replace(instance, generation=generation, layered=layered)
