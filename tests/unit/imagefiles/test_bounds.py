"""A file's own tables never make its reader take memory that the file could not need."""

from __future__ import annotations

import array
import io
import itertools
import os
import struct
import tracemalloc
from pathlib import Path
from typing import BinaryIO

import pytest

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles.reading import check_apart, span
from tests.world.disk_files import MIB, SECTOR, Vhd, make, noise

CAP = 2 * 1024**4
GRAIN = 8  # sectors: the least, so that a table of some bytes stands for as many grains as can be


def vmdk(path: Path, tables: int, *, inside: bool, shuffled: bool = False) -> int:
    """A VMDK of so many grain tables without data; its grains lie in the file, a hole, or far outside of it.

    Returns the bytes of its tables.
    """
    capacity = tables * 512 * GRAIN
    descriptor = (
        '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicSparse"\n'
        f'RW {capacity} SPARSE "x.vmdk"\n'
    )
    directory_at = 21
    tables_at = directory_at + -(-tables * 4 // SECTOR)
    data_at = tables_at + tables * 4
    fields = (1, 1, capacity, GRAIN, 1, 20, 512, 0, directory_at, data_at, 0, b"\n \r\n", 0)
    numbers = array.array("I", range(data_at, data_at + 512 * tables * GRAIN, GRAIN))
    if not inside:
        numbers = array.array("I", range(data_at, data_at + 512 * tables))
    elif shuffled:
        half = len(numbers) // 2
        numbers = array.array("I", itertools.chain.from_iterable(zip(numbers[half:], numbers[:half], strict=True)))
    with path.open("wb") as file:
        file.write(struct.pack("<4sIIQQQQIQQQB4sH", b"KDMV", *fields).ljust(SECTOR, b"\0"))
        file.write(descriptor.encode().ljust(20 * SECTOR, b"\0"))
        file.write(array.array("I", range(tables_at, data_at, 4)).tobytes().ljust((tables_at - 21) * SECTOR, b"\0"))
        file.write(numbers.tobytes())
        if inside:
            file.truncate((data_at + 512 * tables * GRAIN) * SECTOR)
    return tables * 512 * 4


def peak(file: BinaryIO) -> tuple[int, str]:
    """The most memory (bytes) that the reader took, and why it refused the file, "" when it did not."""
    tracemalloc.start()
    try:
        imagefiles.inspect(file, None, virtual_size_max=CAP, convert=True)
        reason = ""
    except ImageRejected as error:
        reason = error.reason
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most, reason


@pytest.mark.slow
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_sound_disk_of_many_grains_takes_little_more_than_its_tables(tmp_path: Path, shuffled: bool) -> None:
    """8 bytes for each of half a million grains of 4, in whatever order they lie, and a constant."""
    size = vmdk(tmp_path / "disk", 1024, inside=True, shuffled=shuffled)
    with (tmp_path / "disk").open("rb") as file:
        most, reason = peak(file)
    assert reason == ""
    assert most < 3 * size + 6 * MIB


def test_tables_that_lie_are_read_no_further_than_the_first_lie(tmp_path: Path) -> None:
    """4 MiB of grain numbers that point nowhere take the memory of one table."""
    vmdk(tmp_path / "disk", 2048, inside=False)
    with (tmp_path / "disk").open("rb") as file:
        most, reason = peak(file)
    assert reason in ("overlap", "truncated")
    assert most < MIB


def test_blocks_that_mean_one_place_end_the_reading(tmp_path: Path) -> None:
    """A VHD whose table of a million entries names one block, and a qcow2 whose entries name one cluster."""
    disk = Vhd(size=1 << 40, block=MIB, blocks={0: (b"", b"")})
    data = bytearray(disk.bytes())
    entries = (1 << 40) // MIB
    sector = (len(data) - SECTOR - MIB) // SECTOR
    struct.pack_into(f">{entries}I", data, 3 * SECTOR, *[sector] * entries)
    most, reason = peak(io.BytesIO(data))
    assert reason in ("overlap", "truncated")
    assert most < 3 * entries * 4 + MIB
    path = make(tmp_path / "disk.qcow2", noise(2 * MIB, 1), "qcow2", "compat=1.1")
    table = bytearray(path.read_bytes())
    l2_at = struct.unpack_from(">Q", table, struct.unpack_from(">Q", table, 40)[0])[0] & (1 << 56) - 1
    struct.pack_into(">8192Q", table, l2_at, *[struct.unpack_from(">Q", table, l2_at)[0]] * 8192)
    most, reason = peak(io.BytesIO(table))
    assert reason == "overlap"
    assert most < MIB


def test_more_blocks_than_the_file_can_hold_are_not_kept() -> None:
    """An endless table is left as soon as it cannot be true."""
    read = 0

    def endless() -> itertools.repeat[int]:
        return itertools.repeat(span(8, 4096))

    def counted() -> object:
        nonlocal read
        for block in endless():
            read += 1
            yield block

    with pytest.raises(ImageRejected, match="overlap"):
        check_apart([], 10 * 4096, counted())  # type: ignore[arg-type]
    assert read == 11


def test_blocks_are_apart_in_any_order() -> None:
    """What is sorted piece by piece is judged as a whole."""
    count = 200_000
    numbers = [*range(count - 1, -1, -2), *range(0, count, 2)]
    check_apart([], count * SECTOR, (span(number, SECTOR) for number in numbers))
    numbers[7] = numbers[count - 3]
    with pytest.raises(ImageRejected, match="overlap"):
        check_apart([], count * SECTOR, (span(number, SECTOR) for number in numbers))


def test_a_sparse_file_costs_a_bit_for_each_cluster(tmp_path: Path) -> None:
    """A qcow2 of a terabyte with metadata laid out in advance: 16 million clusters, 2 MiB of bits."""
    path = make(tmp_path / "disk.qcow2", noise(2 * MIB, 1), "qcow2", "compat=1.1")
    os.truncate(path, 1 << 40)
    with path.open("rb") as file:
        most, reason = peak(file)
    assert reason == ""
    assert most < 8 * MIB
