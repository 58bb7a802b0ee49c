"""Writes one date over every date of an ISO image: volume descriptors, directory records, Rock Ridge time stamps.

Offsets are those of ECMA-119 (volume descriptors 8.4, directory records 9.1), SUSP 1.12 (system use entries, CE) and
RRIP 1.12 (TF). Nothing here knows who made the image.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator

_SECTOR_BYTES = 2048
_FIRST_DESCRIPTOR = 16  # sector; the system area before it is free
_PRIMARY, _SUPPLEMENTARY, _TERMINATOR = 1, 2, 255
_ROOT_RECORD = 156  # in a descriptor
_CREATION, _MODIFICATION, _EXPIRATION, _EFFECTIVE = 813, 830, 847, 864  # in a descriptor, 17 bytes each
_NEVER = b"0" * 16 + b"\0"  # 8.4.26.1: not specified
_DIRECTORY = 0x02  # file flag
_TF_KINDS, _TF_LONG = 0x7F, 0x80


def stamp(image: bytearray, when_epoch_s: int) -> None:
    """Dates the whole image, in place; `when_epoch_s` in seconds since 1970, not negative. ValueError if no ISO."""
    when = datetime.datetime.fromtimestamp(when_epoch_s, datetime.UTC)
    short = bytes((when.year - 1900, when.month, when.day, when.hour, when.minute, when.second, 0))
    long = when.strftime("%Y%m%d%H%M%S").encode("ascii") + b"00\0"
    for start in _descriptors(image):
        for offset in (_CREATION, _MODIFICATION, _EFFECTIVE):
            image[start + offset : start + offset + len(long)] = long
        image[start + _EXPIRATION : start + _EXPIRATION + len(_NEVER)] = _NEVER
        for record in _records(image, start + _ROOT_RECORD):
            image[record + 18 : record + 18 + len(short)] = short
            for entry in _system_use(image, record):
                if image[entry : entry + 2] == b"TF":
                    flags = image[entry + 4]
                    dates = (long if flags & _TF_LONG else short) * (flags & _TF_KINDS).bit_count()
                    image[entry + 5 : entry + 5 + len(dates)] = dates


def _descriptors(image: bytearray) -> Iterator[int]:
    """Where the primary and the supplementary (Joliet) volume descriptors begin."""
    for start in range(_FIRST_DESCRIPTOR * _SECTOR_BYTES, len(image), _SECTOR_BYTES):
        if image[start + 1 : start + 6] != b"CD001":
            raise ValueError(f"no volume descriptor at byte {start}")
        kind = image[start]
        if kind == _TERMINATOR:
            return
        if kind in (_PRIMARY, _SUPPLEMENTARY):
            yield start
    raise ValueError("the volume descriptors have no end")


def _records(image: bytearray, root: int) -> Iterator[int]:
    """Where each directory record begins: the root's in its descriptor, then all below, each extent once."""
    yield root
    directories, seen = [root], set[int]()
    while directories:
        extent, size = _extent(image, directories.pop())
        if extent in seen:
            continue
        seen.add(extent)
        at, end = extent, extent + size
        while at < end:
            length = image[at]
            if not length:  # 6.8.1.1: a record does not cross sectors; the rest of this one is empty
                at += _SECTOR_BYTES - at % _SECTOR_BYTES
                continue
            yield at
            if image[at + 25] & _DIRECTORY:
                directories.append(at)
            at += length


def _extent(image: bytearray, record: int) -> tuple[int, int]:
    """Begin and size in bytes of what a directory record points to."""
    sector: int = struct.unpack_from("<I", image, record + 2)[0]
    size: int = struct.unpack_from("<I", image, record + 10)[0]
    return sector * _SECTOR_BYTES, size


def _system_use(image: bytearray, record: int) -> Iterator[int]:
    """Where each SUSP entry of a record begins, continuation areas included."""
    name_bytes = image[record + 32]
    areas = [(record + 33 + name_bytes + (1 - name_bytes % 2), record + image[record])]
    while areas:
        at, end = areas.pop()
        while at + 4 <= end and image[at + 2] >= 4:
            if image[at : at + 2] == b"CE":
                sector, offset, size = (struct.unpack_from("<I", image, at + place)[0] for place in (4, 12, 20))
                start = sector * _SECTOR_BYTES + offset
                areas.append((start, start + size))
            yield at
            at += image[at + 2]
