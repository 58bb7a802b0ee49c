"""Disks of other formats come in as one standalone qcow2 with the same bytes; what could leak leaves nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
from pathlib import Path
from typing import cast

import pytest

from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.command import Limits, follow
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import CommandFailed, Conflict, ImageRejected, InvalidInput, NoSpace, Permanent
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import AnswerFormat, DiskBus, DiskFormat, Firmware, Hardware, Image, Os
from orchestrator.model.intake import Intake
from tests.world.disk_files import (
    ALL,
    BLOCK,
    MIB,
    SECTOR,
    SIZE,
    Vhd,
    bitmap,
    content,
    dynamic,
    exported_vmdk,
    identical,
    make,
    noise,
    qemu_img,
)

pytestmark = pytest.mark.slow

FORMATS = [
    ("vpc", "subformat=fixed,force_size=on"),
    ("vpc", "subformat=dynamic,force_size=on"),
    ("vhdx", "subformat=dynamic"),
    ("vhdx", "subformat=fixed,block_size=1M"),
    ("vmdk", "subformat=monolithicSparse"),
    ("vmdk", "subformat=streamOptimized"),
    ("qcow2", "compat=0.10"),
    ("qcow2", "compat=1.1,extended_l2=on"),
]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places below the test's directory."""
    return Layout(tmp_path / "state", tmp_path / "run")


@pytest.fixture
def repository(layout: Layout) -> Catalogue:
    """An empty repository."""
    return Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))


def add(repository: Catalogue, *files: bytes, name: str = "disk", format: SourceFormat | None = None) -> Image:
    """Adds a disk to be converted, with its parents behind it."""
    parts = [len(file) for file in files] if len(files) > 1 else []
    return repository.add(
        io.BytesIO(b"".join(files)), Intake(name=name, format=format, convert=True, parts=tuple(parts))
    )


def nothing_is_left(repository: Catalogue, layout: Layout) -> bool:
    """No file, no record."""
    return not [*layout.incoming.iterdir(), *layout.images.iterdir()] and repository.all() == []


@pytest.mark.parametrize(("of", "options"), FORMATS)
def test_a_converted_disk_has_the_same_bytes(
    repository: Catalogue, layout: Layout, tmp_path: Path, of: str, options: str
) -> None:
    """All of them and no more, as qemu-img compares; standalone, version 3, read-only, and its digest its own."""
    image = add(repository, make(tmp_path / "disk", content(), of, options).read_bytes())
    path = repository.path(image)
    assert (image.format, image.virtual_size_bytes) == (DiskFormat.QCOW2, SIZE)
    assert identical(path, "qcow2", content(), tmp_path)
    told = json.loads(qemu_img("info", "--output=json", path))
    assert "backing-filename" not in told
    assert told["format-specific"]["data"]["compat"] == "1.1"
    assert not told["format-specific"]["data"]["lazy-refcounts"]
    assert path.stat().st_mode & 0o7777 == 0o444
    assert hashlib.sha256(path.read_bytes()).hexdigest() == image.sha256
    assert list(layout.incoming.iterdir()) == []


def test_the_disk_of_an_ova_is_converted(repository: Catalogue, tmp_path: Path) -> None:
    """As VirtualBox and ovftool export it."""
    image = add(repository, exported_vmdk(content()))
    assert image.virtual_size_bytes == SIZE
    assert identical(repository.path(image), "qcow2", content(), tmp_path)


def test_raw_is_converted_when_it_is_said_to_be_raw(repository: Catalogue, tmp_path: Path) -> None:
    """It has no magic to be known by."""
    with pytest.raises(ImageRejected, match="looks like raw"):
        add(repository, bytes(content()))
    image = add(repository, bytes(content()), format=SourceFormat.RAW)
    assert identical(repository.path(image), "qcow2", content(), tmp_path)


@pytest.mark.parametrize("creator", [b"vpc ", b"vs  ", b"win ", b"qemu"])
def test_no_creator_makes_the_disk_shorter_or_longer(repository: Catalogue, tmp_path: Path, creator: bytes) -> None:
    """QEMU goes by cylinders, heads and sectors for some programs; the last sectors must come along all the same."""
    blocks = {number: (ALL, bytes(content()[number * BLOCK : (number + 1) * BLOCK])) for number in range(5)}
    image = add(repository, Vhd(creator=creator, blocks=blocks).bytes())
    assert identical(repository.path(image), "qcow2", content(), tmp_path)
    fixed = add(repository, Vhd(kind=2, creator=creator).bytes(bytes(content())), name="fixed")
    assert fixed.sha256 == image.sha256


def differencing(parent: bytes, identity: bytes, changes: list[range], data: bytes) -> bytes:
    """A VHD that has its own data in some sectors of its first block, and zeros in all of its last."""
    disk = Vhd(kind=4, identity=identity, parent=parent, parent_name="/etc/shadow")
    disk.blocks = {4: (ALL, b""), 0: (bitmap(*changes), data)}
    return disk.bytes()


