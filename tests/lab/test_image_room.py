"""Images and a small file system: what cannot fit is refused or stopped, and running guests keep their reserve."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import NoSpace
from orchestrator.imagefiles import SourceFormat
from orchestrator.model.intake import Intake
from tests.world.disk_files import MIB, Vhd, bitmap, noise

SIZE_MIB = 200
RESERVE = 10 * MIB  # a twentieth
EVERY_S = 0.005


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    """Places on a file system of 200 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)], check=True)
    yield Layout(place / "state", tmp_path / "run")
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def repository(layout: Layout) -> Catalogue:
    """An empty repository that keeps the reserve."""
    return Catalogue(
        Present(FakeStore()),
        SystemClock(),
        LocalImageFiles(layout, virtual_size_max=1 << 41, reserve_bytes=1024 * MIB),
    )


def free(layout: Layout) -> int:
    """In bytes."""
    found = os.statvfs(layout.state)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def watched(layout: Layout) -> Iterator[list[int]]:
    """The least room that there was, in a list of one number."""
    least, over = [free(layout)], threading.Event()

    def watch() -> None:
        while not over.wait(EVERY_S):
            least[0] = min(least[0], free(layout))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield least
    finally:
        over.set()
        thread.join()


def compressed(place: Path, size_mib: int) -> bytes:
    """A qcow2 of a few MiB that stands for many."""
    raw, out = place / "raw", place / "packed"
    with raw.open("wb") as file:
        for _ in range(size_mib):
            file.write(b"A" * MIB)
    subprocess.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, out], check=True)
    raw.unlink()
    return out.read_bytes()


class Words(io.RawIOBase):
    """So many bytes that are not zero, without their memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object, /) -> int:
        """As any file's."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = min(len(view), self.left)
        view[:count] = b"w" * count
        self.left -= count
        return count


def stream(size: int) -> io.BufferedReader:
    """As it comes from a client."""
    return io.BufferedReader(Words(size), MIB)


def test_a_small_file_of_a_large_disk_is_stopped_at_the_reserve(
    repository: Catalogue, layout: Layout, tmp_path: Path
) -> None:
    """While qemu-img writes it; all is given back, and a small image finds its place afterwards."""
    before = free(layout)
    data = compressed(tmp_path, 1024)
    assert len(data) < 16 * MIB
    with watched(layout) as least, pytest.raises(NoSpace):
        repository.add(io.BytesIO(data), Intake(name="bomb", convert=True))
    assert RESERVE - MIB < least[0] < before / 2
    assert free(layout) >= before - MIB
    assert [*layout.incoming.iterdir()] == []
    repository.add(io.BytesIO(noise(8 * MIB, 1)), Intake(name="small", format=SourceFormat.RAW))


def test_what_is_sent_is_stopped_at_the_reserve(repository: Catalogue, layout: Layout) -> None:
    """Whether its size was told before, when it is refused without a byte, or not."""
    before = free(layout)
    untouched = Words(1024 * MIB)
    with pytest.raises(NoSpace):
        repository.add(
            io.BufferedReader(untouched), Intake(name="told", format=SourceFormat.RAW, size_bytes=1024 * MIB)
        )
    assert untouched.left == 1024 * MIB
    with watched(layout) as least, pytest.raises(NoSpace):
        repository.add(stream(1024 * MIB), Intake(name="untold", format=SourceFormat.RAW))
    assert RESERVE - 2 * MIB < least[0] < before / 2
    with pytest.raises(NoSpace):
        repository.add(stream(1024 * MIB), Intake(name="parts", convert=True, parts=(512 * MIB, 512 * MIB)))
    assert free(layout) >= before - MIB
    assert [*layout.incoming.iterdir()] == []


def test_disks_that_are_joined_are_stopped_at_the_reserve(repository: Catalogue, layout: Layout) -> None:
    """A differencing disk and its parent have each what fits, and together more than there is room for."""
    before = free(layout)
    block = 2 * MIB
    every = bitmap(range(block // 512))
    count = 30
    base = Vhd(size=2 * count * block, blocks={number: (every, noise(block, number)) for number in range(count)})
    child = Vhd(size=2 * count * block, kind=4, identity=b"c" * 16, parent=b"i" * 16)
    child.blocks = {count + number: (every, noise(block, number + 99)) for number in range(count)}
    files = [child.bytes(), base.bytes()]
    intake = Intake(name="joined", convert=True, parts=tuple(len(file) for file in files))
    with watched(layout) as least, pytest.raises(NoSpace):
        repository.add(io.BytesIO(b"".join(files)), intake)
    assert RESERVE - 4 * MIB < least[0] < before / 2
    assert free(layout) >= before - MIB
    assert [*layout.incoming.iterdir()] == []


def test_holes_take_no_room(repository: Catalogue, layout: Layout) -> None:
    """A raw disk larger than all the room, with some bytes in it, is taken with its holes."""
    before = free(layout)
    place = layout.state / "source"
    with place.open("wb") as file:
        file.write(noise(MIB, 1))
        file.truncate(1024 * MIB)
    with place.open("rb") as file:
        image = repository.add(file, Intake(name="sparse", format=SourceFormat.RAW))
    assert image.size_bytes == 1024 * MIB
    assert before - free(layout) < 4 * MIB
    assert repository.verify("sparse") == image
