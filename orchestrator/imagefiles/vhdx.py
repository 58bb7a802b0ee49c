"""The reader of VHDX files that stand alone. Source: Microsoft's [MS-VHDX]; numbers are little-endian.

A disk with a parent is refused, given or not: nobody on this host could join them. So is one whose log is not
empty: it was not closed, and its tables are not what they will be.
"""

from __future__ import annotations

import array
import dataclasses
import functools
import struct
import sys
import uuid
from collections.abc import Iterator

from orchestrator.imagefiles.reading import (
    DAMAGED,
    MIB,
    SECTOR,
    Inspection,
    Source,
    SourceFormat,
    check_apart,
    check_size,
    rejected,
    span,
)

MERGE = "merge it with its parent first, in PowerShell on Hyper-V: Merge-VHD"
REPLAY = (
    "shut its machine down and copy it again; or have the log written into a copy: qemu-img check -r all COPY, "
    "in PowerShell on Hyper-V: Mount-VHD COPY, then Dismount-VHD COPY"
)
_NEWER = "it is of a newer release: on its Hyper-V, Convert-VHD it to a VHD"
_KIB = 1024
_HEADERS = (64 * _KIB, 128 * _KIB)
_REGION_TABLES = (192 * _KIB, 256 * _KIB)
_HEADER_BYTES, _TABLE_BYTES = 4 * _KIB, 64 * _KIB
_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")  # 80 bytes
_ENTRY = struct.Struct("<16sQII")
_ITEM = struct.Struct("<16sIIII")
_REGIONS_MAX = _ITEMS_MAX = 2047
_ITEMS_AT_LEAST = 64 * _KIB
_REQUIRED_ITEM = 4
_BLOCK_LEAST, _BLOCK_MOST = MIB, 256 * MIB
_CHUNK_SECTORS = 1 << 23  # what one sector bitmap block stands for
_NOT_PRESENT, _PRESENT, _PARTIAL = (0, 1, 2, 3), 6, 7


def _guid(text: str) -> bytes:
    return uuid.UUID(text).bytes_le


_BLOCK_TABLE = _guid("2DC27766-F623-4200-9D64-115E9BFD4A08")
_METADATA = _guid("8B7CA206-4790-4B9A-B8FE-575F050F886E")
_PARAMETERS = _guid("CAA16737-FA36-4D43-B3B6-33F0AA44E76B")
_DISK_SIZE = _guid("2FA54224-CD1B-4876-B211-5DBED83BF4B8")
_SECTOR_BYTES = _guid("8141BF1D-A96F-4709-BA47-F233A8FAAB5F")
_PARENT_LOCATOR = _guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C")
_OTHER_ITEMS = {
    _guid("BECA12AB-B2E6-4523-93EF-C309E000C746"),  # the disk's identity
    _guid("CDA348C7-445D-4471-9CC9-E9885251C556"),  # physical sectors
}
_HAS_PARENT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Region:
    at: int
    length: int


def inspect(source: Source, most: int) -> Inspection:
    """Headers, log, regions, metadata and where every block lies."""
    log = _log(source)
    regions = _regions(source)
    block_bytes, size = _metadata(source, regions[_METADATA])
    check_size(size, most)
    places = [(0, MIB, "headers"), (log.at, log.length, "log")]
    places += [(one.at, one.length, f"region {number}") for number, one in enumerate(regions.values())]
    check_apart(places, source.size, _blocks(source, regions[_BLOCK_TABLE], block_bytes, size))
    return Inspection(format=SourceFormat.VHDX, virtual_size_bytes=size)


def _log(source: Source) -> _Region:
    """Where the log lies, by the header that counts: the valid one with the highest sequence number."""
    valid = []
    for at in _HEADERS:
        raw = source.at(at, _HEADER_BYTES, "header")
        found = _HEADER.unpack_from(raw)
        if found[0] == b"head" and _sound(raw, found[1]):
            valid.append(found)
    if not valid:
        raise rejected("checksum", "none of its two headers is valid", DAMAGED)
    _, _, _, _, _, log_id, log_version, version, length, at = max(valid, key=lambda one: int(one[2]))
    if version != 1 or log_version != 0:
        raise rejected(
            "version", f"VHDX version {version}, log version {log_version}", "only versions 1 and 0 are known"
        )
    if any(log_id):
        raise rejected("dirty", "its log is not empty: it was not closed", REPLAY)
    if at % MIB or length % MIB:
        raise rejected("header", f"a log at {at}, {length} bytes", DAMAGED)
    return _Region(at, length)


