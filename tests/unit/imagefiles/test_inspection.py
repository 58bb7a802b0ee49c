"""Our reader of image headers, against files made by qemu-img, patched by hand, and against qemu-img's own eyes."""

from __future__ import annotations

import base64
import io
import json
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import imagefiles
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import SourceFormat

CAP = 2 * 1024**4
# The header of what `qemu-img create -o encrypt.format=luks` writes, recorded: a loaded machine cannot calibrate
# the key and qemu-img fails ("Unable to get accurate CPU usage"), however often it is asked.
LUKS_HEADER = zlib.decompress(
    base64.b64decode(
        "eNqNUDsOwjAMddqycwN8BhZugITEwsQcGldEapMocVXKxBE4EedCYiFUFNGlrSU/+fvk58N29wKAFIa27BA7TKKLLuqnxB9OWxbd"
        "9cli82h+/Nm3uLrDOX0eI+UNQGnPLZ40z2MXufW+djx3I6ELkzeyRCVZYqFLGp1Pc1s5TyFoa5BbR1NqP/xGkcL9Gsmw1xTGzodS"
        "Xlv0VOS2Nhwmz4eos5IuzHx+IrxscKB50H8DHwAyrQ=="
    )
)
LUKS_SIZE_BYTES = 2359296


def qemu_img(*arguments: str) -> str:
    """What qemu-img prints; its failure is the test's."""
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A good qcow2 with something in it."""
    raw, path = tmp_path / "disk.raw", tmp_path / "disk.qcow2"
    raw.write_bytes(b"boot" * 1024 + bytes(4 * 1024 * 1024))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(path))
    return path


def look(path: Path, claimed: SourceFormat | None = None, cap: int = CAP) -> imagefiles.Inspection:
    """The inspection of a file."""
    with path.open("rb") as file:
        return imagefiles.inspect(file, claimed, virtual_size_max=cap)


def reason(path: Path, claimed: SourceFormat | None = None, cap: int = CAP) -> str:
    """Why the file is refused."""
    with pytest.raises(ImageRejected) as caught:
        look(path, claimed, cap)
    assert caught.value.hint
    return caught.value.reason


def patch(path: Path, at: int, layout: str, value: int) -> None:
    """Writes one big-endian number into the file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(f">{layout}", content, at, value)
    path.write_bytes(content)


@pytest.mark.parametrize(
    "options", ["compat=0.10", "compat=1.1", "compat=1.1,compression_type=zstd", "cluster_size=4k"]
)
def test_standalone_qcow2_is_good(tmp_path: Path, options: str) -> None:
    """Versions 2 and 3, both compressions, any cluster size."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, str(path), "64M")
    found = look(path)
    assert (found.format, found.virtual_size_bytes) == (SourceFormat.QCOW2, 64 * 1024 * 1024)


def test_raw_must_be_said(tmp_path: Path) -> None:
    """A raw disk is one only by the user's word."""
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(2 * 1024 * 1024))
    assert reason(path) == "format"
    assert look(path, SourceFormat.RAW).virtual_size_bytes == 2 * 1024 * 1024
    path.write_bytes(bytes(2 * 1024 * 1024 + 100))
    assert reason(path, SourceFormat.RAW) == "size"


