"""What the readers of all formats share: exact reads, the verdict, and the refusal. Nothing of one format."""

from __future__ import annotations

import array
import dataclasses
import enum
import heapq
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from orchestrator.errors import ImageRejected

MIB = 1024 * 1024
SECTOR = 512
DAMAGED = "copy the file again"
VIRTUAL_SIZE_LEAST = MIB
_LENGTH_BITS = 30
_LENGTH_MASK = (1 << _LENGTH_BITS) - 1
_SORTED_AT_ONCE = 1 << 16


class SourceFormat(enum.StrEnum):
    """What a file that is added may be; all but a standalone qcow2 or raw disk have to be converted."""

    QCOW2 = "qcow2"
    RAW = "raw"
    VHD = "vhd"
    VHDX = "vhdx"
    VMDK = "vmdk"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What the header says. Sizes in bytes."""

    format: SourceFormat
    virtual_size_bytes: int
    cluster_bytes: int = 0  # qcow2 only
    differencing: bool = False  # a VHD that is whole only together with its parents
    compressed: bool = False  # its bytes may become a thousand times as many
    packed: bool = False  # a qcow2 with clusters that have to be unpacked: whether they can be, no table tells


class Source:
    """A whole, seekable file, its size in bytes, and reads that never come back short."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.size = file.seek(0, os.SEEK_END)

    def at(self, offset: int, length: int, what: str) -> bytes:
        """So many bytes; raises ImageRejected (truncated) when the file does not hold them."""
        if offset < 0 or length < 0 or offset + length > self.size:
            told = f"its {what} lies at {offset}, {length} bytes, in a file of {self.size}"
            raise rejected("truncated", told, DAMAGED)
        self.file.seek(offset)
        found = self.file.read(length)
        if len(found) != length:
            raise rejected("truncated", f"its {what} is cut off", DAMAGED)
        return found


def span(sector: int, length: int) -> int:
    """A block by its first sector and its length in bytes (less than 1 GiB), as one number: there may be millions."""
    return sector << _LENGTH_BITS | length


def ascending(numbers: array.array[int]) -> Iterator[int]:
    """In order, in little more memory than they take: they are sorted piece by piece, in place, and merged."""
    starts = range(0, len(numbers), _SORTED_AT_ONCE)
    for at in starts:
        numbers[at : at + _SORTED_AT_ONCE] = array.array("Q", sorted(numbers[at : at + _SORTED_AT_ONCE]))
    view = memoryview(numbers)
    return heapq.merge(*(view[at : at + _SORTED_AT_ONCE] for at in starts))


def check_apart(parts: Iterable[tuple[int, int, str]], size: int, blocks: Iterable[int] = ()) -> None:
    """That parts of a file (offset, length, name) and `span`s lie inside it and do not touch each other's bytes.

    Blocks are read no further than the first that lies outside, or than all together are larger than the file: what
    is kept in memory is 8 bytes for each block that the file can really hold, whatever its tables say.
    """
    many = (
        ((span >> _LENGTH_BITS) * SECTOR, span & _LENGTH_MASK, "block") for span in ascending(_fitting(blocks, size))
    )
    end, before = 0, ""
    for offset, length, name in heapq.merge(sorted(parts), many):
        if offset < end:
            raise rejected("overlap", f"its {name} at {offset} lies on its {before}", DAMAGED)
        end, before = offset + length, name
        if end > size:
            raise rejected("truncated", f"its {before} ends at {end}, in a file of {size} bytes", DAMAGED)


def _fitting(blocks: Iterable[int], size: int) -> array.array[int]:
    fitting = array.array("Q")
    total = 0
    for block in blocks:
        at, length = (block >> _LENGTH_BITS) * SECTOR, block & _LENGTH_MASK
        if at + length > size:
            raise rejected("truncated", f"its block ends at {at + length}, in a file of {size} bytes", DAMAGED)
        total += length
        if total > size:
            raise rejected("overlap", f"its blocks are larger than the {size} bytes of the file", DAMAGED)
        fitting.append(block)
    return fitting


def check_size(size: int, most: int) -> None:
    """That a disk of `size` bytes may be; asked before tables are read, whose length follows from it."""
    if size > most:
        told = f"its disk is {size // MIB} MiB, more than the cap of {most // MIB} MiB"
        raise rejected("virtual-size", told, "raise image_virtual_size_max_gib if that is meant")
    if size < VIRTUAL_SIZE_LEAST:
        raise rejected("virtual-size", "its disk is smaller than 1 MiB", "is this a whole disk image?")


def shown(text: str) -> str:
    """A file's own words as a message may hold them: short and printable."""
    return "".join(char if char.isprintable() and char.isascii() else "?" for char in text[:100])


def rejected(reason: str, message: str, hint: str) -> ImageRejected:
    """The refusal, to be raised; `reason` is a stable word."""
    return ImageRejected(f"the image is refused ({reason}): {message}", reason=reason, hint=hint)
