"""Every cluster of a qcow2 is in the file, and nothing is there twice: with --convert as without, nothing is lost."""

from __future__ import annotations

import io
import itertools
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import imagefiles
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ImageRejected
from orchestrator.model import DiskFormat
from orchestrator.model.intake import Intake
from tests.world.disk_files import MIB, SIZE, content, identical, make, noise, qemu_img

CLUSTER = 65536
COPIED, COMPRESSED = 1 << 63, 1 << 62
OFFSET = (1 << 56) - 1 & ~0x1FF


class Qcow2:
    """A file of qemu-img's, whose tables can be read and changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = bytearray(path.read_bytes())
        self.l1_at = self.number(40)
        self.refcounts_at = self.number(48)
        self.block_at = self.number(self.refcounts_at)
        self.l2_at = self.number(self.l1_at) & OFFSET

    def number(self, at: int) -> int:
        """One of the big-endian numbers that tables are made of."""
        return int(struct.unpack_from(">Q", self.bytes, at)[0])

    def put(self, at: int, value: int) -> None:
        """Changes one."""
        struct.pack_into(">Q", self.bytes, at, value)

    def far(self) -> int:
        """A border of a cluster far past the end of the file."""
        return (len(self.bytes) // CLUSTER + 100) * CLUSTER


def entry(disk: Qcow2, value: int) -> None:
    """The first cluster of the disk lies there instead."""
    disk.put(disk.l2_at, COPIED | value)


def cut(percent: int) -> Callable[[Qcow2], None]:
    """The file ends early."""

    def apply(disk: Qcow2) -> None:
        del disk.bytes[len(disk.bytes) * percent // 100 :]

    return apply


DAMAGE: dict[str, tuple[str, Callable[[Qcow2], None]]] = {
    "a cluster past the end": ("truncated", lambda disk: entry(disk, disk.far())),
    "a cluster that is no cluster": ("header", lambda disk: entry(disk, disk.number(disk.l2_at) & OFFSET | 512)),
    "a cluster on the header": ("header", lambda disk: entry(disk, 0)),
    "a cluster on the L1 table": ("overlap", lambda disk: entry(disk, disk.l1_at)),
    "a cluster on its L2 table": ("overlap", lambda disk: entry(disk, disk.l2_at)),
    "a cluster on the refcount table": ("overlap", lambda disk: entry(disk, disk.refcounts_at)),
    "a cluster on a refcount block": ("overlap", lambda disk: entry(disk, disk.block_at)),
    "one cluster twice": ("overlap", lambda disk: entry(disk, disk.number(disk.l2_at + 8) & OFFSET)),
    "a reserved bit of a cluster": ("header", lambda disk: disk.put(disk.l2_at, disk.number(disk.l2_at) | 1 << 56)),
    "a low reserved bit": ("header", lambda disk: disk.put(disk.l2_at, disk.number(disk.l2_at) | 2)),
    "an L2 table past the end": ("truncated", lambda disk: disk.put(disk.l1_at, COPIED | disk.far())),
    "an L2 table on the L1 table": ("overlap", lambda disk: disk.put(disk.l1_at, COPIED | disk.l1_at)),
    "an L2 table on the refcounts": ("overlap", lambda disk: disk.put(disk.l1_at, COPIED | disk.refcounts_at)),
    "an L2 table that is no cluster": ("header", lambda disk: disk.put(disk.l1_at, COPIED | disk.l2_at | 512)),
    "a reserved bit of a table": ("header", lambda disk: disk.put(disk.l1_at, disk.number(disk.l1_at) | 1 << 57)),
    "the L1 table on the refcounts": ("overlap", lambda disk: disk.put(40, disk.refcounts_at)),
    "the L1 table on a refcount block": ("overlap", lambda disk: disk.put(40, disk.block_at)),
    "a refcount block past the end": ("truncated", lambda disk: disk.put(disk.refcounts_at, disk.far())),
    "a reserved bit of the refcounts": ("header", lambda disk: disk.put(disk.refcounts_at, disk.block_at | 1)),
    "a compressed cluster past the end": ("truncated", lambda disk: disk.put(disk.l2_at, COMPRESSED | disk.far())),
    "a compressed cluster on a plain one": (
        "overlap",
        lambda disk: disk.put(disk.l2_at, COMPRESSED | (disk.number(disk.l2_at + 8) & OFFSET)),
    ),
    "cut at 30 %": ("truncated", cut(30)),
    "cut at 60 %": ("truncated", cut(60)),
    "cut at 90 %": ("truncated", cut(90)),
}


@pytest.fixture
def repository(tmp_path: Path) -> Catalogue:
    """An empty repository."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    return Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))


