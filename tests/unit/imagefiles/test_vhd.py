"""Our reader of VHDs: what Azure, Hyper-V and QEMU write is read as they read it, and every lie is refused."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import SourceFormat
from tests.world.disk_files import (
    ALL,
    MIB,
    SECTOR,
    SIZE,
    Vhd,
    bitmap,
    content,
    dynamic,
    make,
    noise,
    summed,
)

CAP = 2 * 1024**4


def look(data: bytes, *parents: bytes, claimed: SourceFormat | None = None) -> imagefiles.Inspection:
    """The inspection of bytes."""
    return imagefiles.inspect(
        io.BytesIO(data),
        claimed,
        virtual_size_max=CAP,
        convert=True,
        parents=[io.BytesIO(one) for one in parents],
    )


def reason(data: bytes, *parents: bytes, claimed: SourceFormat | None = None) -> str:
    """Why they are refused."""
    with pytest.raises(ImageRejected) as caught:
        look(data, *parents, claimed=claimed)
    assert caught.value.hint
    return caught.value.reason


def child(**changes: object) -> Vhd:
    """A differencing disk on the disk called iiii…, which one was called C:\\base.vhd."""
    disk = Vhd(
        kind=4, identity=b"c" * 16, parent=b"i" * 16, parent_name="C:\\base.vhd", locator=(0x57327275, 0, 20, 0)
    )
    for key, value in changes.items():
        setattr(disk, key, value)
    return disk


@pytest.mark.parametrize("options", ["subformat=fixed,force_size=on", "subformat=dynamic,force_size=on"])
def test_a_disk_is_as_large_as_its_current_size(tmp_path: Path, options: str) -> None:
    """Not what cylinders, heads and sectors come to, nor the size of the file with its footer."""
    found = look(make(tmp_path / "disk.vhd", content(), "vpc", options).read_bytes())
    assert (found.format, found.virtual_size_bytes, found.differencing) == (SourceFormat.VHD, SIZE, False)
    for creator in (b"vpc ", b"vs  ", b"win ", b"qemu", b"vbox", b"tap\0"):
        assert look(Vhd(creator=creator).bytes()).virtual_size_bytes == SIZE
        assert look(Vhd(kind=2, creator=creator).bytes(bytes(content()))).virtual_size_bytes == SIZE


def test_azures_fixed_disk_of_whole_mebibytes_is_read_without_its_footer() -> None:
    """Azure wants N MiB and 512 bytes; the disk has N MiB, and nobody may take the file for a raw disk."""
    azure = Vhd(kind=2, size=8 * MIB).bytes(bytes(8 * MIB))
    assert len(azure) == 8 * MIB + SECTOR
    assert look(azure).virtual_size_bytes == 8 * MIB
    assert reason(azure, claimed=SourceFormat.RAW) == "second-magic"


def test_a_vhd_is_converted_or_not_at_all() -> None:
    """Without --convert it is refused, and the refusal says how."""
    for claimed in (None, SourceFormat.VHD):
        with pytest.raises(ImageRejected) as caught:
            imagefiles.inspect(io.BytesIO(Vhd().bytes()), claimed, virtual_size_max=CAP)
        assert "--convert" in caught.value.hint


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (Vhd(block=MIB - SECTOR), "block-size"),
        (Vhd(block=0, entries=5), "block-size"),
        (Vhd(block=SECTOR), "block-size"),
        (Vhd(block=1 << 31), "block-size"),
        (Vhd(size=CAP + SECTOR), "virtual-size"),
        (Vhd(size=1 << 62, entries=5), "virtual-size"),
        (Vhd(size=SIZE + 1), "size"),
        (Vhd(size=0), "size"),
        (Vhd(size=SECTOR), "virtual-size"),
        (Vhd(entries=1), "header"),
        (Vhd(kind=5), "header"),
        (Vhd(kind=0), "header"),
        (Vhd(saved=1), "dirty"),
        (Vhd(parent=b"p" * 16), "parent"),
        (Vhd(locator=(0x57327275, 0, 11, 0), parent_name="/etc/shadow"), "parent"),
        (child(locator=(0x57327275, 0, 1 << 30, 0)), "truncated"),
        (child(locator=(0x57327275, 0, 4, 1 << 60)), "truncated"),
    ],
)
def test_a_lie_with_a_good_checksum_is_refused(lie: Vhd, expected: str) -> None:
    """Absurd blocks, sizes over the cap, and parents where there should be none."""
    assert reason(lie.bytes()) == expected


def test_the_table_may_not_point_out_of_the_file_or_at_itself() -> None:
    """Nor may two blocks share bytes, or lie on the header or the footer."""
    good = Vhd(blocks={0: (ALL, b"a"), 1: (ALL, b"b")})
    data = good.bytes()
    assert look(data).virtual_size_bytes == SIZE
    table = 3 * SECTOR
    second = struct.unpack_from(">I", data, table + 4)[0]
    for number, sector, expected in [
        (2, len(data) // SECTOR, "truncated"),
        (2, 0xFFFFFFFE, "truncated"),
        (0, second, "overlap"),
        (0, second - 1, "overlap"),
        (0, 0, "overlap"),
        (0, 3, "overlap"),
        (1, second + 1, "overlap"),
    ]:
        lie = bytearray(data)
        struct.pack_into(">I", lie, table + number * 4, sector)
        assert reason(bytes(lie)) == expected, (number, sector)


def test_a_file_that_was_cut_or_changed_is_refused() -> None:
    """A footer that is gone, wrong sums, and a copy of the footer that says something else."""
    data = Vhd(blocks={0: (ALL, b"a")}).bytes()
    assert reason(data[:-SECTOR]) == "truncated"
    assert reason(data[: MIB // 2]) == "truncated"
    assert reason(Vhd().footer(), claimed=SourceFormat.VHD) == "truncated"
    assert reason(Vhd(kind=2).bytes(bytes(SIZE - SECTOR))) == "truncated"
    for at in (len(data) - SECTOR + 100, SECTOR + 100):
        lie = bytearray(data)
        lie[at] ^= 1
        assert reason(bytes(lie)) == "checksum"
    assert reason(Vhd(identity=b"o" * 16).footer() + data[SECTOR:]) == "header"
    version = bytearray(data)
    struct.pack_into(">I", version, SECTOR + 24, 0x20000)
    version[SECTOR : 3 * SECTOR] = summed(version[SECTOR : 3 * SECTOR], 36)
    assert reason(bytes(version)) == "version"


@pytest.mark.parametrize(
    "head", [b"QFI\xfb", b"KDMV", b"vhdxfile", b"\x1f\x8b", b"PK\x03\x04", b"conectix", b"cxsparse"]
)
def test_a_fixed_disk_that_begins_as_something_else_is_refused(head: bytes) -> None:
    """Another program would take it for that."""
    assert reason(Vhd(kind=2).bytes(head + bytes(SIZE - len(head)))) == "second-magic"


def test_a_disk_on_another_is_refused_without_it() -> None:
    """Its parent's name is shown, not followed, and not believed to be printable."""
    assert reason(child().bytes()) == "parent"
    for name in ("/etc/shadow", "\x1b]0;x\x07", "json:{}"):
        with pytest.raises(ImageRejected) as caught:
            look(child(parent_name=name).bytes())
        assert "--parent" in caught.value.hint
        assert str(caught.value).isprintable()


