"""The answer disc of a real guest: where it is found, and what is left of it when setup is complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import domain_devices
from orchestrator.model import Power
from tests.contract.suites.hypervisor import look
from tests.contract.suites.stage import make_instance
from tests.lab.harness.lab import Lab
from tests.lab.harness.role import RoleDaemon
from tests.lab.real_stage import RealStage, real_stage
from tests.lab.services import apply, ready, service
from tests.world.waiting import until

__all__ = ["ready"]


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage of its own for each test."""
    with real_stage(lab, micro_image) as stage:
        yield stage


def test_a_guest_that_is_set_up_has_its_disc_no_more(lab: Lab, ready: RoleDaemon) -> None:
    """It was a disk beside its own; it goes while the guest serves, and does not come with a restart."""
    apply(ready, service(1))

    def disks() -> list[str]:
        listed = lab.guest("web-0.shop", ["/bin/sh", "-c", "cat /sys/block/vd*/serial"])
        return sorted(line for line in str(listed).split() if line)

    until(lambda: disks() == ["ls-cache"], 60.0, what="the disk that goes")
    assert domain_devices.ANSWER_SERIAL not in lab.virsh("dumpxml", "web-0.shop")
    assert domain_devices.ANSWER_SERIAL not in lab.virsh("dumpxml", "--inactive", "web-0.shop")
    ready.run("restart", "web-0.shop", "--wait")
    assert disks() == ["ls-cache"]
    ready.run("delete", "service", "shop", "--wait")


def test_a_guest_that_keeps_its_disc_keeps_nothing(stage: RealStage, lab: Lab) -> None:
    """A guest that does not let go of it has an empty one, and at its next start none."""
    instance = make_instance(stage)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    lab.virsh("suspend", instance.name)

    def held_bytes() -> list[int]:
        """The sizes of the discs that its QEMU has open, also of one that has no name any more."""
        files = Path(f"/proc/{stage.pid(instance.name)}/fd").iterdir()
        return [file.stat().st_size for file in files if ".iso" in str(file.readlink())]

    assert held_bytes()
    assert min(held_bytes()) > 0
    for _ in range(2):
        stage.hypervisor.eject(instance.name)
        assert look(stage, instance).disc == ""
    stage.erase_disc(instance)
    assert set(held_bytes()) == {0}
    stage.hypervisor.power_off(instance.name)
    stage.hypervisor.start(instance)
    assert look(stage, instance).power is Power.RUNNING
    assert domain_devices.ANSWER_SERIAL not in lab.virsh("dumpxml", instance.name)