def inspected(data: bytes | bytearray, *, convert: bool) -> imagefiles.Inspection:
    """What our reader says."""
    return imagefiles.inspect(io.BytesIO(data), None, virtual_size_max=1024**4, convert=convert)


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_refused(tmp_path: Path, damage: str, convert: bool) -> None:
    """By our own reader, whether the disk is taken as it is or converted."""
    disk = Qcow2(make(tmp_path / "disk", content(), "qcow2", "compat=1.1"))
    reason, apply = DAMAGE[damage]
    apply(disk)
    with pytest.raises(ImageRejected) as caught:
        inspected(disk.bytes, convert=convert)
    assert caught.value.reason == reason
    assert caught.value.hint


@pytest.mark.parametrize("options", ["compat=0.10", "compat=1.1,extended_l2=on", "compat=1.1,cluster_size=4k"])
def test_other_tables_are_walked_as_well(tmp_path: Path, options: str) -> None:
    """Version 2 knows no zero bit; entries with subclusters have two words; a cut is seen in each."""
    path = make(tmp_path / "disk", content(), "qcow2", options)
    disk = Qcow2(path)
    assert inspected(disk.bytes, convert=True).virtual_size_bytes == SIZE
    with pytest.raises(ImageRejected, match="truncated"):
        inspected(disk.bytes[: len(disk.bytes) * 9 // 10], convert=True)
    if "extended" in options:
        disk.put(disk.l2_at + 8, 1 << 32 | 1)  # a part that is both there and zero
    else:
        disk.put(disk.l2_at, disk.number(disk.l2_at) | (1 if "0.10" in options else 1 << 60))
    with pytest.raises(ImageRejected, match="header"):
        inspected(disk.bytes, convert=True)


def compressed(tmp_path: Path) -> Qcow2:
    """A disk whose clusters are compressed, several to one cluster of the file."""
    raw, path = tmp_path / "raw", tmp_path / "disk"
    raw.write_bytes(b"".join(noise(1000, seed).ljust(CLUSTER, b"\0") for seed in range(64)))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
    return Qcow2(path)


def test_compressed_clusters_share_sectors_and_nothing_more(tmp_path: Path) -> None:
    """A sound one is taken though its file ends in the middle of a sector; two in the same place, or cut, are not."""
    disk = compressed(tmp_path)
    assert inspected(disk.bytes.rstrip(b"\0"), convert=True).virtual_size_bytes == 64 * CLUSTER
    with pytest.raises(ImageRejected, match="truncated"):
        inspected(disk.bytes[:-1024], convert=True)
    second = disk.number(disk.l2_at + 8)
    disk.put(disk.l2_at, second)
    with pytest.raises(ImageRejected, match="overlap"):
        inspected(disk.bytes, convert=True)
    disk.put(disk.l2_at, second + 3)
    with pytest.raises(ImageRejected, match="overlap"):
        inspected(disk.bytes, convert=True)
    disk.put(disk.l2_at, COPIED | second)
    with pytest.raises(ImageRejected, match="header"):
        inspected(disk.bytes, convert=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cluster", "options"),
    [
        *itertools.product(["512", "4k", "64k", "2M"], ["", ",preallocation=metadata", ",lazy_refcounts=on"]),
        ("64k", ",extended_l2=on"),  # subclusters need clusters of 16 KiB
        ("2M", ",extended_l2=on"),
    ],
)
def test_what_programs_write_is_taken(tmp_path: Path, cluster: str, options: str) -> None:
    """Written to here and there, compressed in part, resized, with parts discarded: no sound file is refused."""
    path = tmp_path / "disk"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}{options}", path, "9M")
    io_commands = ["write -P 7 4M 1k", "write -P 8 100k 512", "write -c -P 9 2M 2M", "write -z 1M 64k"]
    io_commands += ["discard 2M 64k", "write -P 3 9436160 1k", "truncate 16M", "write -P 5 12M 65k"]
    for command in io_commands:
        if "preallocation" in options:
            command = command.replace("-c ", "")  # QEMU compresses nothing into what is there already.
        _io(path, command)
        inspected(path.read_bytes(), convert=True)
    qemu_img("snapshot", "-c", "one", path)
    _io(path, "write -P 11 3M 1M")
    qemu_img("resize", "-q", "--shrink", path, "13M")
    inspected(path.read_bytes(), convert=True)


def _io(path: Path, command: str) -> None:
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(path)], check=True, capture_output=True)


