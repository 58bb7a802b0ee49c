"""A tiny initramfs: busybox, the drivers of the root disk, and a script that finds the root by its UUID.

Written as a newc archive by hand: the same input gives the same bytes, and neither cpio nor root is needed.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from vmrole_images import kernel as kernels
from vmrole_images.kernel import Kernel

ROOT_DRIVERS = ("virtio_pci", "virtio_blk", "ext4")
_TRAILER = "TRAILER!!!"


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One member of the archive; a directory has no content."""

    name: str
    mode: int  # with the file type, as st_mode
    content: bytes = b""


def archive(entries: Iterable[Entry], *, epoch_s: int) -> bytes:
    """A cpio archive in newc format, all owned by root, every time equal to `epoch_s`."""
    out = bytearray()
    for number, entry in enumerate([*entries, Entry(_TRAILER, 0)], start=1):
        name = entry.name.encode() + b"\0"
        time = 0 if entry.name == _TRAILER else epoch_s
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, time, len(entry.content), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4)
        out += entry.content
        out += bytes(-len(out) % 4)
    return bytes(out)


def build(
    kernel: Kernel, busybox: Path, root_uuid: str, *, epoch_s: int, drivers: Sequence[str] = ROOT_DRIVERS
) -> bytes:
    """The archive with initramfs.sh as /init, busybox, and /modules/NN-name.ko in load order.

    `drivers` are what the root disk may need; those built into the kernel are left out.
    """
    init = (Path(__file__).parent / "initramfs.sh").read_text().replace("@ROOT_UUID@", root_uuid)
    directory, program, plain = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755, stat.S_IFREG | 0o644
    entries = [Entry(name, directory) for name in ("bin", "dev", "modules", "root")]
    entries += [Entry("bin/busybox", program, busybox.read_bytes()), Entry("init", program, init.encode())]
    for place, name in enumerate(kernels.load_order(kernel, drivers)):
        entries.append(Entry(f"modules/{place:02}-{name}.ko", plain, kernels.content(kernel, name)))
    return archive(entries, epoch_s=epoch_s)
