"""The reader of VMDK files that hold their own descriptor and data: monolithicSparse and streamOptimized.

Source: VMware's "Virtual Disk Format 5.0"; numbers are little-endian. Every other kind is a text that names files,
and so may the text inside be: it must name one extent and nothing else.
"""

from __future__ import annotations

import array
import dataclasses
import itertools
import re
import struct
import sys
from collections.abc import Iterator

from orchestrator.imagefiles.reading import (
    DAMAGED,
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

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")  # 79 bytes of 512
_AT_END = 0xFFFFFFFFFFFFFFFF  # the grain directory: look in the footer
_NEWLINE, _COMPRESSED, _MARKERS = 1, 1 << 16, 1 << 17
_KNOWN_FLAGS = _NEWLINE | 2 | 4 | _COMPRESSED | _MARKERS
_GRAIN_LEAST, _GRAIN_MOST = 8, 2048  # sectors: 4 KiB to 1 MiB; all the world writes 64 KiB
_DESCRIPTOR_MOST = 20 * SECTOR
_FOOTER_FROM_END = 2 * SECTOR  # then comes the marker of the end
_GRAIN_MARKER = struct.Struct("<QI")
_HINT = "export it as one file: ovftool, or qemu-img convert -O vmdk -o subformat=monolithicSparse IN OUT"
_KINDS = {"monolithicSparse": False, "streamOptimized": True}  # whether compressed
# VirtualBox and ovftool write RDONLY into what they export, QEMU writes RW; FreeBSD's mkimg gives no name.
_EXTENT = re.compile(r'(?:RW|RDONLY) ([0-9]{1,18}) SPARSE "([^"/\\:]{0,255})"( 0)?')
_SETTING = re.compile(r'([A-Za-z][A-Za-z0-9._-]*) *= *"?([^"]*)"?')
_SETTINGS = {"version", "encoding", "CID", "parentCID", "isNativeSnapshot", "createType"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """In sectors, as the file has it."""

    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_at: int
    descriptor: int
    per_table: int
    second_directory_at: int
    directory_at: int
    unclean: int
    newlines: bytes
    compression: int

    @property
    def compressed(self) -> bool:
        """Whether grains are."""
        return bool(self.flags & _COMPRESSED)


def inspect(source: Source, most: int) -> Inspection:
    """Header, footer, descriptor and where every grain lies."""
    header = _header(source.at(0, SECTOR, "header"))
    if header.directory_at == _AT_END:
        header = _footer(source, header)
    _check(header)
    check_size(header.capacity * SECTOR, most)
    _check_descriptor(source, header)
    _check_grains(source, header)
    size = header.capacity * SECTOR
    return Inspection(format=SourceFormat.VMDK, virtual_size_bytes=size, compressed=header.compressed)


def _header(raw: bytes) -> _Header:
    magic, *found, newlines, compression = _HEADER.unpack_from(raw)
    version, flags, capacity, grain, descriptor_at, descriptor, per_table, second_at, first_at, _, unclean = found
    if magic != b"KDMV":
        raise rejected("header", "where its header should be is something else", DAMAGED)
    return _Header(
        version=version,
        flags=flags,
        capacity=capacity,
        grain=grain,
        descriptor_at=descriptor_at,
        descriptor=descriptor,
        per_table=per_table,
        second_directory_at=second_at,
        directory_at=first_at,
        unclean=unclean,
        newlines=newlines,
        compression=compression,
    )


def _footer(source: Source, header: _Header) -> _Header:
    """What a stream says at its end; it may differ from the beginning in the place of the directories alone."""
    footer = _header(source.at(source.size - _FOOTER_FROM_END, SECTOR, "footer"))
    placed = dataclasses.replace(
        footer, directory_at=header.directory_at, second_directory_at=header.second_directory_at
    )
    if placed != header or footer.directory_at == _AT_END:
        raise rejected("header", "its header and its footer differ", DAMAGED)
    return footer


def _check(header: _Header) -> None:
    if header.version not in (1, 2, 3):
        raise rejected("version", f"VMDK version {header.version}", "versions 1 to 3 are known")
    if header.flags & ~_KNOWN_FLAGS or not header.flags & _NEWLINE or header.newlines != b"\n \r\n":
        raise rejected("header", f"flags {header.flags:#x}", "it was changed by a copy in text mode, or is damaged")
    if header.compression != header.compressed or bool(header.flags & _MARKERS) != header.compressed:
        raise rejected("header", f"compression {header.compression}, flags {header.flags:#x}", DAMAGED)
    if header.unclean:
        raise rejected("dirty", "it was not closed properly", "shut the machine down cleanly, then copy it again")
    if header.grain & (header.grain - 1) or not _GRAIN_LEAST <= header.grain <= _GRAIN_MOST:
        raise rejected("block-size", f"grains of {header.grain} sectors", "8 to 2048, a power of two, is known")
    if header.per_table != 512:
        raise rejected("header", f"grain tables of {header.per_table} entries", "VMware writes 512")
    if not 0 < header.capacity < 1 << 54:
        # With a capacity of 0 the file is a mere descriptor, which may name any file of the host.
        raise rejected("header", f"a capacity of {header.capacity} sectors", _HINT)
    if header.descriptor_at != 1 or not 0 < header.descriptor * SECTOR <= _DESCRIPTOR_MOST:
        # QEMU reads the text behind the header, whatever the header says.
        told = f"a descriptor of {header.descriptor} sectors at sector {header.descriptor_at}, not behind the header"
        raise rejected("descriptor", told, _HINT)


def _check_descriptor(source: Source, header: _Header) -> None:
    """One disk without a parent in one extent: this file, whatever it was called."""
    # QEMU looks for words in as many bytes as a descriptor may have, whatever its length is said to be.
    around = source.at(
        header.descriptor_at * SECTOR,
        min(_DESCRIPTOR_MOST, max(0, source.size - header.descriptor_at * SECTOR)),
        "descriptor",
    )
    if b"parentFileNameHint" in around:
        raise rejected("parent", "its descriptor names a parent", "export it whole, without snapshots")
    # The text ends with a zero; QEMU 7.2 leaves what its memory held in the room behind it.
    text = around[: header.descriptor * SECTOR].partition(b"\0")[0]
    if not text.isascii():
        told = f"its descriptor holds {shown(text.decode('latin-1').strip())!r}, which is not ASCII throughout"
        raise rejected("descriptor", told, _HINT)
    settings: dict[str, str] = {}
    extents = []
    for line in text.decode("ascii").splitlines():
        if not (stripped := line.strip()) or stripped.startswith("#"):
            continue
        if extent := _EXTENT.fullmatch(stripped):
            extents.append(int(extent[1]))
            continue
        found = _SETTING.fullmatch(stripped)
        if found is None or found[1] in settings or not (found[1] in _SETTINGS or found[1].startswith("ddb.")):
            raise rejected("descriptor", f"its descriptor says: {shown(stripped)}", _HINT)
        settings[found[1]] = found[2].strip()
    _check_settings(settings, header)
    if extents != [header.capacity]:
        told = f"its descriptor names {len(extents)} extents, not one of {header.capacity} sectors"
        raise rejected("descriptor", told, _HINT)


def _check_settings(settings: dict[str, str], header: _Header) -> None:
    kind = settings.get("createType", "")
    if kind not in _KINDS:
        raise rejected("descriptor", f"it is of the kind {shown(kind)!r}", _HINT)
    if _KINDS[kind] != header.compressed:
        raise rejected("descriptor", f"it is said to be {kind}, but its header says otherwise", DAMAGED)
    if settings.get("parentCID", "").lower() != "ffffffff":
        raise rejected("parent", "its descriptor has a parent", "export it whole, without snapshots")


def _check_grains(source: Source, header: _Header) -> None:
    """Each is checked before what it points to is read."""
    tables = -(-header.capacity // (header.grain * header.per_table))
    places = [
        (0, SECTOR, "header"),
        (header.descriptor_at * SECTOR, header.descriptor * SECTOR, "descriptor"),
        (header.directory_at * SECTOR, tables * 4, "grain directory"),
    ]
    check_apart(places, source.size)
    directory = _numbers(source, header.directory_at, tables, "grain directory")
    tables_of_grains = (span(at, header.per_table * 4) for at in directory if at)
    check_apart(places, source.size, tables_of_grains)
    grains = _compressed(source, header, directory) if header.compressed else _plain(source, header, directory)
    tables_of_grains = (span(at, header.per_table * 4) for at in directory if at)
    check_apart(places, source.size, itertools.chain(tables_of_grains, grains))


def _entries(source: Source, header: _Header, directory: array.array[int]) -> Iterator[tuple[int, int]]:
    """Number and sector of each grain that the file holds; 1 stands for a grain of zeros."""
    for number, at in enumerate(directory):
        if at:
            table = _numbers(source, at, header.per_table, "grain table")
            yield from ((number * header.per_table + which, grain) for which, grain in enumerate(table) if grain > 1)


def _plain(source: Source, header: _Header, directory: array.array[int]) -> Iterator[int]:
    return (span(at, header.grain * SECTOR) for _, at in _entries(source, header, directory))


def _compressed(source: Source, header: _Header, directory: array.array[int]) -> Iterator[int]:
    """Each begins with a marker: the first sector of the disk that it stands for, and its length."""
    for number, at in _entries(source, header, directory):
        sector, length = _GRAIN_MARKER.unpack(source.at(at * SECTOR, _GRAIN_MARKER.size, f"grain {number}"))
        if sector != number * header.grain or not 0 < length <= 2 * header.grain * SECTOR:
            told = f"grain {number} is marked as sector {sector}, {length} bytes"
            raise rejected("header", told, DAMAGED)
        yield span(at, _GRAIN_MARKER.size + length)


def _numbers(source: Source, sector: int, count: int, what: str) -> array.array[int]:
    found = array.array("I", source.at(sector * SECTOR, count * 4, what))
    if sys.byteorder == "big":
        found.byteswap()
    return found
