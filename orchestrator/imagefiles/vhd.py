"""The reader of VHD files: fixed, dynamic, and differencing together with the disks that they stand on.

Source: Microsoft's "Virtual Hard Disk Image Format Specification" 1.0; numbers are big-endian. The size is the
footer's Current Size: Azure and Hyper-V go by it, while older programs round up to cylinders, heads and sectors.
"""

from __future__ import annotations

import array
import dataclasses
import enum
import itertools
import struct
import sys
from collections.abc import Iterator, Sequence

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
    shown,
    span,
)

UNUSED = 0xFFFFFFFF
_FOOTER = struct.Struct(">8sIIQI4sI4sQQIII16sB")  # 85 bytes of 512
_HEADER = struct.Struct(">8sQQIIII16sII512s")  # 576 bytes of 1024, then eight locators
_LOCATOR = struct.Struct(">IIIIQ")
_HEADER_BYTES = 1024
_LOCATORS = 8
_CHECKSUM_IN_FOOTER, _CHECKSUM_IN_HEADER = 64, 36
_VERSION = 0x00010000
# Hyper-V writes 2 MiB, others 512 KiB; far from that, a table of a few bytes would describe a huge disk.
_BLOCK_LEAST, _BLOCK_MOST = MIB // 4, 64 * MIB
_TABLE_MOST = 64 * MIB


