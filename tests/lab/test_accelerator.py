"""The two probe guests on the real QEMU, and the choice that they lead to on this machine."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import accelerator
from orchestrator.drivers.hypervisor.accelerator import choose
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
from tests.lab.harness.places import HOST


@pytest.fixture
def linux(micro_image: Path, tmp_path: Path) -> Path:
    """Debian's cloud kernel, out of the micro image; its one partition begins where sfdisk puts the first one."""
    disk, kernel = tmp_path / "disk.raw", tmp_path / "vmlinuz"
    HOST.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(micro_image), str(disk)])
    first = json.loads(HOST.run(["sfdisk", "--json", str(disk)]).stdout)["partitiontable"]["partitions"][0]["start"]
    HOST.run(["debugfs", "-R", f"dump /boot/vmlinuz {kernel}", f"{disk}?offset={first * 512}"])
    return kernel


def test_both_guests_boot_in_tcg(tmp_path: Path, linux: Path) -> None:
    """The control is worth something: both guests print their word where guests are known to boot."""
    guests = accelerator.guests(tmp_path, [linux])
    assert [guest.name for guest in guests] == ["our own guest", linux.name]
    for guest in guests:
        tried = accelerator.boot(accelerator.EMULATOR, Accelerator.TCG, guest, "", accelerator.CONTROL_S)
        assert tried.why_not == "", (guest.name, tried)


def test_the_choice_is_what_guests_do(tmp_path: Path, linux: Path) -> None:
    """KVM is chosen exactly when both guests boot in it here; the second time the answer comes from the note."""
    choice = choose("auto", tmp_path / "cache", kernels=[linux])
    if accelerator.KVM_DEVICE.exists():
        boots = [
            accelerator.boot(accelerator.EMULATOR, Accelerator.KVM, guest, "", accelerator.DEADLINE_S)
            for guest in accelerator.guests(tmp_path, [linux])
        ]
        wanted = Accelerator.TCG if any(boot.why_not for boot in boots) else Accelerator.KVM
        assert choice.accelerator is wanted, boots
        assert choose("auto", tmp_path / "cache", kernels=[linux]) == dataclasses.replace(choice, cached=True)
    else:
        assert (choice.accelerator, choice.because) == (Accelerator.TCG, "/dev/kvm does not exist")