@pytest.mark.parametrize("base", ["dynamic", "fixed"])
def test_a_differencing_disk_is_joined_with_its_parents(
    repository: Catalogue, layout: Layout, tmp_path: Path, base: str
) -> None:
    """Sector by sector: its own where its bitmap says so, its parent's elsewhere, zeros of its own over old data."""
    expected = content()
    file = dynamic(bytes(expected)) if base == "dynamic" else Vhd(kind=2).bytes(bytes(expected))
    child_data, grandchild_data = noise(BLOCK, 7), noise(BLOCK, 8)
    child = differencing(b"i" * 16, b"c" * 16, [range(2, 7), range(100, 101), range(4090, 4096)], child_data)
    grandchild = differencing(b"c" * 16, b"g" * 16, [range(1), range(5, 9)], grandchild_data)
    expected[4 * BLOCK :] = bytes(SIZE - 4 * BLOCK)
    for data, sectors in [
        (child_data, [range(2, 7), range(100, 101), range(4090, 4096)]),
        (grandchild_data, [range(1), range(5, 9)]),
    ]:
        for part in sectors:
            expected[part.start * SECTOR : part.stop * SECTOR] = data[part.start * SECTOR : part.stop * SECTOR]
    image = add(repository, grandchild, child, file)
    assert identical(repository.path(image), "qcow2", expected, tmp_path)
    assert list(layout.incoming.iterdir()) == []


