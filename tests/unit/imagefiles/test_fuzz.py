"""Damaged tables and headers by the thousand: an inspection or ImageRejected, in bounded memory, and nothing else.

VMROLE_FUZZ says how many for each format; a failure names its seed.
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from oslo_utils.imageutils.format_inspector import ALL_FORMATS, SafetyCheckFailed

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from tests.world.disk_files import ALL, BLOCK, MIB, SECTOR, Vhd, content, exported_vmdk, make, noise, summed

COUNT = int(os.environ.get("VMROLE_FUZZ", "150"))
WEIGHED = 3  # of so many one has its memory looked at, which takes twenty times as long as the reading
CAP = 1 << 41
MEMORY_MOST = 64 * MIB
EDGES = (0, 1, 2, 7, 8, 255, 511, 512, 513, 4095, 65535, 65536, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62)
OFTEN_MOST = (1 << 64) - 1
PIECE = 1 << 20  # of a file that is only read once

pytestmark = pytest.mark.slow


def value(chance: random.Random, size: int, old: int) -> int:
    """One that is likely to hurt: an edge, a neighbour, a changed bit, anything."""
    match chance.randrange(4):
        case 0:
            new = chance.choice((*EDGES, OFTEN_MOST))
        case 1:
            new = old + chance.choice((-512, -1, 1, 8, 512, 65536))
        case 2:
            new = old ^ 1 << chance.randrange(size * 8)
        case _:
            new = chance.getrandbits(size * 8)
    return new & (1 << size * 8) - 1


def change(chance: random.Random, data: bytearray, places: list[tuple[int, int]], order: str) -> None:
    """One number at one of the places (offset, bytes)."""
    at, size = chance.choice(places)
    if at + size <= len(data):
        old = int.from_bytes(data[at : at + size], "big" if order == ">" else "little")
        new = value(chance, size, old)
        data[at : at + size] = new.to_bytes(size, "big" if order == ">" else "little")


def qcow2(place: Path) -> tuple[bytes, Callable[[random.Random, bytearray], None]]:
    """With compressed clusters among plain ones."""
    path = make(place / "disk.qcow2", content(), "qcow2", "compat=1.1")
    argv = ["qemu-io", "-f", "qcow2", "-c", "write -c -P 9 2M 256k", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    data = path.read_bytes()
    l1_at, refcounts_at = struct.unpack_from(">Q", data, 40)[0], struct.unpack_from(">Q", data, 48)[0]
    l2_at = struct.unpack_from(">Q", data, l1_at)[0] & (1 << 56) - 512
    header = [(at, 4) for at in range(0, 120, 4)] + [(at, 8) for at in range(8, 104, 8)]
    tables = [(l1_at, 8), (refcounts_at, 8), *[(l2_at + 8 * number, 8) for number in range(140)]]

    def mutate(chance: random.Random, lie: bytearray) -> None:
        for _ in range(chance.randint(1, 3)):
            change(chance, lie, chance.choice((header, tables)), ">")

    return data, mutate


def vmdk(_place: Path) -> tuple[bytes, Callable[[random.Random, bytearray], None]]:
    """A stream with a footer, a descriptor and compressed grains."""
    data = exported_vmdk(content())
    footer_at = len(data) - 2 * SECTOR
    directory_at = struct.unpack_from("<Q", data, footer_at + 56)[0] * SECTOR
    table_at = struct.unpack_from("<I", data, directory_at)[0] * SECTOR
    header = [(at, 4) for at in range(4, 80, 4)] + [(at, 8) for at in range(12, 72, 8)]
    tables = [(directory_at, 4), *[(table_at + 4 * number, 4) for number in range(140)]]
    grains = [(struct.unpack_from("<I", data, at)[0] * SECTOR + 8, 4) for at, _ in tables[1:]]

    def mutate(chance: random.Random, lie: bytearray) -> None:
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(4):
                case 0:
                    at, size = chance.choice(header)
                    new = value(chance, size, int.from_bytes(lie[at : at + size], "little")).to_bytes(size, "little")
                    for base in (0, footer_at):
                        lie[base + at : base + at + size] = new
                case 1:
                    lie[SECTOR + chance.randrange(600)] = chance.randrange(256)
                case _:
                    change(chance, lie, chance.choice((tables, grains)), "<")

    return data, mutate


def vhd(_place: Path) -> tuple[bytes, Callable[[random.Random, bytearray], None]]:
    """Dynamic; its sums are always good, so that what they guard is looked at."""
    data = Vhd(blocks={0: (ALL, noise(BLOCK, 1)), 2: (ALL, noise(BLOCK, 2))}).bytes()
    fields = [(at, size) for at in range(0, 88, 4) for size in (1, 4, 8)]
    table = [(3 * SECTOR + 4 * number, 4) for number in range(8)]

    def mutate(chance: random.Random, lie: bytearray) -> None:
        for _ in range(chance.randint(1, 3)):
            match chance.randrange(3):
                case 0:
                    change(chance, lie, fields, ">")
                    lie[:SECTOR] = summed(lie[:SECTOR], 64)
                    lie[-SECTOR:] = lie[:SECTOR]
                case 1:
                    change(chance, lie, [(SECTOR + at, size) for at, size in fields], ">")
                    lie[SECTOR : SECTOR + 1024] = summed(lie[SECTOR : SECTOR + 1024], 36)
                case _:
                    change(chance, lie, table, ">")

    return data, mutate


def vhdx(place: Path) -> tuple[bytes, Callable[[random.Random, bytearray], None]]:
    """Its metadata and its block table have no sums."""
    data = make(place / "disk.vhdx", content(), "vhdx", "block_size=1M").read_bytes()
    regions = [struct.unpack_from("<Q", data, 192 * 1024 + 16 + 32 * number + 16)[0] for number in range(2)]
    places = [(at + 4 * number, size) for at in regions for number in range(80) for size in (4, 8)]
    places += [(at + 65536 + 4 * number, 4) for at in regions for number in range(12)]
    places += [(64 * 1024 + at, 4) for at in range(0, 80, 4)]

    def mutate(chance: random.Random, lie: bytearray) -> None:
        for _ in range(chance.randint(1, 3)):
            change(chance, lie, places, "<")

    return data, mutate


def raw(_place: Path) -> tuple[bytes, Callable[[random.Random, bytearray], None]]:
    """Words of all formats at its beginning and its end."""
    words = (
        b"QFI\xfb",
        b"KDMV",
        b"conectix",
        b"vhdxfile",
        b"# x\n",
        b"version=1\n",
        b"ustar",
        b"<html>",
        b"\n",
        b"#",
    )

    def mutate(chance: random.Random, lie: bytearray) -> None:
        for _ in range(chance.randint(1, 6)):
            word, at = chance.choice(words), chance.choice((0, 64, 257, chance.randrange(600), len(lie) - 512))
            lie[at : at + len(word)] = word

    return bytes(MIB), mutate


@pytest.mark.parametrize("format", [qcow2, vmdk, vhd, vhdx, raw])
def test_no_damage_breaks_a_reader(
    tmp_path: Path, format: Callable[[Path], tuple[bytes, Callable[[random.Random, bytearray], None]]]
) -> None:
    """Some are taken all the same, and those are not larger than they may be."""
    data, mutate = format(tmp_path)
    taken = 0
    claimed = imagefiles.SourceFormat(format.__name__)
    for seed in range(COUNT):
        chance, lie = random.Random(seed), bytearray(data)
        mutate(chance, lie)
        if chance.randrange(8) == 0:
            del lie[chance.randrange(len(lie)) :]
        is_helpful = True
        if seed % WEIGHED == 0:
            tracemalloc.start()
        try:
            found = imagefiles.inspect(io.BytesIO(lie), claimed, virtual_size_max=CAP, convert=True)
            assert 0 < found.virtual_size_bytes <= CAP
            taken += 1
        except ImageRejected as error:
            is_helpful = bool(error.reason and error.hint)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        finally:
            most = tracemalloc.get_traced_memory()[1]  # 0 of one that is not weighed
            tracemalloc.stop()
        assert is_helpful, f"seed {seed}"
        assert most < MEMORY_MOST, f"seed {seed} took {most} bytes"
    assert 0 < taken < COUNT


def look_of_nova(data: bytes, format: str) -> tuple[str, int]:
    """Why Nova, which looks into headers, takes no such file, "" when it does; and the size that it reads."""
    inspector = ALL_FORMATS[format]()
    for at in range(0, len(data), PIECE):
        inspector.eat_chunk(data[at : at + PIECE])
    inspector.finish()
    if not inspector.format_match:
        return "it is another format", 0
    try:
        inspector.safety_check()
    except SafetyCheckFailed as error:
        return ", ".join(error.failures), 0
    return "", inspector.virtual_size


@pytest.mark.parametrize("format", [qcow2, vmdk, vhd, vhdx])
def test_nothing_is_taken_that_nova_refuses(
    tmp_path: Path, format: Callable[[Path], tuple[bytes, Callable[[random.Random, bytearray], None]]]
) -> None:
    """Another reader of the same formats sees nothing bad in what we take, and reads the same size."""
    data, mutate = format(tmp_path)
    taken = 0
    for seed in range(COUNT):
        chance, lie = random.Random(seed), bytearray(data)
        mutate(chance, lie)
        try:
            ours = imagefiles.inspect(
                io.BytesIO(lie), imagefiles.SourceFormat(format.__name__), virtual_size_max=CAP, convert=True
            )
        except ImageRejected:
            continue
        why_not, size_bytes = look_of_nova(bytes(lie), format.__name__)
        assert not why_not, f"seed {seed}"
        if format is not vhd:  # Of which it reads the size that the disk was made with.
            assert size_bytes == ours.virtual_size_bytes, f"seed {seed}"
        taken += 1
    assert taken
