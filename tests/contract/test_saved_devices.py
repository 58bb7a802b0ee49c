"""What QEMU gives away with the memory of a VM: on that hangs which road the hardware of an image can take."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from orchestrator.model import DiskBus, Hardware, Road, Role
from orchestrator.rules import roads

ENDS_WITHIN_S: Final = 60.0
DISK: Final = ("-drive", "if=none,id=disk,file=disk.qcow2,format=qcow2")


class Qemu:
    """A machine that has not begun to run, asked through its monitor."""

    def __init__(self, place: Path, devices: Sequence[str]) -> None:
        argv = [
            "qemu-system-x86_64",
            "-machine",
            "q35,accel=tcg",
            "-m",
            "64",
            "-nodefaults",
            "-display",
            "none",
            "-S",
        ]
        self._process = subprocess.Popen(
            [*argv, "-qmp", "stdio", *devices], cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ask("qmp_capabilities")

    def ask(self, execute: str, **arguments: object) -> dict[str, Any]:
        """The answer; events and the greeting are passed over."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer
        raise AssertionError(f"QEMU has ended: {self._process.wait()}")

    def end(self) -> None:
        """It goes."""
        self._process.kill()
        self._process.communicate(timeout=ENDS_WITHIN_S)


@pytest.mark.parametrize(
    ("bus", "device", "refused"),
    [
        (DiskBus.VIRTIO, "virtio-blk-pci", ""),
        (DiskBus.SATA, "ide-hd", ""),
        (DiskBus.NVME, "nvme,serial=system", "non-migratable device"),
    ],
)
def test_what_is_refused_takes_the_prepared_road(tmp_path: Path, bus: DiskBus, device: str, refused: str) -> None:
    """Of disks. A SATA one could be saved, and is not yet: nothing of it is hot-plugged or tried."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "16M"], cwd=tmp_path, check=True)
    qemu = Qemu(tmp_path, [*DISK, "-device", f"{device},drive=disk"])
    try:
        said = qemu.ask("migrate", uri=f"exec:cat > {tmp_path}/memory")
    finally:
        qemu.end()
    assert refused in str(said.get("error", "")), said
    assert ("error" in said) is bool(refused), said
    role = Role(name="web", image="micro", image_sha256="a" * 64, reimage=Road.WARM, hardware=Hardware(disk_bus=bus))
    assert roads.keeps_memory(role) is (bus is DiskBus.VIRTIO)
    assert roads.keeps(role)
