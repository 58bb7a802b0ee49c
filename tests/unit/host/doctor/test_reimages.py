"""What the doctor says of reimages: by which roads they can go with this QEMU, and whether there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import accelerator
from orchestrator.host.config import Config
from orchestrator.host.doctor import Verdict, reimages
from orchestrator.model import DiskBus

SAID = "non-migratable device"
NONE = dict.fromkeys(DiskBus, "")


def test_this_qemu_is_asked() -> None:
    """It gives the memory of a machine with a virtio disk away, and not that of one with an NVMe disk."""
    found = reimages.warmest(Config())
    assert found.verdict is Verdict.PASS
    warm, _, prepared = found.message.partition("; prepared at most: ")
    assert warm.endswith("warm at most: with virtio disks, of UEFI, with a TPM")
    assert prepared.startswith("with sata disks, with nvme disks;")
    assert "cold at most" not in found.message
    assert f"does not save those with nvme disks ({SAID}" in found.message


def test_a_qemu_that_gives_nothing_away() -> None:
    """Whoever relies on warm reimages is told that there are none."""
    found = reimages.judge(NONE | {DiskBus.VIRTIO: SAID})
    assert found.verdict is Verdict.WARN
    assert "prepared at most: with virtio disks, with sata disks, with nvme disks" in found.message
    assert "warm at most" not in found.message
    assert found.remedy
    assert "does not save" not in reimages.judge(NONE).message


def test_an_answer_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not taken for one that nothing is in the way of."""
    odd = tmp_path / "qemu"
    odd.write_text("#!/bin/sh\necho nonsense\n")
    odd.chmod(0o755)
    monkeypatch.setattr(accelerator, "EMULATOR", odd)
    with pytest.raises(ValueError, match="Expecting value"):
        reimages.warmest(Config())


def test_room_is_told(tmp_path: Path) -> None:
    """On disk, without which nothing is kept, and in RAM, where that is a tmpfs of ours or of nobody yet."""
    (tmp_path / "state").mkdir()
    settings = Config(state_dir=tmp_path / "state", run_dir=tmp_path / "run", checkpoint_memory_dir=tmp_path)
    assert "MiB are free for disks and memories" in reimages.room(settings).message
    full, few = reimages.judge_room(100, 0, "", "/dev/shm"), reimages.judge_room(1000, 0, "/x is no tmpfs", "/x")
    assert (full.verdict, few.verdict) == (Verdict.FAIL, Verdict.WARN)
    assert "disk_reserve_mib" in full.remedy
    assert "none in RAM: /x is no tmpfs" in few.message
    there = reimages.judge_room(1000, 64, "", "/dev/shm")
    assert (there.verdict, "64 MiB in /dev/shm" in there.message) == (Verdict.PASS, True)
