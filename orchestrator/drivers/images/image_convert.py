"""A disk of another format, or a VHD and its parents, becomes one standalone qcow2. All files are copies of our own.

The headers of every file are read by us first; only a disk that stands alone, or was joined by us, reaches qemu-img.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator import imagefiles
from orchestrator.drivers.images import image_incoming, qemu_img
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import Inspection, SourceFormat, vhd
from orchestrator.imagefiles.reading import MIB, Source
from orchestrator.imagefiles.vhd_merge import merge

log = logging.getLogger(__name__)
Progress = Callable[[float], None]  # percent done; may raise


def to_qcow2(
    disks: Sequence[Path],
    claimed: SourceFormat | None,
    out: Path,
    *,
    virtual_size_max: int,
    room: Room,
    progress: Progress = lambda _: None,
) -> Inspection:
    """Writes `out`: what `disks` (the disk and its parents, nearest first) hold. Returns what we saw in the source.

    Raises ImageRejected, NoSpace, or what `progress` raises. `out` is the caller's to remove.
    """
    with contextlib.ExitStack() as undo:
        files = [undo.enter_context(path.open("rb")) for path in disks]
        found = imagefiles.inspect(
            files[0], claimed, virtual_size_max=virtual_size_max, convert=True, parents=files[1:]
        )
        source = disks[0]
        if found.format is SourceFormat.VHD and found.virtual_size_bytes % MIB:
            log.warning("a VHD of %d bytes: Azure itself takes only whole MiB", found.virtual_size_bytes)
        if found.differencing:
            chain = vhd.chain([Source(file) for file in files], virtual_size_max)
            source = image_incoming.empty_file(out.parent, undo)
            with source.open("wb") as joined:

                def heard(_count: int) -> None:
                    room.require(0)
                    progress(0.0)

                merge(chain, joined, heard)
            found = Inspection(format=SourceFormat.RAW, virtual_size_bytes=found.virtual_size_bytes)
        if found.format is SourceFormat.QCOW2:
            qemu_img.check(source)  # Its refcounts, and what belongs to snapshots: we look at the disk alone.
        qemu_img.convert(source, found, out, progress, most_bytes=room.free_bytes())
        _agree(found, out, virtual_size_max)
        return found


def _agree(found: Inspection, out: Path, virtual_size_max: int) -> None:
    """What qemu-img took for the disk's size it has given to the new one: it must be what we saw."""
    with out.open("rb") as file:
        made = imagefiles.inspect(file, SourceFormat.QCOW2, virtual_size_max=virtual_size_max)
    if made.virtual_size_bytes != found.virtual_size_bytes:
        raise ImageRejected(
            f"the image is refused (disagreement): qemu-img sees {made.virtual_size_bytes} bytes; its header says "
            f"{found.virtual_size_bytes}",
            reason="disagreement",
            hint="convert it where it was made",
        )
