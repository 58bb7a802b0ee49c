"""That the libvirt and QEMU of this host start every kind of machine that an image may ask for, and forget all of it.

No Windows runs here: the disk holds the micro image, and a machine counts when it has run for a second.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import Permanent
from orchestrator.model import DiskBus, Firmware, Hardware, Identity, Instance, LocalStorage, Os, Power, Size
from tests.contract.suites.hypervisor import look
from tests.contract.suites.stage import make_instance
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage

_TPM_STATES = Path("/var/lib/libvirt/swtpm")
_FIRMWARE = "/usr/share/qemu/firmware"
_RUNS_S = 1.0
DISKS = {DiskBus.VIRTIO: "virtio-blk-pci", DiskBus.SATA: "ide-hd", DiskBus.NVME: "nvme"}
BIOS = Hardware()
SECURE = Hardware(firmware=Firmware.SECURE_BOOT, tpm=True)


@pytest.fixture(scope="module")
def stage(lab_session: Lab, micro_image: Path) -> Iterator[RealStage]:
    """One stage for all kinds, one VM at a time."""
    lab_session.start_libvirtd()
    with real_stage(lab_session, micro_image) as stage:
        yield stage
    lab_session.sweep()


@pytest.fixture(autouse=True)
def no_vm_stays(stage: RealStage) -> Iterator[None]:
    """All VMs have one name: what a failed test left would be the next one's."""
    yield
    stage.hypervisor.power_off(make_instance(stage).name)
    stage.hypervisor.undefine(make_instance(stage).name)


def of_kind(stage: RealStage, os: Os, hardware: Hardware) -> Instance:
    """An instance whose image asks for that machine."""
    plain = make_instance(stage, restart=False)
    storage = (LocalStorage(name="data", size_mib=8), LocalStorage(name="logs", size_mib=8))
    role = dataclasses.replace(
        plain.role, os=os, hardware=hardware, local_storage=storage, size=Size(vcpus=2, memory_mib=256)
    )
    return dataclasses.replace(plain, role=role, goal=dataclasses.replace(plain.goal, role=role))


def devices(lab: Lab, instance: Instance) -> set[str]:
    """The types of the devices that QEMU has, as it names them."""
    question = {"execute": "qom-list", "arguments": {"path": "/machine/peripheral"}}
    said = json.loads(lab.virsh("qemu-monitor-command", instance.name, json.dumps(question)))
    return {one["type"].removeprefix("child<").removesuffix(">") for one in said["return"]}


@pytest.mark.parametrize(
    ("os", "hardware"),
    [
        (Os.WINDOWS, BIOS),
        (Os.WINDOWS, Hardware(disk_bus=DiskBus.SATA)),
        (Os.WINDOWS, Hardware(disk_bus=DiskBus.NVME)),
        (Os.WINDOWS, Hardware(firmware=Firmware.UEFI)),
        (Os.WINDOWS, SECURE),
        (Os.LINUX, SECURE),
        (Os.LINUX, Hardware(firmware=Firmware.UEFI, disk_bus=DiskBus.NVME)),
    ],
    ids=lambda value: (
        value.value if isinstance(value, Os) else "-".join(str(each) for each in (value.firmware, value.disk_bus))
    ),
)
def test_kind_of_machine_runs_and_is_forgotten(
    stage: RealStage, lab_session: Lab, os: Os, hardware: Hardware
) -> None:
    """The machine starts with its disc, runs, lets go of the disc, and leaves no state of firmware or TPM behind."""
    instance = of_kind(stage, os, hardware)
    stage.lay(instance)
    stage.hypervisor.start(instance)
    time.sleep(_RUNS_S)
    seen = look(stage, instance)
    assert (seen.power, seen.disc) == (Power.RUNNING, str(stage.layout.disc(instance)))
    assert {DISKS[hardware.disk_bus], *(["tpm-crb"] if hardware.tpm else [])} <= devices(lab_session, instance)
    has_nvram = hardware.firmware is not Firmware.BIOS
    assert stage.layout.nvram(instance).exists() == has_nvram
    assert (_TPM_STATES / instance.vm_uuid).exists() == hardware.tpm

    stage.hypervisor.eject(instance.name)
    assert look(stage, instance).disc == ""
    stage.hypervisor.power_off(instance.name)
    stage.hypervisor.start(instance)
    assert look(stage, instance).power is Power.RUNNING
    stage.hypervisor.power_off(instance.name)
    stage.hypervisor.undefine(instance.name)
    assert not stage.layout.nvram_dir(instance.name).exists()
    assert not (_TPM_STATES / instance.vm_uuid).exists()


def test_a_guest_starts_from_an_nvme_drive(stage: RealStage, lab_session: Lab) -> None:
    """The drive that QEMU has in the place of libvirt's is one that a firmware boots from and a kernel reads; local
    storage of a Linux is where it looks for it.
    """
    instance = of_kind(stage, Os.LINUX, Hardware(disk_bus=DiskBus.NVME))
    stage.lay(instance)
    stage.hypervisor.start(instance)
    stage.until(lambda: isinstance(stage.guest.identity(instance), Identity))
    mounted = "until grep -q ' /local/data ' /proc/mounts && grep -q ' /local/logs ' /proc/mounts; do sleep 1; done"
    lab_session.guest(instance.name, ["/bin/sh", "-c", mounted], within_s=60)


def test_a_host_without_uefi_says_what_to_install(stage: RealStage, lab_session: Lab, tmp_path: Path) -> None:
    """A VM that needs what the host lacks fails at once, with a remedy: looking again would not help."""
    instance = of_kind(stage, Os.WINDOWS, SECURE)
    stage.lay(instance)
    lab_session.host.run(["mount", "--bind", str(tmp_path), _FIRMWARE])
    try:
        with pytest.raises(Permanent, match="Unable to find any firmware") as told:
            stage.hypervisor.start(instance)
    finally:
        lab_session.host.run(["umount", _FIRMWARE])
    assert "apt-get install ovmf" in told.value.hint


def test_a_host_with_secure_uefi_alone_has_uefi(stage: RealStage, lab_session: Lab, tmp_path: Path) -> None:
    """Some distributions ship no other: without keys it starts what nobody has signed, as images expect."""
    instance = of_kind(stage, Os.LINUX, Hardware(firmware=Firmware.UEFI))
    for path in Path(_FIRMWARE).glob("*.json"):
        if "secure-boot" in json.loads(path.read_text())["features"]:
            (tmp_path / path.name).write_text(path.read_text())
    tmp_path.chmod(0o755)
    stage.lay(instance)
    lab_session.host.run(["mount", "--bind", str(tmp_path), _FIRMWARE])
    try:
        stage.hypervisor.start(instance)
        time.sleep(_RUNS_S)
        assert look(stage, instance).power is Power.RUNNING
        described = lab_session.virsh("dumpxml", instance.name)
        assert "secboot" in described
        assert "<smm state='on'/>" in described
    finally:
        lab_session.host.run(["umount", _FIRMWARE])
