"""Our own reader of image headers: what may become a base image, decided before any other program opens the file.

Sources: QEMU's docs/interop/qcow2.txt for the header; the magics of other formats from their specifications. A base
must stand alone: whatever could make a program open another file, ask for a key or misread the size is refused.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from typing import BinaryIO

from orchestrator.errors import ImageRejected
from orchestrator.model import DiskFormat

MIB = 1024 * 1024
VIRTUAL_SIZE_LEAST = MIB
ISO_MAGIC_AT = 0x8001  # ISO 9660 volume descriptor, sector 16
_QCOW2_MAGIC = b"QFI\xfb"
# Format by the bytes that a file of it begins with.
_MAGICS = {
    _QCOW2_MAGIC: "qcow2",
    b"KDMV": "VMDK",
    b"COWD": "VMDK",
    b"# Disk DescriptorFile": "VMDK descriptor",
    b"conectix": "VHD",
    b"cxsparse": "VHD",
    b"vhdxfile": "VHDX",
    b"QED\x00": "QED",
    b"LUKS\xba\xbe": "LUKS",
    b"SKUL\xba\xbe": "LUKS",
    b"WithoutFreeSpace": "Parallels",
    b"WithouFreSpacExt": "Parallels",
    b"Bochs Virtual HD Image": "Bochs",
    b"#!/bin/sh\n#V2.0 Format": "cloop",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
}
_VDI_MAGIC, _VDI_AT = b"\x7f\x10\xda\xbe", 64
_VHD_FOOTER = b"conectix"

_HEADER_V2 = struct.Struct(">4sIQIIQIIQQIIQ")  # 72 bytes
_HEADER_V3 = struct.Struct(">QQQII")  # 32 more
_INCOMPATIBLE_DIRTY, _INCOMPATIBLE_CORRUPT, _INCOMPATIBLE_DATA_FILE = 1, 2, 4
_INCOMPATIBLE_COMPRESSION, _INCOMPATIBLE_EXTENDED_L2 = 8, 16
_EXTENSION_END, _EXTENSION_BACKING_FORMAT, _EXTENSION_DATA_FILE = 0, 0xE2792ACA, 0x44415441
_EXTENSION_ENCRYPTION = 0x0537BE77
_EXTENSION_BITMAPS = 0x23852875


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the header says. Sizes in bytes."""

    format: DiskFormat
    virtual_size_bytes: int
    cluster_bytes: int = 0  # qcow2 only


