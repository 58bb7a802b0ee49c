"""Which accelerator is chosen when guests boot, hang or die; QEMU is a script that behaves as the test says."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from orchestrator.drivers.hypervisor import accelerator, probe_guest
from orchestrator.drivers.hypervisor.accelerator import Choice, choose
from orchestrator.drivers.hypervisor.domain_xml import Accelerator
from orchestrator.errors import Permanent

BOOT = """grep -aoh 'vmrole-[0-9a-f]*' "$file" """
HANG = "exec sleep 30"
DIE = "echo 'error: failed to set MSR 0x10a' >&2; exit 134"
DEADLINE_S = 0.5


class Emulator:
    """A stand-in for QEMU: what it does by accelerator, and by whether Linux is booted."""

    def __init__(self, place: Path, kvm: str, tcg: str, linux_kvm: str = BOOT, linux_tcg: str = BOOT) -> None:
        self.path = place / "qemu"
        self._runs = place / "runs"
        self.version = "9.9.9"
        self._does = {"kvm": kvm, "tcg": tcg, "kvm-linux": linux_kvm, "tcg-linux": linux_tcg}
        self.write()

    def write(self) -> None:
        """Writes the script as it should behave now."""
        lines = ["#!/bin/bash", f'echo "$*" >> {self._runs}']
        lines.append(f'[ "$1" = --version ] && {{ echo "QEMU emulator version {self.version}"; exit; }}')
        lines.append('while [ $# -gt 0 ]; do case "$1" in -accel) accel=$2;; -kernel) file=$2;; esac')
        lines.append('[ "$1" = -initrd ] && { linux=-linux; file=$2; }; shift; done')
        lines.append('case "$accel$linux" in')
        lines += [f"{case}) {what};;" for case, what in self._does.items()]
        self.path.write_text("\n".join([*lines, "esac", ""]))
        self.path.chmod(0o700)

    def boots(self) -> list[str]:
        """Which accelerators were asked to boot something, in order."""
        runs = self._runs.read_text().splitlines() if self._runs.exists() else []
        return [run.split()[1] for run in runs if not run.startswith("--version")]


def chosen(place: Path, emulator: Emulator, kernels: tuple[Path, ...] = (), device: str = "/dev/null") -> Choice:
    return choose(
        "auto",
        place / "cache",
        emulator=emulator.path,
        device=Path(device),
        kernels=kernels,
        deadline_s=DEADLINE_S,
    )


def test_kvm_when_a_guest_boots_in_it(tmp_path: Path) -> None:
    """A guest that boots in KVM is the proof; the control is not needed, and the next time nothing is booted."""
    emulator = Emulator(tmp_path, kvm=BOOT, tcg=DIE)
    first = chosen(tmp_path, emulator)
    assert (first.accelerator, first.cached, emulator.boots()) == (Accelerator.KVM, False, ["kvm"])
    again = chosen(tmp_path, emulator)
    assert (again.accelerator, again.cached, emulator.boots()) == (Accelerator.KVM, True, ["kvm"])


def test_tcg_when_the_guest_hangs_in_kvm(tmp_path: Path) -> None:
    """A guest that says nothing in KVM is given up at the deadline; the same one must boot in TCG."""
    emulator = Emulator(tmp_path, kvm=HANG, tcg=BOOT)
    choice = chosen(tmp_path, emulator)
    assert (choice.accelerator, emulator.boots()) == (Accelerator.TCG, ["kvm", "tcg"])
    assert "nothing within" in choice.evidence
    assert "does in TCG" in choice.because
    assert chosen(tmp_path, emulator).cached


def test_tcg_when_qemu_dies_in_kvm(tmp_path: Path) -> None:
    """QEMU's last words are the evidence."""
    choice = chosen(tmp_path, Emulator(tmp_path, kvm=DIE, tcg=BOOT))
    assert choice.accelerator is Accelerator.TCG
    assert "failed to set MSR 0x10a" in choice.evidence


def test_a_guest_that_boots_nowhere_proves_nothing(tmp_path: Path) -> None:
    """When the control fails too, TCG is used, and the question is asked again next time."""
    emulator = Emulator(tmp_path, kvm=DIE, tcg=DIE)
    assert chosen(tmp_path, emulator).accelerator is Accelerator.TCG
    assert not chosen(tmp_path, emulator).cached


