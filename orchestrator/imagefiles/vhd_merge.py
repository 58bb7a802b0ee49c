"""A VHD and the disks that it stands on become one raw disk: what no program on the host can do for us.

Differencing disks know sector by sector what is theirs (a bitmap before each block, highest bit first); everything
else is their parent's. Source: the VHD specification, see `vhd`. The disks were checked when they were read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO

from orchestrator.imagefiles.reading import MIB, SECTOR
from orchestrator.imagefiles.vhd import DiskType, Vhd, used

_CHUNK = 2 * MIB
_ZEROS = bytes(_CHUNK)
_RUN = re.compile("1+")


def merge(chain: Sequence[Vhd], out: BinaryIO, progress: Callable[[int], None] = lambda _: None) -> None:
    """Writes the disk that `chain` (nearest first) makes into the empty file `out`, leaving holes where it is zero.

    `progress` is told of the bytes of each block that was read.
    """
    out.truncate(chain[0].size_bytes)
    for disk in reversed(chain):
        for at, data in _written(disk):
            out.seek(at)
            out.write(data)
            progress(len(data))


def _written(disk: Vhd) -> Iterator[tuple[int, bytes]]:
    """Where in the disk which bytes are the file's own."""
    if disk.kind is DiskType.FIXED:
        for at in range(0, disk.size_bytes, _CHUNK):
            data = disk.source.at(at, min(_CHUNK, disk.size_bytes - at), "data")
            if data != _ZEROS[: len(data)]:
                yield at, data
        return
    for number, sector in used(disk):
        at = number * disk.block_bytes
        length = min(disk.block_bytes, disk.size_bytes - at)
        if length <= 0:
            continue  # An entry past the end of the disk: the table may be longer than is needed.
        bitmap = disk.source.at(sector * SECTOR, disk.bitmap_bytes, "bitmap")
        data = disk.source.at(sector * SECTOR + disk.bitmap_bytes, length, "block")
        if disk.kind is DiskType.DYNAMIC:
            yield at, data  # A sector that was never written is zero in the file as well.
            continue
        bits = f"{int.from_bytes(bitmap):0{len(bitmap) * 8}b}"
        for run in _RUN.finditer(bits, 0, length // SECTOR):
            first, last = run.start() * SECTOR, run.end() * SECTOR
            yield at + first, data[first:last]