def _regions(source: Source) -> dict[bytes, _Region]:
    first, second = (source.at(at, _TABLE_BYTES, "region table") for at in _REGION_TABLES)
    magic, checksum, count = struct.unpack_from("<4sII", first)
    if magic != b"regi" or count > _REGIONS_MAX or not _sound(first, checksum) or first != second:
        raise rejected("checksum", "its two region tables are damaged or differ", DAMAGED)
    found: dict[bytes, _Region] = {}
    for number in range(count):
        kind, at, length, required = _ENTRY.unpack_from(first, 16 + number * _ENTRY.size)
        if kind in found:
            raise rejected("header", "a region that is there twice", DAMAGED)
        if kind not in (_BLOCK_TABLE, _METADATA) and required:
            raise rejected("unknown-feature", f"it needs the unknown region {uuid.UUID(bytes_le=kind)}", _NEWER)
        if at % MIB or length % MIB or not length:
            raise rejected("header", f"a region at {at}, {length} bytes", DAMAGED)
        found[kind] = _Region(at, length)
    if not {_BLOCK_TABLE, _METADATA} <= found.keys():
        raise rejected("header", "it has no block table or no metadata", DAMAGED)
    return found


def _metadata(source: Source, region: _Region) -> tuple[int, int]:
    """The bytes of a block and of the disk; refuses a parent, and what we do not know and must."""
    table = source.at(region.at, _TABLE_BYTES, "metadata table")
    magic, _, count = struct.unpack_from("<8sHH", table)
    if magic != b"metadata" or count > _ITEMS_MAX:
        raise rejected("header", "where its metadata should be is something else", DAMAGED)
    items: dict[bytes, bytes] = {}
    for number in range(count):
        kind, at, length, flags, _ = _ITEM.unpack_from(table, 32 + number * _ITEM.size)
        if kind == _PARENT_LOCATOR:
            raise rejected("parent", "it stands on another disk", MERGE)
        if kind in (_PARAMETERS, _DISK_SIZE, _SECTOR_BYTES):
            if kind in items or at < _ITEMS_AT_LEAST or at + length > region.length or length not in (4, 8):
                raise rejected("header", f"a metadata item at {at}, {length} bytes", DAMAGED)
            items[kind] = source.at(region.at + at, length, "metadata")
        elif kind not in _OTHER_ITEMS and flags & _REQUIRED_ITEM:
            raise rejected("unknown-feature", f"it needs the unknown item {uuid.UUID(bytes_le=kind)}", _NEWER)
    if sorted(map(len, items.values())) != [4, 8, 8] or len(items[_SECTOR_BYTES]) != 4:
        raise rejected("header", "its metadata lacks an item", DAMAGED)
    block_bytes, flags = struct.unpack("<II", items[_PARAMETERS])
    (size,) = struct.unpack("<Q", items[_DISK_SIZE])
    (sector,) = struct.unpack("<I", items[_SECTOR_BYTES])
    if flags & _HAS_PARENT:
        raise rejected("parent", "it stands on another disk", MERGE)
    if sector != 512:
        told = f"its sectors have {sector} bytes; instances get disks with sectors of 512"
        raise rejected("sector-size", told, "convert it on Hyper-V: Convert-VHD to a disk with 512-byte sectors")
    if block_bytes & (block_bytes - 1) or not _BLOCK_LEAST <= block_bytes <= _BLOCK_MOST:
        raise rejected("block-size", f"blocks of {block_bytes} bytes", "a power of two, 1 to 256 MiB, is known")
    if not size or size % sector:
        raise rejected("size", f"a disk of {size} bytes is not a whole number of sectors", DAMAGED)
    return block_bytes, size


def _blocks(source: Source, region: _Region, block_bytes: int, size: int) -> Iterator[int]:
    """The `span` of every block that the file holds. Each chunk's entries end with one for its bitmap.

    Of the last block the file needs what belongs to the disk and no more: QEMU's fixed disks end there.
    """
    blocks = -(-size // block_bytes)
    chunk = _CHUNK_SECTORS * 512 // block_bytes
    entries = blocks + (blocks - 1) // chunk
    if entries * 8 > region.length:
        raise rejected("header", f"a block table of {region.length} bytes for {entries} entries", DAMAGED)
    table = array.array("Q", source.at(region.at, entries * 8, "block table"))
    if sys.byteorder == "big":
        table.byteswap()
    for number, entry in enumerate(table):
        state = entry & 7
        if number % (chunk + 1) == chunk or state in _NOT_PRESENT:
            continue  # Bitmaps mean something only to a disk with a parent.
        if state != _PRESENT:
            reason = "parent" if state == _PARTIAL else "header"
            raise rejected(reason, f"block {number} is in state {state}", MERGE if state == _PARTIAL else DAMAGED)
        left = size - (number - number // (chunk + 1)) * block_bytes
        yield span((entry >> 20) * (MIB // SECTOR), min(block_bytes, left))


def _sound(raw: bytes, checksum: int) -> bool:
    return _crc32c(raw[:4] + bytes(4) + raw[8:]) == checksum


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _crc32c(data: bytes) -> int:
    """CRC-32C as in RFC 3720, appendix B.4."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