def test_a_parent_is_what_was_sent_and_nothing_of_the_host(repository: Catalogue, layout: Layout) -> None:
    """None, another disk, a text file and a file that is too short are refused, and nothing is left."""
    child = differencing(b"i" * 16, b"c" * 16, [range(3)], b"x")
    base = dynamic(bytes(content()))
    shadow = Path("/etc/shadow").read_bytes()
    for parents in [
        (),
        (dynamic(bytes(content()), identity=b"o" * 16),),
        (shadow * 4,),
        (base[: MIB // 2],),
        (base, base),
    ]:
        with pytest.raises(ImageRejected):
            add(repository, child, *parents)
        assert nothing_is_left(repository, layout)
    whole = io.BytesIO(child + base)
    for parts in [(len(child), len(base) + 1), (len(child), len(base) - 1), (len(child) - 1, len(base))]:
        whole.seek(0)
        with pytest.raises(ImageRejected) as caught:
            repository.add(whole, Intake(name="disk", convert=True, parts=tuple(parts)))
        assert caught.value.reason == "truncated"
        assert nothing_is_left(repository, layout)
    with pytest.raises(InvalidInput, match="parts"):
        repository.add(io.BytesIO(child + base), Intake(name="disk", parts=(len(child), len(base))))


def test_no_conversion_opens_another_file(repository: Catalogue, layout: Layout, tmp_path: Path) -> None:
    """What leaks through a bare `qemu-img convert` is refused with --convert as well."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"TOPSECRET".ljust(2 * MIB, b"."))
    hostile = {
        "backing": ["-f", "qcow2", "-F", "raw", "-b", str(secret)],
        "json": ["-f", "qcow2", "-F", "raw", "-b", json.dumps({"driver": "raw", "file.filename": str(secret)})],
    }
    for name, options in hostile.items():
        backing = [f"json:{one}" if one.startswith("{") else one for one in options]
        qemu_img("create", "-q", "-u", *backing, tmp_path / name, "2M")
        leaked = tmp_path / f"{name}.raw"
        qemu_img("convert", "-O", "raw", tmp_path / name, leaked)
        assert leaked.read_bytes().startswith(b"TOPSECRET")  # the file is as bad as it is said to be
    data_file = ["-f", "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on"]
    qemu_img("create", "-q", *data_file, tmp_path / "data-file", "2M")
    flat = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    flat += f'RW 4096 FLAT "{secret}" 0\n'
    (tmp_path / "flat").write_text(flat)
    make(tmp_path / "vmdk", bytes(content()), "vmdk", "subformat=monolithicSparse")
    inner = bytearray((tmp_path / "vmdk").read_bytes())
    inner[12:20] = bytes(8)  # a capacity of nothing: QEMU goes by the descriptor then
    at = struct.unpack_from("<Q", inner, 28)[0] * SECTOR
    inner[at : at + 20 * SECTOR] = flat.encode().ljust(20 * SECTOR, b"\0")
    (tmp_path / "inner").write_bytes(inner)
    for name in ("backing", "json", "data-file", "flat", "inner"):
        for format in (None, SourceFormat.QCOW2, SourceFormat.VMDK):
            with pytest.raises(ImageRejected):
                add(repository, (tmp_path / name).read_bytes(), format=format)
        assert nothing_is_left(repository, layout)


def test_a_program_that_reads_another_size_than_we_do_is_not_believed(
    repository: Catalogue, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What qemu-img made must be as large as the header said; a program that fails is refused with its last words."""
    programs, real = tmp_path / "programs", shutil.which("qemu-img")
    programs.mkdir()
    other = f'for out; do :; done\nexec {real} create -q -f qcow2 "$out" 9M\n'
    (programs / "qemu-img").write_text(f'#!/bin/sh\n[ "$1" = convert ] || exec {real} "$@"\n{other}')
    (programs / "qemu-img").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with pytest.raises(ImageRejected) as caught:
        add(repository, dynamic(bytes(content())))
    assert caught.value.reason == "disagreement"
    (programs / "qemu-img").write_text("#!/bin/sh\necho broken block >&2\nexit 1\n")
    with pytest.raises(ImageRejected, match="broken block"):
        add(repository, dynamic(bytes(content())))
    (programs / "qemu-img").write_text("#!/bin/sh\nkill -XCPU $$\n")
    with pytest.raises(ImageRejected) as caught:
        add(repository, dynamic(bytes(content())))
    assert caught.value.reason == "limit"
    (programs / "qemu-img").write_text("#!/bin/sh\nexit 127\n")
    with pytest.raises(Permanent, match="no such command"):
        add(repository, dynamic(bytes(content())))
    (programs / "qemu-img").write_text("#!/bin/sh\necho error: No space left on device >&2\nexit 1\n")
    with pytest.raises(NoSpace):
        add(repository, dynamic(bytes(content())))
    assert nothing_is_left(repository, layout)


def test_snapshots_and_bitmaps_are_left_behind(repository: Catalogue, tmp_path: Path) -> None:
    """They name no other file: refused as they are, converted without them."""
    path = make(tmp_path / "disk.qcow2", content(), "qcow2", "compat=1.1")
    qemu_img("snapshot", "-c", "one", path)
    qemu_img("bitmap", "--add", path, "b0")
    with pytest.raises(ImageRejected) as caught:
        repository.add(io.BytesIO(path.read_bytes()), Intake(name="disk"))
    assert "--convert" in caught.value.hint
    image = add(repository, path.read_bytes())
    assert identical(repository.path(image), "qcow2", content(), tmp_path)


def test_a_conversion_tells_how_far_it_is_and_can_be_ended(repository: Catalogue, layout: Layout) -> None:
    """What `progress` raises ends it: the program is gone, and nothing is left."""
    steps: list[tuple[str, float | None]] = []

    def seen(_count: int) -> None:
        steps.extend((one.step, one.percent) for one in repository.arrivals())

    repository.add(io.BytesIO(dynamic(bytes(content()))), Intake(name="disk", convert=True), seen)
    percents = [percent for step, percent in steps if step == "converting"]
    assert percents[0] == 0.0
    assert percents == sorted(percents, key=lambda one: one or 0.0)
    assert percents[-1] == 100.0
    assert steps[0] == ("copying", None)
    assert repository.arrivals() == []
    repository.remove("disk")

    def end(_count: int) -> None:
        if [one for one in repository.arrivals() if one.step == "converting" and one.percent]:
            raise InterruptedError("the API ends")

    with pytest.raises(InterruptedError):
        repository.add(io.BytesIO(dynamic(bytes(content()))), Intake(name="disk", convert=True), end)
    assert nothing_is_left(repository, layout)


def test_the_same_file_twice_is_one_image(repository: Catalogue) -> None:
    """Converted again it has the same bytes; the digest that may be given is that of the file as it comes."""
    disk = dynamic(bytes(content()))
    digest = hashlib.sha256(disk).hexdigest()
    first = repository.add(io.BytesIO(disk), Intake(name="disk", convert=True, sha256=digest))
    assert first.sha256 != digest
    assert repository.add(io.BytesIO(disk), Intake(name="disk", convert=True, sha256=digest)) == first
    with pytest.raises(ImageRejected) as caught:
        repository.add(io.BytesIO(disk), Intake(name="other", convert=True, sha256=first.sha256))
    assert caught.value.reason == "digest"


def test_more_than_a_disk_can_have_is_not_read(layout: Layout) -> None:
    """The cap on disks bounds what is copied: an endless upload ends with a clear error."""

    class Endless(io.RawIOBase):
        taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: object, /) -> int:
            count = len(memoryview(cast("bytearray", buffer)))
            self.taken += count
            return count

    repository = Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=8 * MIB))
    for convert, parts in [(False, []), (True, []), (True, [1 << 40])]:
        source = Endless()
        with pytest.raises(ImageRejected) as caught:
            repository.add(io.BufferedReader(source), Intake(name="disk", convert=convert, parts=tuple(parts)))
        assert caught.value.reason == "too-long"
        assert "image_virtual_size_max_gib" in caught.value.hint
        assert source.taken < 128 * MIB
        assert nothing_is_left(repository, layout)