def test_not_one_byte_may_be_missing(tmp_path: Path) -> None:
    """Of the disk, that is: behind its end, the last cluster may be cut."""
    whole = make(tmp_path / "disk", noise(2 * MIB, 1), "qcow2", "compat=1.1").read_bytes()
    for length in [*range(len(whole) - 3, len(whole)), *range(CLUSTER, len(whole), 50_000)]:
        with pytest.raises(ImageRejected, match="truncated"):
            inspected(whole[:length], convert=True)
    data = content()
    whole = make(tmp_path / "disk", data, "qcow2", "compat=1.1").read_bytes()
    spare = -len(data) % CLUSTER
    assert inspected(whole[:-spare], convert=True).virtual_size_bytes == SIZE
    with pytest.raises(ImageRejected, match="truncated"):
        inspected(whole[: -spare - 1], convert=True)


@pytest.mark.slow
@pytest.mark.parametrize("percent", [60, 90])
def test_a_cut_disk_is_not_converted(repository: Catalogue, tmp_path: Path, percent: int) -> None:
    """The command refuses it either way; before, QEMU took what was missing for zeros."""
    data = make(tmp_path / "disk", noise(4 * MIB, 1), "qcow2", "compat=1.1").read_bytes()
    for convert in (False, True):
        with pytest.raises(ImageRejected) as caught:
            repository.add(io.BytesIO(data[: len(data) * percent // 100]), Intake(name="disk", convert=convert))
        assert caught.value.reason == "truncated"
    assert repository.all() == []


@pytest.mark.slow
def test_refcounts_are_checked_before_a_conversion(repository: Catalogue, tmp_path: Path) -> None:
    """They do not count for the disk as it is read, and are what tells a sound file from a patched one."""
    disk = Qcow2(make(tmp_path / "disk", content(), "qcow2", "compat=1.1"))
    disk.bytes[disk.block_at : disk.block_at + 16] = bytes(16)
    with pytest.raises(ImageRejected) as caught:
        repository.add(io.BytesIO(bytes(disk.bytes)), Intake(name="disk", convert=True))
    assert caught.value.reason == "damaged"
    assert repository.all() == []


@pytest.mark.slow
@pytest.mark.parametrize("convert", [False, True])
def test_clusters_that_nobody_uses_harm_nothing(repository: Catalogue, tmp_path: Path, convert: bool) -> None:
    """As a program leaves them that was killed: counted, not used."""
    disk = Qcow2(make(tmp_path / "disk", content(), "qcow2", "compat=1.1"))
    disk.bytes += bytes(-len(disk.bytes) % CLUSTER) + noise(CLUSTER, 1)
    struct.pack_into(">H", disk.bytes, disk.block_at + 2 * (len(disk.bytes) // CLUSTER - 1), 1)
    image = repository.add(io.BytesIO(bytes(disk.bytes)), Intake(name="disk", convert=convert))
    assert image.format is DiskFormat.QCOW2
    assert identical(repository.path(image), "qcow2", content(), tmp_path)