def inspect(file: BinaryIO, claimed: DiskFormat | None, *, virtual_size_max: int) -> Inspection:
    """Reads the header of a whole, seekable file. `claimed` None means qcow2: raw must be said.

    Raises ImageRejected with a reason that is a stable word.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(max(512, _HEADER_V2.size + _HEADER_V3.size))
    wanted = claimed or DiskFormat.QCOW2
    _refuse_other_formats(file, head, size, wanted, guessed=claimed is None)
    match wanted:
        case DiskFormat.RAW:
            found = Inspection(format=DiskFormat.RAW, virtual_size_bytes=size)
            if size % 512:
                raise _rejected("size", f"a raw disk of {size} bytes is not a whole number of sectors", "was it cut?")
        case DiskFormat.QCOW2:
            found = _qcow2(file, head, size)
    if found.virtual_size_bytes > virtual_size_max:
        told = (
            f"its disk is {found.virtual_size_bytes // MIB} MiB, more than the cap of {virtual_size_max // MIB} MiB"
        )
        raise _rejected("virtual-size", told, "raise image_virtual_size_max_gib if that is meant")
    if found.virtual_size_bytes < VIRTUAL_SIZE_LEAST:
        raise _rejected("virtual-size", "its disk is smaller than 1 MiB", "is this a whole disk image?")
    return found


def _refuse_other_formats(file: BinaryIO, head: bytes, size: int, wanted: DiskFormat, *, guessed: bool) -> None:
    """A file is what it is said to be, and nothing else at the same time."""
    looks = {name for magic, name in _MAGICS.items() if head.startswith(magic)}
    if head[_VDI_AT : _VDI_AT + 4] == _VDI_MAGIC:
        looks.add("VDI")
    if size >= 512:
        file.seek(size - 512)
        if file.read(8) == _VHD_FOOTER:
            looks.add("VHD")
    if size > ISO_MAGIC_AT + 5:
        file.seek(ISO_MAGIC_AT)
        if file.read(5) == b"CD001":
            looks.add("ISO 9660")
    own = {"qcow2"} if wanted is DiskFormat.QCOW2 else set()
    if wanted is DiskFormat.QCOW2 and "qcow2" not in looks:
        kind = " and ".join(sorted(looks)) or "raw, or nothing that we know"
        hint = (
            "if it is a raw disk, say --format raw" if not looks else "convert it: qemu-img convert -O qcow2 IN OUT"
        )
        raise _rejected(
            "format", f"not qcow2: it looks like {kind}", hint if guessed or looks else "check the format"
        )
    if looks - own:
        also = " and ".join(sorted(looks - own))
        raise _rejected("second-magic", f"claimed to be {wanted}, but it looks like {also} too", "convert it again")


def _qcow2(file: BinaryIO, head: bytes, size: int) -> Inspection:
    if len(head) < _HEADER_V2.size:
        raise _rejected("truncated", "the header is cut off", "copy the file again")
    (
        _,
        version,
        backing_offset,
        backing_bytes,
        cluster_bits,
        virtual_size,
        crypt,
        l1_entries,
        l1_offset,
        refcount_offset,
        refcount_clusters,
        snapshots,
        snapshots_offset,
    ) = _HEADER_V2.unpack_from(head)
    if version not in (2, 3):
        raise _rejected("version", f"qcow2 version {version}", "only versions 2 and 3 are known")
    if backing_offset or backing_bytes:
        raise _rejected("backing-file", "it stands on a backing file", "flatten it: qemu-img convert -O qcow2 IN OUT")
    if crypt:
        raise _rejected("encrypted", f"it is encrypted (method {crypt})", "decrypt it: qemu-img convert")
    if snapshots or snapshots_offset:
        raise _rejected("snapshots", f"it holds {snapshots} internal snapshots", "remove them: qemu-img snapshot -d")
    if not 9 <= cluster_bits <= 21:
        raise _rejected("header", f"cluster bits {cluster_bits}", "QEMU allows 9 to 21")
    if virtual_size % 512:
        # QEMU rounds down to whole sectors, so that two readers would see two sizes.
        raise _rejected("size", f"a disk of {virtual_size} bytes is not a whole number of sectors", "convert it")
    cluster = 1 << cluster_bits
    header_bytes = _HEADER_V2.size
    if version == 3:
        header_bytes = _version_3(head)
    _check_tables(size, cluster, virtual_size, (l1_entries, l1_offset), (refcount_clusters, refcount_offset))
    _check_extensions(file, header_bytes, cluster)
    return Inspection(format=DiskFormat.QCOW2, virtual_size_bytes=virtual_size, cluster_bytes=cluster)


def _version_3(head: bytes) -> int:
    """Checks the fields that version 3 adds; returns the length of the header in bytes."""
    if len(head) < _HEADER_V2.size + _HEADER_V3.size:
        raise _rejected("truncated", "the header is cut off", "copy the file again")
    incompatible, _, autoclear, refcount_order, header_bytes = _HEADER_V3.unpack_from(head, _HEADER_V2.size)
    named = {
        _INCOMPATIBLE_DIRTY: ("dirty", "it was not closed properly", "repair it: qemu-img check -r all"),
        _INCOMPATIBLE_CORRUPT: ("corrupt", "it is marked corrupt", "repair it: qemu-img check -r all"),
        _INCOMPATIBLE_DATA_FILE: ("data-file", "its data lies in another file", "flatten it: qemu-img convert"),
        _INCOMPATIBLE_EXTENDED_L2: ("extended-l2", "it has extended L2 entries", "convert it: qemu-img convert"),
    }
    for bit, (reason, told, hint) in named.items():
        if incompatible & bit:
            raise _rejected(reason, told, hint)
    if unknown := incompatible & ~_INCOMPATIBLE_COMPRESSION:
        raise _rejected(
            "unknown-feature", f"unknown incompatible features {unknown:#x}", "convert it: qemu-img convert"
        )
    if autoclear & ~1:
        raise _rejected("data-file", f"autoclear features {autoclear:#x}", "flatten it: qemu-img convert")
    if refcount_order > 6:
        raise _rejected("header", f"refcount order {refcount_order}", "QEMU allows 0 to 6")
    if header_bytes < 104 or header_bytes % 8 or header_bytes > 4096:
        raise _rejected("header", f"a header of {header_bytes} bytes", "convert it: qemu-img convert")
    compression = head[104] if header_bytes > 104 and len(head) > 104 else 0
    if bool(incompatible & _INCOMPATIBLE_COMPRESSION) != (compression != 0) or compression > 1:
        raise _rejected("header", f"compression type {compression}", "zlib (0) or zstd (1)")
    return int(header_bytes)


def _check_tables(
    size: int, cluster: int, virtual_size: int, l1: tuple[int, int], refcounts: tuple[int, int]
) -> None:
    """Both tables lie inside the file, on cluster borders, and the first is as long as the disk needs."""
    l1_entries, l1_offset = l1
    refcount_clusters, refcount_offset = refcounts
    per_l1_entry = cluster * (cluster // 8)
    needed = -(-virtual_size // per_l1_entry)
    if l1_entries < needed or l1_entries * 8 > 32 * MIB:
        raise _rejected("header", f"{l1_entries} L1 entries for a disk of {virtual_size} bytes", "convert it")
    tables = {
        "L1 table": (l1_offset, l1_entries * 8),
        "refcount table": (refcount_offset, refcount_clusters * cluster),
    }
    for name, (offset, length) in tables.items():
        if offset % cluster or offset < cluster or offset + length > size:
            raise _rejected(
                "truncated", f"its {name} lies at {offset}, length {length}, in {size} bytes", "copy it again"
            )
    if not 0 < refcount_clusters * cluster <= 8 * MIB:
        raise _rejected("header", f"a refcount table of {refcount_clusters} clusters", "convert it: qemu-img convert")


def _check_extensions(file: BinaryIO, header_bytes: int, cluster: int) -> None:
    """Walks the header extensions, which must end within the first cluster."""
    file.seek(header_bytes)
    area = file.read(max(0, cluster - header_bytes))
    at = 0
    while at + 8 <= len(area):
        kind, length = struct.unpack_from(">II", area, at)
        if kind == _EXTENSION_END:
            return
        if kind == _EXTENSION_DATA_FILE:
            raise _rejected("data-file", "it names an external data file", "flatten it: qemu-img convert")
        if kind == _EXTENSION_BACKING_FORMAT:
            raise _rejected("backing-file", "it names the format of a backing file", "flatten it: qemu-img convert")
        if kind == _EXTENSION_ENCRYPTION:
            raise _rejected("encrypted", "it names an encryption header", "decrypt it: qemu-img convert")
        if kind == _EXTENSION_BITMAPS:
            raise _rejected("bitmaps", "it holds dirty bitmaps", "convert it: qemu-img convert")
        at += 8 + (length + 7) // 8 * 8
    if at > len(area):
        raise _rejected("header", "a header extension reaches past the first cluster", "convert it: qemu-img convert")


def _rejected(reason: str, message: str, hint: str) -> ImageRejected:
    return ImageRejected(f"the image is refused ({reason}): {message}", reason=reason, hint=hint)
