"""Other C: drives for the simulator: a copy of the image with more files on it. Needs neither root nor a mount."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from vmrole_images.disk import PARTITION_START
from vmrole_images.setup_simulator import SYSTEM_DRIVE
from vmrole_images.tools import run


def variant(image: Path, output: Path, files: Mapping[str, bytes]) -> None:
    """Writes a standalone copy of the image to `output` with these files on its C:, e.g. simulator.json.

    Paths have `/` and the case that they have on the disk. Raises BuildError.
    """
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".variant-") as place:
        work = Path(place)
        raw, script = work / "disk.raw", work / "commands"
        run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw])
        lines: list[str] = []
        for number, (name, content) in enumerate(files.items()):
            (work / f"{number}").write_bytes(content)
            path = PurePosixPath("/", SYSTEM_DRIVE, name)
            lines += [f'mkdir "{parent}"' for parent in reversed(path.parents) if len(parent.parts) > 2]
            lines += [f'rm "{path}"', f'write "{work / str(number)}" "{path}"']
        script.write_text("".join(f"{line}\n" for line in lines))
        run(["debugfs", "-w", "-f", script, f"{raw}?offset={PARTITION_START}"])
        run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, output])
