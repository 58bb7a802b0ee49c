"""Our reader of VHDX files, on files that qemu-img made and that were changed byte by byte, sums mended or not."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import subprocess
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import SourceFormat, vhdx
from tests.world.disk_files import MIB, SIZE, content, make, noise

pytestmark = pytest.mark.slow

CAP = 2 * 1024**4
KIB = 1024
HEADERS, REGION_TABLES = (64 * KIB, 128 * KIB), (192 * KIB, 256 * KIB)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A dynamic VHDX with something in it."""
    return make(tmp_path_factory.mktemp("vhdx") / "disk.vhdx", content(), "vhdx", "block_size=1M").read_bytes()


def look(data: bytes, *parents: bytes) -> imagefiles.Inspection:
    """The inspection of bytes."""
    files = [io.BytesIO(one) for one in parents]
    return imagefiles.inspect(io.BytesIO(data), None, virtual_size_max=CAP, convert=True, parents=files)


def reason(data: bytes, *parents: bytes) -> str:
    """Why they are refused."""
    with pytest.raises(ImageRejected) as caught:
        look(data, *parents)
    assert caught.value.hint
    return caught.value.reason


def crc32c(data: bytes | bytearray) -> int:
    """Bit by bit: another way than the product's."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def changed(data: bytes | bytearray, at: int, layout: str, *values: object) -> bytearray:
    """With little-endian numbers at a place; nothing mended."""
    lie = bytearray(data)
    struct.pack_into(f"<{layout}", lie, at, *values)
    return lie


def in_headers(data: bytes, at: int, layout: str, *values: object) -> bytes:
    """The same in both headers, with good sums."""
    for place in HEADERS:
        data = mended(changed(data, place + at, layout, *values), place, 4 * KIB)
    return data


def in_regions(data: bytes, at: int, layout: str, *values: object) -> bytes:
    """The same in both region tables, with good sums."""
    for place in REGION_TABLES:
        data = mended(changed(data, place + at, layout, *values), place, 64 * KIB)
    return data


def mended(data: bytearray, place: int, length: int) -> bytes:
    """With a good sum of a part."""
    data[place + 4 : place + 8] = bytes(4)
    struct.pack_into("<I", data, place + 4, crc32c(data[place : place + length]))
    return bytes(data)


def region(data: bytes, name: str) -> int:
    """Where a region lies."""
    at = data.index(uuid.UUID(name).bytes_le, REGION_TABLES[0])
    return int(struct.unpack_from("<Q", data, at + 16)[0])


def item(data: bytes, name: str) -> tuple[int, int]:
    """Where an item of the metadata has its entry, and its value."""
    metadata = region(data, "8B7CA206-4790-4B9A-B8FE-575F050F886E")
    entry = data.index(uuid.UUID(name).bytes_le, metadata)
    return entry, metadata + int(struct.unpack_from("<I", data, entry + 16)[0])


PARAMETERS = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B"
DISK_SIZE = "2FA54224-CD1B-4876-B211-5DBED83BF4B8"
SECTOR_BYTES = "8141BF1D-A96F-4709-BA47-F233A8FAAB5F"
IDENTITY = "BECA12AB-B2E6-4523-93EF-C309E000C746"
PARENT_LOCATOR = "A8D35F2D-B30B-454D-ABF7-D3D84834AB0C"
BLOCK_TABLE = "2DC27766-F623-4200-9D64-115E9BFD4A08"


@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed", "block_size=256M", "log_size=8M"])
def test_a_disk_that_stands_alone_is_good(tmp_path: Path, options: str) -> None:
    """Dynamic and fixed, with large blocks and large logs."""
    found = look(make(tmp_path / "disk.vhdx", content(), "vhdx", options).read_bytes())
    assert (found.format, found.virtual_size_bytes) == (SourceFormat.VHDX, SIZE)


def test_the_sums_are_those_of_the_standard() -> None:
    """RFC 3720, appendix B.4, and the customary check of nine digits."""
    assert crc32c(b"123456789") == 0xE3069283
    assert vhdx._crc32c(b"123456789") == 0xE3069283
    assert vhdx._crc32c(bytes(32)) == 0x8A9136AA


def test_a_log_that_has_to_be_replayed_is_refused(good: bytes) -> None:
    """Its tables are not what they will be; the hint says who can close it."""
    with pytest.raises(ImageRejected) as caught:
        look(in_headers(good, 48, "16s", b"l" * 16))
    assert caught.value.reason == "dirty"
    assert "Hyper-V" in caught.value.hint


def with_log(data: bytes, page_at: int) -> bytes:
    """As a writer leaves it that is killed: one page is in the log, and not yet in its place."""
    log_id, number = b"l" * 16, 1
    log_bytes, log_at = struct.unpack_from("<IQ", data, HEADERS[0] + 68)
    page = data[page_at : page_at + 4 * KIB]
    header = struct.pack("<4sIIIQII16sQQ", b"loge", 0, 8 * KIB, 0, number, 1, 0, log_id, len(data), len(data))
    descriptor = struct.pack("<4s4s8sQQ", b"desc", page[-4:], page[:8], page_at, number)
    sector = struct.pack("<4sI4084sI", b"data", 0, page[8:-4], number)
    entry = bytearray((header + descriptor).ljust(4 * KIB, b"\0") + sector)
    struct.pack_into("<I", entry, 4, crc32c(bytes(entry)))
    assert len(entry) <= log_bytes
    dirty = bytearray(in_headers(data, 48, "16s", log_id))
    dirty[log_at : log_at + len(entry)] = entry
    dirty[page_at : page_at + 4 * KIB] = bytes(4 * KIB)
    return bytes(dirty)


def test_what_the_hint_says_mends_a_log(tmp_path: Path, good: bytes) -> None:
    """The table of blocks is in the log alone: refused, and with the command of the hint whole again."""
    disk = tmp_path / "disk.vhdx"
    disk.write_bytes(with_log(good, region(good, BLOCK_TABLE)))
    with pytest.raises(ImageRejected) as caught:
        look(disk.read_bytes())
    assert caught.value.reason == "dirty"
    (command,) = re.findall(r"(qemu-img check [^,;]*) COPY", caught.value.hint)
    subprocess.run([*command.split(), disk], check=True, capture_output=True)
    assert look(disk.read_bytes()).virtual_size_bytes == SIZE
    whole = tmp_path / "whole.vhdx"
    whole.write_bytes(good)
    subprocess.run(["qemu-img", "compare", "-q", disk, whole], check=True)


def test_the_newest_valid_header_counts(good: bytes) -> None:
    """A damaged one is passed over, as after a crash; two damaged ones are none."""
    for place in HEADERS:
        lie = bytearray(good)
        lie[place + 60] ^= 1
        assert look(bytes(lie)).virtual_size_bytes == SIZE
    newer = mended(changed(good, HEADERS[0] + 8, "Q", 1 << 60), HEADERS[0], 4 * KIB)
    newer = mended(changed(newer, HEADERS[0] + 48, "16s", b"l" * 16), HEADERS[0], 4 * KIB)
    assert reason(newer) == "dirty"
    older = mended(changed(newer, HEADERS[0] + 8, "Q", 0), HEADERS[0], 4 * KIB)
    assert look(older).virtual_size_bytes == SIZE
    assert reason(bytes(changed(changed(good, HEADERS[0], "I", 0), HEADERS[1], "I", 0))) == "checksum"


def test_a_disk_with_a_parent_is_refused_with_the_way_out(good: bytes) -> None:
    """By its flag, its locator or the state of a block; and nobody can give the parent either."""
    _, parameters = item(good, PARAMETERS)
    flagged = bytes(changed(good, parameters + 4, "I", 2))
    entry, _ = item(good, IDENTITY)
    located = bytes(changed(good, entry, "16s", uuid.UUID(PARENT_LOCATOR).bytes_le))
    table = region(good, BLOCK_TABLE)
    partly = bytes(changed(good, table, "Q", struct.unpack_from("<Q", good, table)[0] | 7))
    for lie in (flagged, located, partly):
        assert reason(lie) == "parent"
        with pytest.raises(ImageRejected) as caught:
            look(lie, good)
        assert "Merge-VHD" in caught.value.hint


def test_regions_and_versions_that_nobody_knows_are_refused(good: bytes) -> None:
    """What says that it must be known and is not; a table that differs from its copy; lengths that cannot be."""
    extra = struct.pack("<16sQII", b"x" * 16, 64 * MIB, MIB, 1)
    count = struct.unpack_from("<I", good, REGION_TABLES[0] + 8)[0]
    told = in_regions(in_regions(good, 8, "I", count + 1), 16 + 32 * count, "32s", extra)
    assert reason(told) == "unknown-feature"
    one = mended(changed(good, REGION_TABLES[1] + 12, "I", 7), REGION_TABLES[1], 64 * KIB)
    assert reason(one) == "checksum"
    assert reason(in_regions(good, 8, "I", 4000)) == "checksum"
    assert reason(in_regions(good, 8, "I", 0)) == "header"
    assert reason(in_regions(good, 16 + 16, "Q", 3)) == "header"
    assert reason(in_regions(good, 16 + 16, "Q", 1 << 50)) == "truncated"
    assert reason(in_headers(good, 66, "H", 2)) == "version"
    assert reason(in_headers(good, 72, "Q", 5)) == "header"
    assert reason(in_headers(good, 72, "Q", 0)) == "overlap"
    entry, _ = item(good, IDENTITY)
    assert reason(bytes(changed(good, entry, "16s", b"x" * 16))) == "unknown-feature"


@pytest.mark.parametrize(
    ("name", "layout", "value", "expected"),
    [
        (DISK_SIZE, "Q", CAP + MIB, "virtual-size"),
        (DISK_SIZE, "Q", (1 << 64) - 512, "virtual-size"),
        (DISK_SIZE, "Q", 0, "size"),
        (DISK_SIZE, "Q", SIZE + 1, "size"),
        (DISK_SIZE, "Q", CAP, "header"),
        (SECTOR_BYTES, "I", 4096, "sector-size"),
        (SECTOR_BYTES, "I", 0, "sector-size"),
        (PARAMETERS, "I", 512, "block-size"),
        (PARAMETERS, "I", 0, "block-size"),
        (PARAMETERS, "I", MIB + 1, "block-size"),
        (PARAMETERS, "I", 1 << 31, "block-size"),
    ],
)
def test_absurd_numbers_are_refused(good: bytes, name: str, layout: str, value: int, expected: str) -> None:
    """Metadata has no sums: every number is looked at."""
    _, at = item(good, name)
    assert reason(bytes(changed(good, at, layout, value))) == expected


def test_blocks_lie_in_the_file_and_apart(good: bytes) -> None:
    """None beyond its end, on another, on the headers, the log or a table."""
    table = region(good, BLOCK_TABLE)
    first, last = (struct.unpack_from("<Q", good, table + number * 8)[0] for number in (0, SIZE // MIB))
    assert first & 7 == last & 7 == 6
    for place, expected in [(1 << 43, "truncated"), (len(good) // MIB, "truncated"), (0, "overlap"), (1, "overlap")]:
        assert reason(bytes(changed(good, table, "Q", place << 20 | 6))) == expected, place
    assert reason(bytes(changed(good, table, "Q", last))) == "overlap"
    assert reason(bytes(changed(good, table, "Q", table | 6))) == "overlap"
    assert reason(bytes(changed(good, table, "Q", first & ~7 | 5))) == "header"
    assert reason(good[: -len(good) // 3]) == "truncated"
    assert reason(good[: 100 * KIB]) == "truncated"


@settings(max_examples=60, deadline=None)
@given(
    where=st.sampled_from(["headers", "regions", "metadata", "table"]),
    at=st.integers(0, 200),
    value=st.binary(min_size=1, max_size=8),
)
def test_no_bytes_break_the_reader(good: bytes, where: str, at: int, value: bytes) -> None:
    """Whatever it says, with good sums, the answer is an inspection or ImageRejected."""
    if where == "headers":
        lie = in_headers(good, at, f"{len(value)}s", value)
    elif where == "regions":
        lie = in_regions(good, at, f"{len(value)}s", value)
    else:
        name = BLOCK_TABLE if where == "table" else "8B7CA206-4790-4B9A-B8FE-575F050F886E"
        lie = bytes(changed(good, region(good, name) + at, f"{len(value)}s", value))
    with contextlib.suppress(ImageRejected):
        assert 0 < look(lie).virtual_size_bytes <= CAP


@pytest.mark.parametrize("block", ["1M", "8M", "32M"])
@pytest.mark.parametrize("zero", ["on", "off"])
def test_the_last_block_of_a_fixed_disk_may_end_with_the_disk(tmp_path: Path, block: str, zero: str) -> None:
    """As QEMU writes them: what lies behind the end of the disk need not be in the file, all before it must."""
    disk = noise(9 * MIB, 1)
    options = f"subformat=fixed,block_state_zero={zero},block_size={block}"
    whole = make(tmp_path / "disk.vhdx", disk, "vhdx", options).read_bytes()
    assert look(whole).virtual_size_bytes == len(disk)
    spare = -len(disk) % (int(block[:-1]) * MIB) if zero == "on" else 0
    assert look(whole[: len(whole) - spare]).virtual_size_bytes == len(disk)
    assert reason(whole[: len(whole) - spare - MIB]) == "truncated"
