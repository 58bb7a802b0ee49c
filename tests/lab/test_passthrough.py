"""Devices of the host in VMs, as far as a host without an IOMMU tells: what is refused, and what libvirt does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from orchestrator.drivers.hypervisor import domain_xml
from orchestrator.drivers.hypervisor.domain_parts import Accelerator, MachineType, paths_of
from orchestrator.drivers.hypervisor.start_faults import why_not_started
from orchestrator.errors import Transient
from orchestrator.model import Devices, Instance
from orchestrator.model.pci import Passed
from tests.contract.suites.stage import NO_SUCH_DEVICE, make_instance
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

TWO = ("fffe:1d:1f.6", NO_SUCH_DEVICE)
FILE = """service: gpu
roles:
  web:
    image: micro
    devices: {{pci: ["{}"]}}
"""


@pytest.fixture
def stage(lab: Lab, micro_image: Path) -> Iterator[RealStage]:
    """A stage of its own for each test."""
    with real_stage(lab, micro_image) as stage:
        yield stage


def with_devices(stage: RealStage) -> Instance:
    """An instance that has two which are not there."""
    plain = make_instance(stage)
    role = dataclasses.replace(plain.role, devices=Devices(pci=TWO))
    passed = tuple(Passed(wanted=each, address=each, kind="10de:2204") for each in TWO)
    return dataclasses.replace(plain, role=role, goal=dataclasses.replace(plain.goal, role=role, passed=passed))


def places(xml: str) -> list[tuple[str, str]]:
    """Where the guest finds each device of the host, and which that is."""
    found = etree.fromstring(xml.encode()).iterfind("devices/hostdev")
    return [
        (
            "".join(part.get(key, "") for key in ("bus", "slot", "function")),
            one.find("source/address").get("function"),
        )
        for one in found
        if (part := one.find("address")) is not None
    ]


def test_libvirt_takes_the_domain_and_says_why_it_does_not_start(stage: RealStage, lab: Lab) -> None:
    """With the places that we say, with an answer disc and without; its refusal is one that is waited for."""
    instance = with_devices(stage)
    stage.lay(instance)
    seen = []
    for disc in (True, False):
        paths = paths_of(stage.layout, instance)
        paths = paths if disc else dataclasses.replace(paths, disc=None)
        xml = domain_xml.render(instance, paths, MachineType(accelerator=Accelerator.TCG))
        lab.host.run(["virsh", "define", "--validate", "/dev/stdin"], text=xml)
        seen.append(places(lab.virsh("dumpxml", "--inactive", instance.name)))
    assert seen[0] == seen[1] == [("0x010x000x0", "0x6"), ("0x020x000x0", "0x7")]
    connection = libvirt.open("qemu:///system")
    try:
        with pytest.raises(libvirt.libvirtError) as refused:
            connection.lookupByName(instance.name).create()
        told = why_not_started(instance, refused.value)
    finally:
        connection.close()
        lab.virsh("undefine", instance.name)
    assert isinstance(told, Transient), told
    assert "vfio-pci" in told.hint, told


def test_what_this_host_cannot_pass_on_is_refused(lab: Lab, tmp_path: Path, micro_image: Path) -> None:
    """What its owner does not give, what is not there, and what of the lab's own no guest can have."""
    groups, bus = Path("/sys/kernel/iommu_groups"), Path("/sys/bus/pci/devices")
    has_iommu = groups.is_dir() and any(groups.iterdir())
    own = [] if has_iommu or not bus.is_dir() else sorted(each.name for each in bus.iterdir())[-1:]
    daemon = lab.daemon(tmp_path / "vmrole", pci=[NO_SUCH_DEVICE, *own])
    daemon.start()
    daemon.run("image", "add", str(micro_image), "--name", "micro")
    for name, told in (
        ("0000:00:1f.7", "this host's owner does not give 0000:00:1f.7 to guests"),
        (NO_SUCH_DEVICE, f"there is no PCI device {NO_SUCH_DEVICE} on this host"),
        *((each, each) for each in own),
    ):
        answer = daemon.run("apply", "-f", "-", text=FILE.format(name), check=False)
        assert answer.returncode == 2, answer.stdout + answer.stderr
        assert "stdin:5: roles.web.devices.pci: " in answer.stderr
        assert told in answer.stderr
        assert "hint: " in answer.stderr
    daemon.kill_with_children()
