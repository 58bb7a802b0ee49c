"""The contracts of Disks and AnswerMedia on the fake and on real files, and what only real files can show."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.drivers.answer_media import AnswerDiscs
from orchestrator.drivers.disks import QemuImgDisks
from orchestrator.drivers.fake import World, fake_host
from orchestrator.drivers.layout import Layout
from orchestrator.drivers.secrets import HostSecrets
from orchestrator.errors import ImageCorrupt
from orchestrator.model import Instance
from orchestrator.ports import AnswerMedia, Disks
from tests.contract.suites.disks import AnswerMediaContract, DisksContract, next_generation
from tests.trouble.life import DIGEST, Fabric, web_role

MIB = 1024 * 1024


@pytest.fixture
def instance() -> Instance:
    """An instance with one local storage, as it was just requested."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    return fabric.instance()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places below the test's directory, with one image."""
    layout = Layout(tmp_path / "state", tmp_path / "run")
    layout.images.mkdir(parents=True)
    image = layout.images / f"{DIGEST}.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "16M"], check=True)
    image.chmod(0o444)
    return layout


class TestFakeDisks(DisksContract):
    """The fake world's disks."""

    @pytest.fixture
    def disks(self) -> Disks:
        """In memory."""
        world = World()
        world.images.add(DIGEST)
        return fake_host(world).disks


class TestQemuImgDisks(DisksContract):
    """Real files."""

    @pytest.fixture
    def disks(self, layout: Layout) -> Disks:
        """By qemu-img."""
        return QemuImgDisks(layout)

    def test_the_overlay_stands_on_the_image(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """Its backing file and format are said, it is its owner's alone, and the chain is two long."""
        disks.lay_overlay(instance)
        path = layout.overlay(instance)
        said = subprocess.run(
            ["qemu-img", "info", "--backing-chain", "--output=json", str(path)], check=True, capture_output=True
        )
        overlay, image = json.loads(said.stdout)
        assert overlay["backing-filename"] == image["filename"] == str(layout.images / f"{DIGEST}.qcow2")
        assert overlay["backing-filename-format"] == "qcow2"
        assert "backing-filename" not in image
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(("disk_mib", "size_mib"), [(None, 16), (16, 16), (20 * 1024, 20 * 1024)])
    def test_an_overlay_may_be_larger_than_its_image(
        self, disks: Disks, layout: Layout, instance: Instance, disk_mib: int | None, size_mib: int
    ) -> None:
        """As the role asks; the image stays as it is."""
        size = dataclasses.replace(instance.role.size, disk_mib=disk_mib)
        disks.lay_overlay(dataclasses.replace(instance, role=dataclasses.replace(instance.role, size=size)))
        argv = ["qemu-img", "info", "--backing-chain", "--output=json", str(layout.overlay(instance))]
        overlay, image = json.loads(subprocess.run(argv, check=True, capture_output=True).stdout)
        assert (overlay["virtual-size"], image["virtual-size"]) == (size_mib * MIB, 16 * MIB)

    def test_a_half_made_overlay_is_made_again(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """A crash between making and naming leaves nothing that counts."""
        path = layout.overlay(instance)
        path.parent.mkdir(parents=True)
        path.with_name(path.name + ".new").write_bytes(b"half")
        assert disks.inventory() == {}
        disks.lay_overlay(instance)
        assert [one.name for one in path.parent.iterdir()] == [path.name]

    def test_a_writable_image_is_not_built_on(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """An image that can be written to may have been."""
        (layout.images / f"{DIGEST}.qcow2").chmod(0o644)
        with pytest.raises(ImageCorrupt):
            disks.lay_overlay(instance)

    def test_local_storage_is_never_touched_again(self, disks: Disks, layout: Layout, instance: Instance) -> None:
        """Not by laying it again, and not by another size in the service file."""
        disks.lay_local_storage(instance)
        path = layout.local_storage(instance.name, "cache")
        assert path.stat().st_size == 64 * MIB
        assert path.stat().st_blocks * 512 < MIB, "a sparse file"
        with path.open("r+b") as file:
            file.write(b"what a guest wrote")
        (storage,) = instance.role.local_storage
        bigger = (dataclasses.replace(storage, size_mib=128),)
        role = dataclasses.replace(instance.role, local_storage=bigger)
        disks.lay_local_storage(dataclasses.replace(next_generation(instance), role=role))
        assert path.read_bytes()[:18] == b"what a guest wrote"
        assert path.stat().st_size == 64 * MIB


class TestFakeMedia(AnswerMediaContract):
    """The fake world's discs."""

    @pytest.fixture
    def media(self) -> AnswerMedia:
        """In memory."""
        return fake_host(World()).media


class TestAnswerDiscs(AnswerMediaContract):
    """Real discs."""

    @pytest.fixture
    def media(self, layout: Layout) -> AnswerMedia:
        """By pycdlib, on disk."""
        return AnswerDiscs(layout, HostSecrets(Path("/nowhere"), environment={}).of)

    def test_a_disc_is_its_owner_s_alone(self, media: AnswerMedia, layout: Layout, instance: Instance) -> None:
        """It holds secrets: mode 0600 in a directory that nobody else may list."""
        media.write(instance)
        disc = layout.disc(instance)
        assert disc.stat().st_mode & 0o777 == 0o600
        assert disc.read_bytes()[0x8001:0x8006] == b"CD001"
