"""Where every cluster of a qcow2 lies: what its header promises is in the file, and nothing is there twice.

Source: QEMU's docs/interop/qcow2.txt. A program that reads past the end of a file takes what it misses for zeros, so
that a disk that was cut would be converted without a word; here it is refused. Memory is a bit for each cluster of
the file, whatever its tables say.
"""

from __future__ import annotations

import array
import dataclasses
import operator
import sys
from collections.abc import Iterator

from orchestrator.imagefiles.reading import DAMAGED, SECTOR, Source, ascending, rejected

_COPIED, _COMPRESSED, _ZERO = 1 << 63, 1 << 62, 1
_OFFSET = ((1 << 56) - 1) & ~0x1FF
_L1_RESERVED = ~(_COPIED | _OFFSET) & (1 << 64) - 1
_SECTORS_BITS = 14  # a compressed cluster has at most 2 MiB, and 2 bits more are never set
_SUBCLUSTERS = 32
_LOW_HALF = (1 << _SUBCLUSTERS) - 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What the header says of the tables. Offsets in bytes."""

    version: int
    cluster_bits: int
    virtual_size_bytes: int
    extended: bool  # entries of L2 tables have 16 bytes, and know 32 parts of a cluster
    l1_at: int
    l1_entries: int
    refcounts_at: int
    refcounts_clusters: int

    @property
    def cluster(self) -> int:
        """Bytes of one."""
        return 1 << self.cluster_bits


def check(source: Source, layout: Layout) -> bool:
    """Walks all tables of the disk as it is now (not those of its snapshots): whether it has compressed clusters.

    Raises ImageRejected.
    """
    return _Walk(source, layout).run()


class _Walk:
    """One file; `taken` has a bit for each of its clusters that somebody has claimed."""

    def __init__(self, source: Source, layout: Layout) -> None:
        self._source = source
        self._layout = layout
        self._cluster = layout.cluster
        self._taken = bytearray((source.size >> layout.cluster_bits) // 8 + 1)
        self._shared = bytearray(len(self._taken))  # the same for what compressed clusters lie in
        self._packed = array.array("Q")  # compressed clusters: first byte, and how many sectors more than its own

    def run(self) -> bool:
        layout = self._layout
        self._take(0, 1, "header")
        self._take(layout.l1_at, -(-layout.l1_entries * 8 // self._cluster), "L1 table")
        self._take(layout.refcounts_at, layout.refcounts_clusters, "refcount table")
        refcount_entries = layout.refcounts_clusters * self._cluster // 8
        for number, entry in _used(self._source, layout.refcounts_at, refcount_entries, "refcount table"):
            if entry & 0x1FF:
                raise rejected("header", f"entry {number} of its refcount table is {entry:#x}", DAMAGED)
            self._take_whole(entry, f"refcount block {number}")
        for number, entry in _used(self._source, layout.l1_at, layout.l1_entries, "L1 table"):
            if entry & _L1_RESERVED or not entry & _OFFSET:
                raise rejected("header", f"entry {number} of its L1 table is {entry:#x}", DAMAGED)
            self._take_whole(entry & _OFFSET, f"L2 table {number}")
            self._read_table(entry & _OFFSET, number)
        self._check_packed()
        return bool(self._packed)

    def _read_table(self, at: int, number: int) -> None:
        """The clusters of one L2 table."""
        words = 2 if self._layout.extended else 1
        entries = self._cluster // 8 // words
        table = _numbers(self._source, at, self._cluster // 8, "L2 table")
        for which in range(entries):
            entry, parts = table[which * words], table[which * words + 1] if words == 2 else 0
            if not entry and not parts:
                continue
            guest_at = (number * entries + which) << self._layout.cluster_bits
            if entry & _COMPRESSED:
                self._see_packed(entry, parts, guest_at)
            else:
                self._see_plain(entry, parts, guest_at)

    def _see_plain(self, entry: int, parts: int, guest_at: int) -> None:
        layout, offset = self._layout, entry & _OFFSET
        zero = bool(entry & _ZERO) and layout.version > 2 and not layout.extended
        own, zeros = parts & _LOW_HALF, parts >> _SUBCLUSTERS
        odd = entry & ~(_COPIED | _OFFSET | zero)
        lost = not offset and (bool(own) or bool(entry & _COPIED and not zero))
        if odd or lost or own & zeros:
            raise rejected("header", f"the entry of the cluster at {guest_at} is {entry:#x} {parts:#x}", DAMAGED)
        if not offset:
            return
        self._take(offset, 1, f"cluster for {guest_at}")
        if zero:
            return  # Kept for later writes: nothing is read from it.
        needed = own.bit_length() * (self._cluster // _SUBCLUSTERS) if layout.extended else self._cluster
        needed = min(needed, max(0, layout.virtual_size_bytes - guest_at))
        if offset + needed > self._source.size:
            told = f"its cluster for {guest_at} lies at {offset}, in a file of {self._source.size} bytes"
            raise rejected("truncated", told, DAMAGED)

    def _see_packed(self, entry: int, parts: int, guest_at: int) -> None:
        """The length is in sectors, and the last one may be cut where the data ends."""
        bits = 62 - (self._layout.cluster_bits - 8)
        at = entry & (1 << bits) - 1
        sectors = (entry & _COMPRESSED - 1) >> bits
        end = (at // SECTOR + 1 + sectors) * SECTOR
        if entry & _COPIED or parts or at < self._cluster:
            raise rejected("header", f"the entry of the compressed cluster for {guest_at} is {entry:#x}", DAMAGED)
        if end - SECTOR >= self._source.size:
            told = f"its compressed cluster for {guest_at} ends at {end}, in a file of {self._source.size} bytes"
            raise rejected("truncated", told, DAMAGED)
        self._packed.append(at << _SECTORS_BITS | sectors)
        for host in range(at >> self._layout.cluster_bits, (end - SECTOR >> self._layout.cluster_bits) + 1):
            self._shared[host >> 3] |= 1 << (host & 7)

    def _check_packed(self) -> None:
        """They may share a host cluster, and a sector, but no plain cluster and no more of each other."""
        if any(map(operator.and_, self._taken, self._shared)):
            raise rejected("overlap", "a compressed cluster lies on something else", DAMAGED)
        before = 0
        for one in ascending(self._packed):
            at, sectors = one >> _SECTORS_BITS, one & (1 << _SECTORS_BITS) - 1
            if at < before:
                raise rejected("overlap", f"its compressed cluster at {at} lies on another", DAMAGED)
            before = (at // SECTOR + sectors) * SECTOR + 1

    def _take_whole(self, at: int, what: str) -> None:
        """A table: all of it must be there."""
        if at + self._cluster > self._source.size:
            told = f"its {what} lies at {at}, {self._cluster} bytes, in a file of {self._source.size}"
            raise rejected("truncated", told, DAMAGED)
        self._take(at, 1, what)

    def _take(self, at: int, clusters: int, what: str) -> None:
        """So many clusters are somebody's from now on, and nobody else's."""
        if at % self._cluster:
            raise rejected("header", f"its {what} lies at {at}, which is no border of a cluster", DAMAGED)
        if at >= self._source.size:
            raise rejected("truncated", f"its {what} lies at {at}, in a file of {self._source.size} bytes", DAMAGED)
        first = at >> self._layout.cluster_bits
        for number in range(first, first + clusters):
            bit = 1 << (number & 7)
            if self._taken[number >> 3] & bit:
                raise rejected("overlap", f"its {what} at {at} lies on something else", DAMAGED)
            self._taken[number >> 3] |= bit


def _used(source: Source, at: int, entries: int, what: str) -> Iterator[tuple[int, int]]:
    """Number and value of all entries that are not empty."""
    return ((number, entry) for number, entry in enumerate(_numbers(source, at, entries, what)) if entry)


def _numbers(source: Source, at: int, count: int, what: str) -> array.array[int]:
    found = array.array("Q", source.at(at, count * 8, what))
    if sys.byteorder == "little":
        found.byteswap()
    return found