def test_what_an_image_is_for_is_recorded_and_fixed(repository: Catalogue) -> None:
    """Windows reads Unattend.xml and Linux NoCloud unless said otherwise; the same bytes are not for two uses."""
    disk = dynamic(bytes(content()))
    hardware = Hardware(firmware=Firmware.SECURE_BOOT, disk_bus=DiskBus.NVME, tpm=True)
    image = repository.add(io.BytesIO(disk), Intake(name="win", convert=True, os=Os.WINDOWS, hardware=hardware))
    assert (image.os, image.answers, image.hardware) == (Os.WINDOWS, AnswerFormat.UNATTEND, hardware)
    same = repository.add(io.BytesIO(disk), Intake(name="win", convert=True, os=Os.WINDOWS, hardware=hardware))
    assert same == image
    with pytest.raises(Conflict) as caught:
        repository.add(
            io.BytesIO(disk), Intake(name="other", convert=True, hardware=Hardware(firmware=Firmware.SECURE_BOOT))
        )
    for word in ("os windows", "answers unattend", "disk_bus nvme", "tpm True"):
        assert word in str(caught.value)
    assert "firmware" not in str(caught.value)
    assert repository.all() == [image]
    other = dynamic(bytes(content(5)))
    assert repository.add(io.BytesIO(other), Intake(name="linux", convert=True)).answers is AnswerFormat.NOCLOUD
    drive = repository.add(
        io.BytesIO(dynamic(bytes(content(9)))),
        Intake(name="cb", convert=True, os=Os.WINDOWS, answers=AnswerFormat.CONFIG_DRIVE),
    )
    assert drive.answers is AnswerFormat.CONFIG_DRIVE
    with pytest.raises(InvalidInput, match=r"only Windows reads Unattend\.xml"):
        repository.add(io.BytesIO(disk), Intake(name="x", convert=True, answers=AnswerFormat.UNATTEND))


def test_a_command_is_ended_in_time_and_by_its_limits(tmp_path: Path) -> None:
    """A deadline, processor time, the size of a file; and what it said last is in the error."""
    with pytest.raises(CommandFailed, match="still running"):
        follow(["sleep", "60"], lambda _: None, within_s=0.2, limits=Limits())
    with pytest.raises(CommandFailed):
        follow(["sh", "-c", "while :; do :; done"], lambda _: None, within_s=60, limits=Limits(cpu_s=1))
    out = tmp_path / "out"
    with pytest.raises(CommandFailed):
        follow(
            ["dd", "if=/dev/zero", f"of={out}", "bs=4096"], lambda _: None, within_s=60, limits=Limits(file_bytes=MIB)
        )
    assert out.stat().st_size == MIB
    with pytest.raises(CommandFailed, match="last words"):
        follow(["sh", "-c", "echo last words >&2; exit 3"], lambda _: None, within_s=60, limits=Limits())
    with pytest.raises(Permanent, match="no such command"):
        follow(["/nonexistent"], lambda _: None, within_s=60, limits=Limits())
    heard: list[str] = []
    follow(["sh", "-c", "printf one; printf two"], heard.append, within_s=60, limits=Limits())
    assert "".join(heard) == "onetwo"


@pytest.mark.parametrize("packing", ["zlib", "zstd"])
@pytest.mark.parametrize("convert", [False, True])
def test_clusters_that_cannot_be_unpacked_are_found_before_a_guest_finds_them(
    repository: Catalogue, layout: Layout, tmp_path: Path, packing: str, convert: bool
) -> None:
    """Their tables are well, and so is qemu-img's check of them; a whole one is taken as it is."""
    raw, whole, broken = (tmp_path / name for name in ("raw", "whole", "broken"))
    raw.write_bytes(b"".join(noise(512, number) + bytes(3584) for number in range(SIZE // 4096)))
    qemu_img("convert", "-q", "-c", "-O", "qcow2", "-o", f"compression_type={packing}", raw, whole)
    disk = bytearray(whole.read_bytes())
    disk[len(disk) // 2 : len(disk) // 2 + BLOCK // 64] = b"\xff" * (BLOCK // 64)  # which begins no packed data
    broken.write_bytes(disk)
    qemu_img("check", "-q", broken)
    with pytest.raises(ImageRejected, match="damaged"):
        repository.add(io.BytesIO(bytes(disk)), Intake(name="broken", convert=convert))
    assert nothing_is_left(repository, layout)
    image = repository.add(io.BytesIO(whole.read_bytes()), Intake(name="whole", convert=convert))
    assert identical(repository.path(image), "qcow2", raw.read_bytes(), tmp_path)