@pytest.mark.parametrize(
    "backing",
    [
        "/etc/passwd",
        "../../../etc/passwd",
        'json:{"driver":"raw","file.filename":"/etc/passwd"}',
        "nbd://127.0.0.1:9/x",
        "fat:/etc",
    ],
)
def test_a_backing_file_is_refused(tmp_path: Path, backing: str) -> None:
    """Whatever its form: it would make another program read a file of the host."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing, str(path), "1M")
    assert reason(path) == "backing-file"


def test_an_external_data_file_is_refused(tmp_path: Path) -> None:
    """Its data could be any file of the host; the bit and the name are each enough."""
    path, data = tmp_path / "disk.qcow2", tmp_path / "data"
    options = f"data_file={data},data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", options, str(path), "2M")
    assert reason(path) == "data-file"
    patch(path, 72, "Q", 0)  # without the feature bit the header extension still names it
    assert reason(path) == "data-file"


def test_snapshots_are_refused(disk: Path) -> None:
    """Internal snapshots are parts of a disk that nobody asked for."""
    qemu_img("snapshot", "-c", "one", str(disk))
    assert reason(disk) == "snapshots"


def test_encryption_is_refused(tmp_path: Path) -> None:
    """A LUKS qcow2, and a header that claims the old encryption."""
    path = tmp_path / "disk.qcow2"
    path.write_bytes(LUKS_HEADER.ljust(LUKS_SIZE_BYTES, b"\0"))
    assert reason(path) == "encrypted"
    patch(path, 32, "I", 1)
    assert reason(path) == "encrypted"


@pytest.mark.parametrize(
    ("at", "layout", "value", "expected"),
    [
        (72, "Q", 1, "dirty"),
        (72, "Q", 2, "corrupt"),
        (72, "Q", 4, "data-file"),
        (72, "Q", 16, "extended-l2"),
        (72, "Q", 32, "unknown-feature"),
        (72, "Q", 1 << 63, "unknown-feature"),
        (4, "I", 1, "version"),
        (4, "I", 4, "version"),
        (20, "I", 40, "header"),
        (20, "I", 0, "header"),
        (24, "Q", 1 << 62, "header"),
        (24, "Q", 0, "virtual-size"),
        (24, "Q", 4 * 1024**2 + 1, "size"),
        (36, "I", 0, "header"),
        (36, "I", 1 << 30, "header"),
        (40, "Q", 1 << 40, "truncated"),
        (48, "Q", 1 << 40, "truncated"),
        (48, "Q", 0, "truncated"),
        (56, "I", 0, "header"),
        (60, "I", 65536, "snapshots"),
        (96, "I", 60, "header"),
        (100, "I", 8, "header"),
        (100, "I", 1 << 20, "header"),
    ],
)
def test_a_patched_header_is_refused(disk: Path, at: int, layout: str, value: int, expected: str) -> None:
    """One wrong number in the header is enough."""
    patch(disk, at, layout, value)
    assert reason(disk) == expected


@pytest.mark.parametrize("of", ["vmdk", "vdi", "vpc", "vhdx", "qed"])
def test_other_formats_are_named(tmp_path: Path, of: str) -> None:
    """A file of another format is refused as qcow2 and as raw, by its name."""
    path = tmp_path / "disk"
    qemu_img("create", "-q", "-f", of, str(path), "2M")
    assert reason(path) == "format"
    assert reason(path, SourceFormat.RAW) == "second-magic"


def test_a_raw_that_is_a_qcow2_is_refused(disk: Path) -> None:
    """CVE-2024-40767: the guest's first bytes would be believed by someone."""
    assert reason(disk, SourceFormat.RAW) == "second-magic"


def test_a_polyglot_is_refused(tmp_path: Path) -> None:
    """A disk that is a CD as well."""
    content = bytearray(4 * 1024 * 1024)
    content[imagefiles.ISO_MAGIC_AT : imagefiles.ISO_MAGIC_AT + 5] = b"CD001"
    path = tmp_path / "disk.raw"
    path.write_bytes(content)
    assert reason(path, SourceFormat.RAW) == "second-magic"


def test_sizes_have_a_cap(tmp_path: Path) -> None:
    """A 200 kB file may claim petabytes; a tiny one is no disk."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M", str(path), "3T")
    assert reason(path) == "virtual-size"
    assert look(path, cap=4 * 1024**4).virtual_size_bytes == 3 * 1024**4
    qemu_img("create", "-q", "-f", "qcow2", str(path), "64k")
    assert reason(path) == "virtual-size"


@pytest.mark.parametrize("size", [0, 3, 71, 103])
def test_a_cut_file_is_refused(disk: Path, size: int) -> None:
    """At any length."""
    disk.write_bytes(disk.read_bytes()[:size])
    assert reason(disk) in ("format", "truncated")


def mutated(seed: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The file with some bytes of its header changed."""
    content = bytearray(seed)
    for at, value in changes:
        content[at] = value
    return bytes(content)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 111), st.integers(0, 255)), max_size=6))
def test_no_header_breaks_the_reader(disk: Path, changes: list[tuple[int, int]]) -> None:
    """Whatever the header says, the answer is an inspection or ImageRejected."""
    _verdict(mutated(disk.read_bytes(), changes), lambda _: None)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(st.integers(4, 111), st.integers(0, 255)), min_size=1, max_size=2))
def test_what_qemu_refuses_we_refuse(disk: Path, tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """We never accept a header that `qemu-img info` rejects, and never see another size than it does."""
    content = mutated(disk.read_bytes(), changes)

    def accepted(found: imagefiles.Inspection) -> None:
        path = tmp_path / "mutated.qcow2"
        path.write_bytes(content)
        told = json.loads(qemu_img("info", "-f", "qcow2", "--output=json", str(path)))
        assert told["virtual-size"] == found.virtual_size_bytes
        assert "backing-filename" not in told

    _verdict(content, accepted)


def _verdict(content: bytes, accepted: Callable[[imagefiles.Inspection], None]) -> None:
    try:
        found = imagefiles.inspect(io.BytesIO(content), None, virtual_size_max=CAP)
    except ImageRejected:
        return
    accepted(found)


def test_an_end_of_the_extensions_has_no_length_past_the_cluster(tmp_path: Path) -> None:
    """QEMU looks at it before it looks at the kind."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", "compat=0.10", str(path), "8M")
    patch(path, 72, "I", 0)
    patch(path, 76, "I", 0x30000)
    assert reason(path) == "header"
    with pytest.raises(subprocess.CalledProcessError):
        qemu_img("info", "-f", "qcow2", str(path))
