"""The reader of qcow2 headers. Source: QEMU's docs/interop/qcow2.txt."""

from __future__ import annotations

import struct

from orchestrator.imagefiles import qcow2_clusters
from orchestrator.imagefiles.reading import MIB, Inspection, Source, SourceFormat, rejected

_HEADER_V2 = struct.Struct(">4sIQIIQIIQQIIQ")  # 72 bytes
_HEADER_V3 = struct.Struct(">QQQII")  # 32 more
_INCOMPATIBLE_DIRTY, _INCOMPATIBLE_CORRUPT, _INCOMPATIBLE_DATA_FILE = 1, 2, 4
_INCOMPATIBLE_COMPRESSION, _INCOMPATIBLE_EXTENDED_L2 = 8, 16
_EXTENSION_END, _EXTENSION_BACKING_FORMAT, _EXTENSION_DATA_FILE = 0, 0xE2792ACA, 0x44415441
_EXTENSION_ENCRYPTION = 0x0537BE77
_EXTENSION_BITMAPS = 0x23852875
_CONVERT = "make it anew where it comes from: qemu-img convert -O qcow2 IN OUT"


def virtual_size_bytes(source: Source) -> int:
    """What the header says, of a file that is ours and may have a backing file. Raises ImageRejected when cut off."""
    return int(_HEADER_V2.unpack(source.at(0, _HEADER_V2.size, "header"))[5])


def refuse_elsewhere(source: Source) -> None:
    """Raises ImageRejected when the data of an overlay lie in yet another file than those that it stands on."""
    head = source.at(0, _HEADER_V2.size + _HEADER_V3.size, "header")
    if (
        _HEADER_V2.unpack_from(head)[1] > 2
        and _HEADER_V3.unpack_from(head, _HEADER_V2.size)[0] & _INCOMPATIBLE_DATA_FILE
    ):
        raise rejected(
            "data-file", "its data lies in another file", "reimage the instance: nothing of ours makes such"
        )


