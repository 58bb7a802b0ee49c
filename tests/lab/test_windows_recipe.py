"""The real QEMU takes the command line of the windows recipe, which a program that acts as QEMU cannot show."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from vmrole_images import BuildError
from vmrole_images.windows import Machine, Wanted, answers, machine
from vmrole_unattend.iso import write_iso


def test_qemu_takes_the_command_line(tmp_path: Path) -> None:
    """The machine starts, finds nothing to boot, and is ended by the deadline, not by a word of QEMU's."""
    disk, disc, other = tmp_path / "disk.qcow2", tmp_path / "answers.iso", tmp_path / "other.iso"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"], check=True)
    disc.write_bytes(answers.disc(Wanted(edition="Windows Server 2022 SERVERSTANDARD")))
    other.write_bytes(write_iso({"empty": b""}, "EMPTY"))
    computer = Machine(memory_mib=256, vcpus=1, within_s=4.0, kvm=False, screen=tmp_path / "screen")
    with pytest.raises(BuildError, match="was not installed within 4 s"):
        machine.run(computer, machine.Discs(disk, other, other, disc), tmp_path, lambda _: None)
    assert (tmp_path / "screen").is_socket() or not (tmp_path / "screen").exists()
    assert "error" not in (tmp_path / "qemu.log").read_text().lower()
