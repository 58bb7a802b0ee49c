"""The micro image as a machine with UEFI starts it: an EFI system partition behind its own, with the kernel on it.

The shell of the firmware starts the kernel, and adds one to what it keeps in a variable of its own (in NVRAM): the
kernel's command line tells how often this firmware has booted.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.edited_disk import edited

BOOTS: Final = "uefi_boots="
_MIB: Final = 1 << 20
_PARTITION_MIB: Final = 32
_SECTOR: Final = 512
_CLUSTER: Final = 4 * _SECTOR
_ROOT_ENTRIES: Final = 512
_FAT_SECTORS: Final = 65
_LAST: Final = 0xFFFF
_ARCHIVE: Final = 0x20
_COMMAND_LINE: Final = "quiet console=ttyS0 panic=5 no_timer_check net.ifnames=0 random.trust_cpu=on\n"
_SHELL: Final = f"""@echo -off
set boots %boots%I
fs0:
VMLINUZ.EFI initrd=\\INITRD.IMG {BOOTS}%boots% """


def with_uefi(image: Path, place: Path) -> Path:
    """A copy of the micro image that is started by UEFI alone."""
    with edited(image, place, "uefi") as (disk, made):
        files = {
            "STARTUP.NSH": (_SHELL + _COMMAND_LINE).encode(),
            "VMLINUZ.EFI": disk.read("/boot/vmlinuz"),
            "INITRD.IMG": disk.read("/boot/initramfs"),
        }
        start = disk.raw.stat().st_size
        with disk.raw.open("r+b") as raw:
            raw.seek(start)
            raw.write(_fat16(files))
        table = f"start={start // _SECTOR}, size={_PARTITION_MIB * _MIB // _SECTOR}, type=ef\n"
        argv = ["sfdisk", "--quiet", "--append", "--no-reread", str(disk.raw)]
        subprocess.run(argv, input=table, text=True, check=True, capture_output=True)
    return made


def _fat16(files: dict[str, bytes]) -> bytes:
    """A file system of that size with files in its root, one behind the other."""
    clusters = (_PARTITION_MIB * _MIB // _SECTOR - 1 - 2 * _FAT_SECTORS - _ROOT_ENTRIES * 32 // _SECTOR) // 4
    table, root, data = [0xFFF8, _LAST], b"", bytearray()
    for name, content in files.items():
        stem, _, suffix = name.partition(".")
        first, count = len(table), -(-len(content) // _CLUSTER)
        table += [*range(first + 1, first + count), _LAST]
        entry = f"{stem:<8}{suffix:<3}".encode()
        root += struct.pack("<11sB14xHI", entry, _ARCHIVE, first, len(content))
        data += content.ljust(count * _CLUSTER, b"\0")
    assert len(table) < clusters, "they do not fit"
    fat = struct.pack(f"<{len(table)}H", *table).ljust(_FAT_SECTORS * _SECTOR, b"\0")
    sectors = _PARTITION_MIB * _MIB // _SECTOR
    # fmt: off
    boot = struct.pack(
        "<3s8sHBHBHHBHHHIIBBBI11s8s", b"\xeb\x3c\x90", b"MSWIN4.1", _SECTOR, _CLUSTER // _SECTOR, 1, 2, _ROOT_ENTRIES,
        0, 0xF8, _FAT_SECTORS, 63, 255, 0, sectors, 0x80, 0, 0x29, 0x12345678, b"EFI        ", b"FAT16   ",
    )
    # fmt: on
    boot = boot.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
    laid = boot + fat + fat + root.ljust(_ROOT_ENTRIES * 32, b"\0") + bytes(data)
    return laid.ljust(_PARTITION_MIB * _MIB, b"\0")
