"""Our reader of VMDKs: the two kinds that are one file, and none of the texts that name other files."""

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
from tests.world.disk_files import MIB, SECTOR, SIZE, content, exported_vmdk, identical, make, qemu_img

CAP = 2 * 1024**4
KINDS = ["monolithicSparse", "streamOptimized"]


@pytest.fixture(scope="module", params=KINDS)
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One of each kind."""
    path = tmp_path_factory.mktemp("vmdk") / "disk.vmdk"
    return make(path, content(), "vmdk", f"subformat={request.param}").read_bytes()


def look(data: bytes) -> imagefiles.Inspection:
    """The inspection of bytes."""
    return imagefiles.inspect(io.BytesIO(data), None, virtual_size_max=CAP, convert=True)


def reason(data: bytes) -> str:
    """Why they are refused."""
    with pytest.raises(ImageRejected) as caught:
        look(data)
    assert caught.value.hint
    return caught.value.reason


def changed(data: bytes, at: int, layout: str, *values: object) -> bytes:
    """With little-endian numbers at a place."""
    lie = bytearray(data)
    struct.pack_into(f"<{layout}", lie, at, *values)
    return bytes(lie)


def described(data: bytes, old: str, new: str) -> bytes:
    """With other words in the descriptor, which keeps its room."""
    at = struct.unpack_from("<Q", data, 28)[0] * SECTOR
    room = 20 * SECTOR
    text = data[at : at + room]
    assert old.encode() in text
    words = text.rstrip(b"\0").replace(old.encode(), new.encode())
    return data[:at] + words.ljust(room, b"\0") + data[at + room :]


def streamed(data: bytes) -> bytes:
    """As VMware writes it to a pipe: where the directory lies stands only in a footer at the end."""
    header = data[:SECTOR]
    padded = data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
    return changed(padded, 56, "Q", (1 << 64) - 1) + header + bytes(SECTOR)


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_in_one_file_is_good(tmp_path: Path, kind: str) -> None:
    """Sparse and compressed, also when its directory lies at the end, and whatever its file is called now."""
    data = make(tmp_path / "disk.vmdk", content(), "vmdk", f"subformat={kind}").read_bytes()
    found = look(data)
    assert (found.format, found.virtual_size_bytes) == (SourceFormat.VMDK, SIZE)
    assert found.compressed == (kind == "streamOptimized")
    assert look(streamed(data)) == found
    assert look(described(data, "disk.vmdk", "Windows 2022 (1).vmdk")) == found
    more = 'encoding="UTF-8"\nisNativeSnapshot="no"\nddb.uuid = "60 00 C2 9e"\nddb.comment=""\nddb.thin_x-1 = "1"\n'
    assert look(described(data, "# The Disk Data Base", more)) == found
    assert look(described(data, "#DDB", "#DDB\0what the memory of a program held")) == found


def test_what_virtualbox_and_ovftool_export_is_good(tmp_path: Path) -> None:
    """Their extents are read-only and their directory lies at the end; qemu-img finds the same bytes in it."""
    disk = content()
    data = exported_vmdk(disk)
    found = look(data)
    assert (found.format, found.virtual_size_bytes, found.compressed) == (SourceFormat.VMDK, SIZE, True)
    (tmp_path / "disk.vmdk").write_bytes(data)
    assert identical(tmp_path / "disk.vmdk", "vmdk", disk, tmp_path)


@pytest.mark.parametrize("kind", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_descriptor_that_names_other_files_is_refused(tmp_path: Path, kind: str) -> None:
    """A text alone, however honest its files are."""
    qemu_img("create", "-q", "-f", "vmdk", "-o", f"subformat={kind}", tmp_path / "disk.vmdk", "2M")
    assert reason((tmp_path / "disk.vmdk").read_bytes()) == "format"
    assert reason(b'# Disk DescriptorFile\nRW 2 FLAT "/etc/passwd" 0\n') == "format"
    assert reason(b"COWD".ljust(4096, b"\0")) == "format"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (f'RW {SIZE // SECTOR} SPARSE "disk.vmdk"', 'RW 2 FLAT "/etc/passwd" 0', "descriptor"),
        ('SPARSE "disk.vmdk"', 'SPARSE "/etc/passwd"', "descriptor"),
        ('SPARSE "disk.vmdk"', 'SPARSE "..\\\\x.vmdk"', "descriptor"),
        ('SPARSE "disk.vmdk"', 'SPARSE "json:{}"', "descriptor"),
        ('SPARSE "disk.vmdk"', f'SPARSE "disk.vmdk"\nRW {SIZE // SECTOR} SPARSE "b.vmdk"', "descriptor"),
        ('SPARSE "disk.vmdk"', 'SPARSE "disk.vmdk"\nRW 9 VMFS "/etc/shadow"', "descriptor"),
        ("\nRW ", "\nNOACCESS ", "descriptor"),
        ("\nRW ", "\nRW 1", "descriptor"),
        ("\nRW ", "\n# RW ", "descriptor"),
        ("parentCID=ffffffff", "parentCID=12345678", "parent"),
        ("parentCID=ffffffff", "", "parent"),
        ("parentCID=ffffffff", 'parentCID=ffffffff\nparentFileNameHint="/etc/shadow"', "parent"),
        ("version=1", '# parentFileNameHint="/etc/shadow"', "parent"),
        ("version=1", "version=1\ncreateType=vmfs", "descriptor"),
        ("version=1", "version=1\nchangeTrackPath=/etc/shadow", "descriptor"),
        ("createType=", "createType=x", "descriptor"),
        ("#DDB", "#DDB\0parentFileNameHint=", "parent"),
    ],
)
def test_a_descriptor_inside_names_one_extent_and_nothing_else(
    good: bytes, old: str, new: str, expected: str
) -> None:
    """QEMU would follow each of these words, wherever they stand."""
    assert reason(described(good, old, new)) == expected


def test_the_descriptor_that_is_read_is_the_one_that_qemu_reads() -> None:
    """QEMU takes the text behind the header for it, wherever the header says that it lies."""
    data = exported_vmdk(content())
    text, elsewhere = data[SECTOR : 2 * SECTOR], 40
    evil = text.replace(b"version=1", b'parentFileNameHint="/etc/shadow"')[:SECTOR]
    moved = data[:SECTOR] + evil + data[2 * SECTOR : elsewhere * SECTOR] + text + data[(elsewhere + 1) * SECTOR :]
    footer = len(data) - 2 * SECTOR
    both = changed(changed(moved, 28, "Q", elsewhere), footer + 28, "Q", elsewhere)
    assert reason(both) == "descriptor"
    assert look(data)


def test_a_kind_that_the_header_denies_is_refused(good: bytes) -> None:
    """Sparse is not compressed, and the other way round."""
    for one, other in (KINDS, KINDS[::-1]):
        with contextlib.suppress(AssertionError):
            assert reason(described(good, one, other)) == "descriptor"
            return
    pytest.fail("no kind was found")


@pytest.mark.parametrize(
    ("at", "layout", "value", "expected"),
    [
        (4, "I", 4, "version"),
        (4, "I", 0, "version"),
        (8, "I", 1 << 20, "header"),
        (8, "I", 0, "header"),
        (12, "Q", 0, "header"),  # QEMU would take it for a mere descriptor
        (12, "Q", 1, "virtual-size"),
        (12, "Q", CAP // SECTOR + 1, "virtual-size"),
        (12, "Q", 1 << 60, "header"),
        (12, "Q", CAP // SECTOR, "descriptor"),
        (20, "Q", 0, "block-size"),
        (20, "Q", 3, "block-size"),
        (20, "Q", 1 << 30, "block-size"),
        (28, "Q", 0, "descriptor"),
        (28, "Q", 2, "descriptor"),  # QEMU reads it at sector 1 all the same
        (28, "Q", 1 << 40, "descriptor"),
        (36, "Q", 0, "descriptor"),
        (36, "Q", 1 << 40, "descriptor"),
        (44, "I", 1024, "header"),
        (44, "I", 0, "header"),
        (56, "Q", 1 << 40, "truncated"),
        (56, "Q", 0, "overlap"),
        (56, "Q", (1 << 64) - 1, "header"),  # there is no footer
        (72, "B", 1, "dirty"),
        (73, "4s", b"\n \n\n", "header"),
        (77, "H", 7, "header"),
    ],
)
def test_a_patched_header_is_refused(good: bytes, at: int, layout: str, value: object, expected: str) -> None:
    """One wrong number in the header is enough."""
    assert reason(changed(good, at, layout, value)) == expected


def test_a_footer_that_says_something_else_is_refused(good: bytes) -> None:
    """What is checked at the beginning must hold for what is used from the end."""
    whole = streamed(good)
    footer = len(whole) - 2 * SECTOR
    for at, layout, value in [
        (12, "Q", 0),
        (12, "Q", 1),
        (28, "Q", 5),
        (36, "Q", 1),
        (56, "Q", (1 << 64) - 1),
        (0, "I", 0),
    ]:
        assert reason(changed(whole, footer + at, layout, value)) == "header", at


def test_grains_lie_in_the_file_and_apart(good: bytes) -> None:
    """Tables and grains: none beyond the end, on another, or on the header."""
    directory = struct.unpack_from("<Q", good, 56)[0] * SECTOR
    table = struct.unpack_from("<I", good, directory)[0] * SECTOR
    first, second = struct.unpack_from("<II", good, table)
    assert first > 1 < second
    assert reason(changed(good, directory, "I", 1 << 31)) == "truncated"
    assert reason(changed(good, directory, "I", directory // SECTOR)) == "overlap"
    assert reason(changed(good, table, "I", 1 << 31)) == "truncated"
    for sector in (second, directory // SECTOR, 2):
        assert reason(changed(good, table, "I", sector)) in ("overlap", "header"), sector
    assert reason(good[: len(good) // 2]) in ("truncated", "header")
    assert reason(good[: 4 * SECTOR]) == "truncated"
    assert reason(good[:100]) == "truncated"


def test_a_compressed_grain_is_the_one_that_it_is_marked_as(tmp_path: Path) -> None:
    """Its sector and its length are checked before anything is decompressed."""
    data = make(tmp_path / "disk.vmdk", content(), "vmdk", "subformat=streamOptimized").read_bytes()
    table = struct.unpack_from("<I", data, struct.unpack_from("<Q", data, 56)[0] * SECTOR)[0] * SECTOR
    grain = struct.unpack_from("<I", data, table)[0] * SECTOR
    assert reason(changed(data, grain, "Q", 128)) == "header"
    for length in (0, MIB, 1 << 31):
        assert reason(changed(data, grain + 8, "I", length)) == "header"


@settings(max_examples=150, deadline=None)
@given(at=st.integers(4, 600), value=st.binary(min_size=1, max_size=8))
def test_no_bytes_break_the_reader(good: bytes, at: int, value: bytes) -> None:
    """Whatever it says, the answer is an inspection or ImageRejected."""
    with contextlib.suppress(ImageRejected):
        assert 0 < look(changed(good, at, f"{len(value)}s", value)).virtual_size_bytes <= CAP


def test_an_extent_needs_no_name() -> None:
    """FreeBSD's mkimg gives none, and this file is meant whatever it is called."""
    data = exported_vmdk(content())
    assert look(described(data, '"generated-stream.vmdk"', '""')).virtual_size_bytes == SIZE
    assert look(described(data, "RDONLY", "RW").replace(b'"generated-stream.vmdk"', b'""'.ljust(23))) == look(data)


@pytest.mark.parametrize("place", ["generated", "# Extent", "CID=9b2f2b79", "ddb.comment"])
def test_a_descriptor_is_plain_ascii(place: str) -> None:
    """Two programs may read other bytes in two ways: in a name, a comment, a number, a key."""
    data = exported_vmdk(content())
    for word in ("\u00e9", "\u65e5\u672c", "\u00a0"):
        assert reason(described(data, place, place + word)) == "descriptor"
    at = data.index(place.encode())
    assert reason(data[:at] + b"\xff" + data[at + 1 :]) == "descriptor"