def inspect(source: Source, *, convert: bool) -> Inspection:
    """Reads the header; to be converted, a disk may have what only a base must not: snapshots, bitmaps, subclusters.

    Whatever names another file is refused either way.
    """
    head = source.at(0, min(source.size, 512), "header")
    if len(head) < _HEADER_V2.size:
        raise rejected("truncated", "the header is cut off", "copy the file again")
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
        raise rejected("version", f"qcow2 version {version}", "only versions 2 and 3 are known")
    if backing_offset or backing_bytes:
        raise rejected("backing-file", "it stands on a backing file", "flatten it: qemu-img convert -O qcow2 IN OUT")
    if crypt:
        raise rejected("encrypted", f"it is encrypted (method {crypt})", "decrypt it: qemu-img convert")
    if (snapshots or snapshots_offset) and not convert:
        raise rejected("snapshots", f"it holds {snapshots} internal snapshots", "leave them behind: add --convert")
    if not 9 <= cluster_bits <= 21:
        raise rejected("header", f"cluster bits {cluster_bits}", "QEMU allows 9 to 21")
    if virtual_size % 512:
        # QEMU rounds down to whole sectors, so that two readers would see two sizes.
        raise rejected("size", f"a disk of {virtual_size} bytes is not a whole number of sectors", _CONVERT)
    cluster = 1 << cluster_bits
    header_bytes, l2_entry_bytes = _HEADER_V2.size, 8
    if version == 3:
        header_bytes, l2_entry_bytes = _version_3(head, convert=convert)
    mapped = cluster * (cluster // l2_entry_bytes)  # by one entry of the L1 table
    tables = (l1_entries, l1_offset), (refcount_clusters, refcount_offset)
    _check_tables(source.size, cluster, -(-virtual_size // mapped), *tables)
    _check_extensions(source, header_bytes, cluster, convert=convert)
    layout = qcow2_clusters.Layout(
        version=version,
        cluster_bits=cluster_bits,
        virtual_size_bytes=virtual_size,
        extended=l2_entry_bytes == 16,
        l1_at=l1_offset,
        l1_entries=l1_entries,
        refcounts_at=refcount_offset,
        refcounts_clusters=refcount_clusters,
    )
    return Inspection(
        format=SourceFormat.QCOW2,
        virtual_size_bytes=virtual_size,
        cluster_bytes=cluster,
        compressed=True,
        packed=qcow2_clusters.check(source, layout),
    )


def _version_3(head: bytes, *, convert: bool) -> tuple[int, int]:
    """Checks the fields that version 3 adds; returns the bytes of the header and of an entry of an L2 table."""
    if len(head) < _HEADER_V2.size + _HEADER_V3.size:
        raise rejected("truncated", "the header is cut off", "copy the file again")
    incompatible, _, autoclear, refcount_order, header_bytes = _HEADER_V3.unpack_from(head, _HEADER_V2.size)
    named = {
        _INCOMPATIBLE_DIRTY: ("dirty", "it was not closed properly", "repair it: qemu-img check -r all"),
        _INCOMPATIBLE_CORRUPT: ("corrupt", "it is marked corrupt", "repair it: qemu-img check -r all"),
        _INCOMPATIBLE_DATA_FILE: ("data-file", "its data lies in another file", "flatten it: qemu-img convert"),
        _INCOMPATIBLE_EXTENDED_L2: ("extended-l2", "it has extended L2 entries", "add --convert"),
    }
    extended = bool(incompatible & _INCOMPATIBLE_EXTENDED_L2)
    if convert:
        incompatible &= ~_INCOMPATIBLE_EXTENDED_L2
    for bit, (reason, told, hint) in named.items():
        if incompatible & bit:
            raise rejected(reason, told, hint)
    if unknown := incompatible & ~_INCOMPATIBLE_COMPRESSION:
        raise rejected("unknown-feature", f"unknown incompatible features {unknown:#x}", _CONVERT)
    if autoclear & ~1:
        raise rejected("data-file", f"autoclear features {autoclear:#x}", "flatten it: qemu-img convert")
    if refcount_order > 6:
        raise rejected("header", f"refcount order {refcount_order}", "QEMU allows 0 to 6")
    if header_bytes < 104 or header_bytes % 8 or header_bytes > 4096:
        raise rejected("header", f"a header of {header_bytes} bytes", _CONVERT)
    compression = head[104] if header_bytes > 104 and len(head) > 104 else 0
    if bool(incompatible & _INCOMPATIBLE_COMPRESSION) != (compression != 0) or compression > 1:
        raise rejected("header", f"compression type {compression}", "zlib (0) or zstd (1)")
    return int(header_bytes), 16 if extended else 8


def _check_tables(size: int, cluster: int, l1_needed: int, l1: tuple[int, int], refcounts: tuple[int, int]) -> None:
    """Both tables lie inside the file, on cluster borders, and the first is as long as the disk needs."""
    l1_entries, l1_offset = l1
    refcount_clusters, refcount_offset = refcounts
    if l1_entries < l1_needed or l1_entries * 8 > 32 * MIB:
        raise rejected("header", f"{l1_entries} L1 entries where {l1_needed} are needed", _CONVERT)
    tables = {
        "L1 table": (l1_offset, l1_entries * 8),
        "refcount table": (refcount_offset, refcount_clusters * cluster),
    }
    for name, (offset, length) in tables.items():
        if offset % cluster or offset < cluster or offset + length > size:
            raise rejected(
                "truncated", f"its {name} lies at {offset}, length {length}, in {size} bytes", "copy it again"
            )
    if not 0 < refcount_clusters * cluster <= 8 * MIB:
        raise rejected("header", f"a refcount table of {refcount_clusters} clusters", _CONVERT)


def _check_extensions(source: Source, header_bytes: int, cluster: int, *, convert: bool) -> None:
    """Walks the header extensions, which must end within the first cluster."""
    end = min(cluster, source.size)
    area = source.at(header_bytes, max(0, end - header_bytes), "header extensions")
    at = 0
    while at + 8 <= len(area):
        kind, length = struct.unpack_from(">II", area, at)
        if kind == _EXTENSION_END and at + 8 + length <= len(area):
            return
        if kind == _EXTENSION_DATA_FILE:
            raise rejected("data-file", "it names an external data file", "flatten it: qemu-img convert")
        if kind == _EXTENSION_BACKING_FORMAT:
            raise rejected("backing-file", "it names the format of a backing file", "flatten it: qemu-img convert")
        if kind == _EXTENSION_ENCRYPTION:
            raise rejected("encrypted", "it names an encryption header", "decrypt it: qemu-img convert")
        if kind == _EXTENSION_BITMAPS and not convert:
            raise rejected("bitmaps", "it holds dirty bitmaps", "leave them behind: add --convert")
        at += 8 + (length + 7) // 8 * 8
    if at > len(area):
        raise rejected("header", "a header extension reaches past the first cluster", _CONVERT)
