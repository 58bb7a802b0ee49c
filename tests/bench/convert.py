"""What `vmrole image add --convert` costs above plain `qemu-img convert`, on one dynamic VHD of real content."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.drivers.images import image_convert
from orchestrator.drivers.tools.room import Room
from orchestrator.imagefiles import SourceFormat

MIB = 1024 * 1024
CONTENT_BYTES = 400 * MIB
DISK_BYTES = 2048 * MIB
PAIRS = 7
TRIES = 5  # The best of so many counts: a quarter of a second is easily disturbed by what else runs.
_CAP = 1 << 40
# Programs and libraries: what a system disk is full of.
_ROOTS = (Path("/usr/lib"), Path("/usr/bin"), Path("/usr/share"))


def convert_ratio() -> tuple[str, float | None, list[float]]:
    """Our whole conversion step (reading all headers and tables, limits, progress) against qemu-img's.

    In turns, each time from the same cached file into a new one. What every `image add` does as well, copying
    the upload and hashing and checking what is kept, is in neither.
    """
    ratios = []
    with tempfile.TemporaryDirectory(prefix="vmrole-convert-") as name:
        place = Path(name)
        disk = _disk(place)
        out = place / "out.qcow2"
        plain = ["qemu-img", "convert", "-f", "vpc", "-O", "qcow2", str(disk), str(out)]
        both: list[Callable[[], object]] = [
            lambda: image_convert.to_qcow2([disk], SourceFormat.VHD, out, virtual_size_max=_CAP, room=Room(place)),
            lambda: subprocess.run(plain, check=True),
        ]
        for do in both:  # The first of each warms the caches.
            _timed(do, out)
        for _ in range(PAIRS):
            took = [[_timed(do, out) for do in both] for _ in range(TRIES)]
            ours, theirs = (min(times) for times in zip(*took, strict=True))
            print(f"  convert {ours:.2f} s, qemu-img {theirs:.2f} s", flush=True)
            ratios.append(ours / theirs)
    return "ratio", 1.1, ratios


def _timed(do: Callable[[], object], out: Path) -> float:
    """In seconds; `out` goes at once, before it is written back to the disk."""
    began = time.monotonic()
    do()
    took = time.monotonic() - began
    out.unlink()
    return took


def _disk(place: Path) -> Path:
    """A dynamic VHD with files of this host in it, every part of 16 MiB followed by a hole."""
    raw, disk = place / "disk.raw", place / "disk.vhd"
    part, step = 16 * MIB, DISK_BYTES // (CONTENT_BYTES // (16 * MIB))
    with raw.open("wb") as out:
        left = part
        for data in _content():
            chunk = memoryview(data)
            while chunk:
                count = out.write(chunk[:left])
                chunk, left = chunk[count:], left - count
                if not left:
                    out.seek(step - part, os.SEEK_CUR)
                    left = part
        out.truncate(DISK_BYTES)
    argv = ["qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=dynamic,force_size=on"]
    subprocess.run([*argv, str(raw), str(disk)], check=True)
    raw.unlink()
    return disk


def _content() -> Iterator[bytes]:
    """CONTENT_BYTES of the host's own files, again from the first when they end."""
    left = CONTENT_BYTES
    files = [path for root in _ROOTS for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
    while left:
        for path in files:
            data = path.read_bytes()[:left]
            left -= len(data)
            if data:
                yield data
            if not left:
                return