def test_a_chain_is_whole_and_in_order() -> None:
    """Each stands on the next by its unique identity, all are of one size, and the last stands alone."""
    base, other = dynamic(content()), dynamic(content(), identity=b"o" * 16)
    grandchild = child(identity=b"g" * 16, parent=b"c" * 16)
    found = look(child().bytes(), base)
    assert (found.differencing, found.virtual_size_bytes) == (True, SIZE)
    assert look(grandchild.bytes(), child().bytes(), base).differencing
    assert reason(grandchild.bytes(), child().bytes()) == "parent"
    assert reason(grandchild.bytes(), base, child().bytes()) == "parent"
    assert reason(child().bytes(), other) == "parent"
    assert reason(base, other) == "parent"
    assert reason(child(size=SIZE + SECTOR).bytes(), base) == "parent"
    assert reason(child().bytes(), b"root:x:0:0:root:/root:/bin/bash\n" * 64) == "format"
    assert reason(child().bytes(), base[:-SECTOR]) == "truncated"
    assert reason(child(blocks={0: (bitmap(range(3)), b"x")}).bytes()[:-SECTOR], base) == "truncated"


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 4 * SECTOR), value=st.binary(min_size=1, max_size=8), mended=st.booleans())
def test_no_bytes_break_the_reader(at: int, value: bytes, mended: bool) -> None:
    """Whatever the headers say, sums right or wrong, the answer is an inspection or ImageRejected."""
    data = bytearray(_GOOD)
    data[at : at + len(value)] = value
    if mended:
        data[:SECTOR] = summed(data[:SECTOR], 64)
        data[SECTOR : 3 * SECTOR] = summed(data[SECTOR : 3 * SECTOR], 36)
        data[-SECTOR:] = data[:SECTOR]
    with contextlib.suppress(ImageRejected):
        found = look(bytes(data))
        assert 0 < found.virtual_size_bytes <= CAP


_GOOD = Vhd(size=2 * MIB, blocks={0: (ALL, noise(SECTOR, 3))}).bytes()
