"""A VM whose memory is of huge pages, on a host that has reserved some for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import host_devices
from orchestrator.errors import Transient
from orchestrator.model import Devices, Power
from tests.contract.suites.stage import make_instance
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

_RESERVED = Path("/proc/sys/vm/nr_hugepages")
_PLACE = Path("/dev/hugepages")
_PAGES = 80  # of 2 MiB: an instance of the stage has 128 MiB, and is not the only thing that QEMU wants


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """On a libvirtd that was started when they were there."""
    before = _RESERVED.read_text()
    _PLACE.mkdir(exist_ok=True)
    lab.host.run(["mount", "-t", "hugetlbfs", "hugetlbfs", str(_PLACE)])
    try:
        _RESERVED.write_text(f"{int(before) + _PAGES}")
        lab.kill_libvirtd()
        lab.start_libvirtd()
        with real_stage(lab, micro_image) as stage:
            yield stage
    finally:
        _RESERVED.write_text(before)
        lab.host.run(["umount", "-l", str(_PLACE)])
        lab.kill_libvirtd()
        lab.start_libvirtd()


def test_its_memory_is_of_them(stage: RealStage) -> None:
    """All of it, from its start; a VM that finds none does not start, and is not blamed for it."""
    instance = make_instance(stage)
    instance = dataclasses.replace(instance, role=dataclasses.replace(instance.role, devices=Devices(hugepages=True)))
    assert stage.hypervisor.unfit(instance.role) is None
    stage.lay(instance)
    stage.hypervisor.start(instance)
    seen = stage.hypervisor.look(instance.name)
    assert seen is not None
    assert seen.power is Power.RUNNING
    status = Path("/run/libvirt/qemu", f"{instance.name}.pid").read_text()
    maps = Path("/proc", status.strip(), "smaps").read_text()
    huge = [line for line in maps.splitlines() if line.startswith("KernelPageSize:") and "2048 kB" in line]
    assert huge, "its memory is of huge pages"
    stage.hypervisor.power_off(instance.name)
    _RESERVED.write_text("0")
    fault = host_devices.hugepages_fault(instance.role)
    assert fault is not None
    assert "reserved no huge pages" in fault.message
    with pytest.raises(Transient) as refused:
        stage.hypervisor.start(instance)
    assert "vm.nr_hugepages" in refused.value.hint