class DiskType(enum.IntEnum):
    """The types of disk that exist."""

    FIXED = 2
    DYNAMIC = 3
    DIFFERENCING = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Vhd:
    """One file, checked. `blocks`: for each block of the disk the sector of its bitmap, UNUSED where it has none."""

    source: Source
    kind: DiskType
    size_bytes: int
    identity: bytes
    parent: bytes = b""  # the identity of the disk that it stands on
    parent_name: str = ""
    block_bytes: int = 0
    blocks: Sequence[int] = ()

    @property
    def bitmap_bytes(self) -> int:
        """What lies before a block's data: one bit for each sector, in whole sectors."""
        return -(-self.block_bytes // SECTOR // 8 // SECTOR) * SECTOR


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Footer:
    raw: bytes
    kind: DiskType
    size_bytes: int
    header_at: int
    identity: bytes


def inspect(sources: Sequence[Source], most: int) -> Inspection:
    """A disk and those that it stands on, the nearest first; raises ImageRejected unless they are one whole disk."""
    disk = chain(sources, most)[0]
    return Inspection(
        format=SourceFormat.VHD,
        virtual_size_bytes=disk.size_bytes,
        differencing=disk.kind is DiskType.DIFFERENCING,
    )


def chain(sources: Sequence[Source], most: int) -> list[Vhd]:
    """All of them, none larger than `most` bytes, checked one by one and against each other.

    A child knows its parent by the unique identity of the parent's footer. The parent's time that it keeps as well
    is the time of the file where it was made, which does not travel with its bytes. Names are never followed.
    """
    disks = [read(source, most) for source in sources]
    for child, parent in itertools.pairwise(disks):
        if child.kind is not DiskType.DIFFERENCING:
            raise rejected("parent", "a parent was given, but the disk stands alone", "leave --parent away")
        if child.parent != parent.identity:
            told = f"the parent that was given is {parent.identity.hex()}, not {child.parent.hex()}"
            raise rejected("parent", told, f"it was made on {child.parent_name!r}: give that one")
        if child.size_bytes != parent.size_bytes:
            told = f"its disk has {child.size_bytes} bytes, that of its parent {parent.size_bytes}"
            raise rejected("parent", told, "merge them where they were made: Merge-VHD")
    if disks[-1].kind is DiskType.DIFFERENCING:
        told = f"it stands on {disks[-1].parent_name!r}, which was not given"
        raise rejected("parent", told, "add --convert --parent FILE, the nearest parent first")
    return disks


def read(source: Source, most: int) -> Vhd:
    """One file: its footer, and for all but a fixed disk the copy, the header, the table and where blocks lie."""
    footer = _footer(source.at(source.size - SECTOR, SECTOR, "footer"))
    check_size(footer.size_bytes, most)
    if footer.kind is DiskType.FIXED:
        if footer.size_bytes + SECTOR != source.size:
            told = f"a fixed disk of {footer.size_bytes} bytes and its footer in a file of {source.size}"
            raise rejected("truncated", told, DAMAGED)
        if source.at(0, 8, "beginning") in (b"conectix", b"cxsparse"):
            raise rejected("second-magic", "a fixed disk that begins as another VHD", "convert it where it was made")
        return Vhd(source=source, kind=footer.kind, size_bytes=footer.size_bytes, identity=footer.identity)
    if source.at(0, SECTOR, "footer's copy") != footer.raw:
        raise rejected("header", "its footer and the copy at its beginning differ", DAMAGED)
    return _sparse(source, footer)


def _footer(raw: bytes) -> _Footer:
    found = _FOOTER.unpack_from(raw)
    cookie, _, version, header_at, _, _, _, _, _, size, _, kind, checksum, identity, saved = found
    if cookie != b"conectix":
        raise rejected("truncated", "it does not end with a VHD's footer", DAMAGED)
    _check_sum(raw, _CHECKSUM_IN_FOOTER, checksum, "footer")
    if version != _VERSION:
        raise rejected("version", f"VHD version {version:#x}", "only version 1.0 is known")
    if kind not in tuple(DiskType):
        raise rejected("header", f"disk type {kind}", "fixed (2), dynamic (3) or differencing (4)")
    if saved:
        raise rejected("dirty", "it belongs to a saved state", "shut the machine down cleanly, then copy the file")
    if size == 0 or size % SECTOR:
        raise rejected("size", f"a disk of {size} bytes is not a whole number of sectors", DAMAGED)
    return _Footer(raw=raw, kind=DiskType(kind), size_bytes=size, header_at=header_at, identity=identity)


def _sparse(source: Source, footer: _Footer) -> Vhd:
    raw = source.at(footer.header_at, _HEADER_BYTES, "header")
    cookie, _, table_at, version, entries, block, checksum, parent, _, _, name = _HEADER.unpack_from(raw)
    if cookie != b"cxsparse":
        raise rejected("header", "where its header should be is something else", DAMAGED)
    _check_sum(raw, _CHECKSUM_IN_HEADER, checksum, "header")
    if version != _VERSION:
        raise rejected("version", f"VHD header version {version:#x}", "only version 1.0 is known")
    if block & (block - 1) or not _BLOCK_LEAST <= block <= _BLOCK_MOST:
        raise rejected("block-size", f"blocks of {block} bytes", "a power of two, 256 KiB to 64 MiB, is known")
    if entries < -(-footer.size_bytes // block) or entries * 4 > _TABLE_MOST:
        raise rejected("header", f"{entries} blocks of {block} bytes for {footer.size_bytes} bytes", DAMAGED)
    located = _locators(source, raw)
    if footer.kind is DiskType.DYNAMIC and (located or any(parent)):
        raise rejected("parent", "it is said to stand alone, but names a parent", "convert it where it was made")
    disk = Vhd(
        source=source,
        kind=footer.kind,
        size_bytes=footer.size_bytes,
        identity=footer.identity,
        parent=parent if footer.kind is DiskType.DIFFERENCING else b"",
        parent_name=shown(name.decode("utf-16-be", "replace").rstrip("\0")),
        block_bytes=block,
        blocks=_table(source, table_at, entries),
    )
    _check_places(disk, footer.header_at, table_at)
    return disk


def _locators(source: Source, header: bytes) -> bool:
    """Whether there are any; what they say is never read, but a sound one lies in the file."""
    found = False
    for number in range(_LOCATORS):
        code, _, length, _, at = _LOCATOR.unpack_from(header, _HEADER.size + number * _LOCATOR.size)
        found |= code != 0
        if code and at + length > source.size:
            told = f"a parent locator at {at}, {length} bytes, in a file of {source.size}"
            raise rejected("truncated", told, DAMAGED)
    return found


def _table(source: Source, at: int, entries: int) -> Sequence[int]:
    blocks = array.array("I", source.at(at, entries * 4, "block table"))
    if sys.byteorder == "little":
        blocks.byteswap()
    return blocks


def _check_places(disk: Vhd, header_at: int, table_at: int) -> None:
    size = disk.source.size
    whole = disk.bitmap_bytes + disk.block_bytes
    places = [
        (0, SECTOR, "footer's copy"),
        (header_at, _HEADER_BYTES, "header"),
        (table_at, len(disk.blocks) * 4, "block table"),
        (size - SECTOR, SECTOR, "footer"),
    ]
    check_apart(places, size, (span(sector, whole) for _, sector in used(disk)))


def used(disk: Vhd) -> Iterator[tuple[int, int]]:
    """The blocks that the file holds: number in the disk, and sector of the bitmap in the file."""
    return ((number, sector) for number, sector in enumerate(disk.blocks) if sector != UNUSED)


def _check_sum(raw: bytes, at: int, expected: int, what: str) -> None:
    """One's complement of the sum of all bytes but the checksum's own."""
    if ~(sum(raw) - sum(raw[at : at + 4])) & 0xFFFFFFFF != expected:
        raise rejected("checksum", f"the checksum of its {what} is wrong", DAMAGED)
