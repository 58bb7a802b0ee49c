"""Compressed disks are unpacked on their way in, and nothing of a few bytes becomes a full file system."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import ImageRejected
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import DiskFormat
from orchestrator.model.intake import Intake
from tests.world.disk_files import MIB, content, dynamic, identical, make, noise

pytestmark = pytest.mark.slow


def zstd(data: bytes) -> bytes:
    """As zstd's own program does it."""
    return subprocess.run(["zstd", "-qc"], input=data, check=True, capture_output=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zstd": zstd,
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places below the test's directory."""
    return Layout(tmp_path / "state", tmp_path / "run")


@pytest.fixture
def catalogue(layout: Layout) -> Catalogue:
    """An empty one, for disks of at most 64 MiB."""
    return Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=64 * MIB))


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_compressed_is_unpacked(catalogue: Catalogue, layout: Layout, tmp_path: Path, packer: str) -> None:
    """A qcow2 as it is, a VHD to be converted; the digest that may be given is that of the file as it comes."""
    data = make(tmp_path / "disk", content(), "qcow2", "compat=1.1").read_bytes()
    packed = PACKERS[packer](data)
    digest = hashlib.sha256(packed).hexdigest()
    image = catalogue.add(io.BytesIO(packed), Intake(name="disk", sha256=digest))
    assert (image.sha256, image.source_sha256) == (hashlib.sha256(data).hexdigest(), digest)
    assert image.format is DiskFormat.QCOW2
    converted = catalogue.add(io.BytesIO(PACKERS[packer](dynamic(content(4)))), Intake(name="vhd", convert=True))
    assert identical(catalogue.path(converted), "qcow2", content(4), tmp_path)
    assert [*layout.incoming.iterdir()] == []


def test_holes_of_a_raw_disk_stay_holes(catalogue: Catalogue) -> None:
    """Though a program writes zeros."""
    disk = noise(MIB, 1) + bytes(31 * MIB)
    image = catalogue.add(io.BytesIO(gzip.compress(disk, 1)), Intake(name="raw", format=SourceFormat.RAW))
    assert image.sha256 == hashlib.sha256(disk).hexdigest()
    assert catalogue.path(image).stat().st_blocks * 512 < 4 * MIB


@pytest.mark.parametrize("packer", PACKERS)
def test_a_bomb_goes_no_further_than_a_disk_may(catalogue: Catalogue, layout: Layout, packer: str) -> None:
    """Some kilobytes that stand for hundreds of megabytes: refused, and nothing is left."""
    bomb = PACKERS[packer](bytes(400 * MIB))
    assert len(bomb) < MIB
    with pytest.raises(ImageRejected) as caught:
        catalogue.add(io.BytesIO(bomb), Intake(name="bomb", format=SourceFormat.RAW))
    assert caught.value.reason == "too-long"
    assert [*layout.incoming.iterdir(), *layout.images.iterdir()] == []


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_cut_or_damaged_is_refused(catalogue: Catalogue, layout: Layout, packer: str) -> None:
    """Its sums and its end are looked at."""
    packed = PACKERS[packer](noise(2 * MIB, 1))
    changed = bytearray(packed)
    changed[len(packed) // 2 : len(packed) // 2 + 9] = b"something"
    for bad in (packed[: len(packed) // 2], packed[:-3], bytes(changed)):
        with pytest.raises(ImageRejected) as caught:
            catalogue.add(io.BytesIO(bad), Intake(name="bad", format=SourceFormat.RAW))
        assert caught.value.reason == "damaged"
        assert str(layout.incoming) not in str(caught.value)
    assert [*layout.incoming.iterdir(), *layout.images.iterdir()] == []


def test_it_is_unpacked_once(catalogue: Catalogue) -> None:
    """What is compressed twice, or holds an archive, is told as what it then is."""
    with pytest.raises(ImageRejected, match="gzip"):
        catalogue.add(io.BytesIO(gzip.compress(gzip.compress(noise(MIB, 1)))), Intake(name="twice"))