@pytest.mark.parametrize(
    ("in_kvm", "in_tcg", "wanted"),
    [
        (BOOT, DIE, Accelerator.KVM),
        (HANG, BOOT, Accelerator.TCG),
        (DIE, DIE, Accelerator.KVM),  # a kernel that boots nowhere shows nothing about KVM
    ],
)
def test_linux_has_a_say_too(tmp_path: Path, in_kvm: str, in_tcg: str, wanted: Accelerator) -> None:
    """Where a kernel lies on the host it must boot as well, unless it does not even boot in TCG."""
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(bytes(0x202) + b"HdrS")
    (tmp_path / "text").write_text("not a kernel")
    emulator = Emulator(tmp_path, kvm=BOOT, tcg=BOOT, linux_kvm=in_kvm, linux_tcg=in_tcg)
    kernels = (tmp_path / "absent", tmp_path / "text", kernel)
    assert chosen(tmp_path, emulator, kernels).accelerator is wanted


def test_another_qemu_or_kernel_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found holds for one version of QEMU and of the kernel; a broken note of it counts as none."""
    emulator = Emulator(tmp_path, kvm=BOOT, tcg=BOOT)
    chosen(tmp_path, emulator)
    emulator.version = "10.0.0"
    emulator.write()
    assert not chosen(tmp_path, emulator).cached
    assert chosen(tmp_path, emulator).cached
    monkeypatch.setattr(platform, "release", lambda: "7.0.0-amd64")
    assert not chosen(tmp_path, emulator).cached
    assert chosen(tmp_path, emulator).cached
    for broken in ("", "[]", '{"key": 1}', json.dumps({"key": {}, "accelerator": "warp"})):
        (tmp_path / "cache" / "accelerator.json").write_text(broken)
        assert not chosen(tmp_path, emulator).cached


def test_the_configuration_decides_first(tmp_path: Path) -> None:
    """`kvm` and `tcg` are taken as said: nothing is booted, and no QEMU is needed."""
    for wish in ("kvm", "tcg"):
        choice = choose(wish, tmp_path, emulator=tmp_path / "none", device=tmp_path / "none")
        assert choice.accelerator == wish
        assert "configuration" in choice.because


def test_without_a_device_nothing_is_booted(tmp_path: Path) -> None:
    """No /dev/kvm, no KVM: that is said, and not kept, for the device may come."""
    emulator = Emulator(tmp_path, kvm=BOOT, tcg=BOOT)
    choice = chosen(tmp_path, emulator, device="/dev/no-such-device")
    assert (choice.accelerator, choice.because) == (Accelerator.TCG, "/dev/no-such-device does not exist")
    assert emulator.boots() == []
    assert not (tmp_path / "cache").exists()


def test_a_device_that_went_is_missed(tmp_path: Path) -> None:
    """KVM that was found once is not believed when its device is no longer there."""
    emulator = Emulator(tmp_path, kvm=BOOT, tcg=BOOT)
    assert chosen(tmp_path, emulator).accelerator is Accelerator.KVM
    assert chosen(tmp_path, emulator, device="/dev/no-such-device").accelerator is Accelerator.TCG
    assert chosen(tmp_path, emulator).cached


def test_without_qemu_it_says_so(tmp_path: Path) -> None:
    """A host without QEMU is an error, not a choice."""
    with pytest.raises(Permanent, match="no such command"):
        choose("auto", tmp_path, emulator=tmp_path / "none")


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    """The choice is made all the same."""
    (tmp_path / "cache").write_text("a file, not a directory")
    assert chosen(tmp_path, Emulator(tmp_path, kvm=BOOT, tcg=BOOT)).accelerator is Accelerator.KVM


def test_the_initramfs_is_one_that_linux_reads() -> None:
    """newc: magic, padding to four, a console and an executable /init with the word in it, and the trailer."""
    archive = probe_guest.initramfs("vmrole-word")
    names, at = [], 0
    while at < len(archive):
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * one : at + 14 + 8 * one], 16) for one in range(13)]
        name_bytes, body_bytes, mode = numbers[11], numbers[6], numbers[1]
        names.append((archive[at + 110 : at + 110 + name_bytes - 1].decode(), oct(mode), tuple(numbers[9:11])))
        at += -(-(110 + name_bytes) // 4) * 4 + -(-body_bytes // 4) * 4
    assert names == [
        ("dev", "0o40755", (0, 0)),
        ("dev/console", "0o20600", (5, 1)),
        ("init", "0o100755", (0, 0)),
        ("TRAILER!!!", "0o0", (0, 0)),
    ]
    assert b"vmrole-word\n" in archive


def test_deadlines_are_those_that_were_promised() -> None:
    """A host is not kept waiting for more than 15 s by a KVM that hangs, per guest."""
    assert accelerator.DEADLINE_S <= 15
