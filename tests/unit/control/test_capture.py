"""Images that are made of instances: real disks, real qemu-img, and the records of a VM that nobody has started."""

from __future__ import annotations

import io
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.control import records
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Conflict, ImageCorrupt, ImageRejected, InvalidInput
from orchestrator.model import AnswerFormat, Goal, Image, Instance, Phase
from orchestrator.model.intake import Intake
from tests.world.instances import instance

MIB = 1024 * 1024
FORM = ("-f", "qcow2")


class Host:
    """A repository with one image, and one instance of it that is off, with its disk."""

    def __init__(self, directory: Path) -> None:
        self.layout = Layout(directory / "state", directory / "run")
        self.present = Present(FakeStore())
        files = LocalImageFiles(self.layout, virtual_size_max=1 << 40)
        self.repository = Catalogue(self.present, SystemClock(), files)
        source = directory / "base.qcow2"
        made(source, "8M")
        written(source, 0x11, 0)
        written(source, 0x22, 2)
        self.image = self.repository.add(io.BytesIO(source.read_bytes()), Intake(name="micro"))
        plain = instance(phase=Phase.STOPPED, generation=1, boot=2)
        role = replace(plain.role, image_sha256=self.image.sha256)
        self.instance = replace(plain, role=role, goal=Goal(role=role))
        self.lay(self.overlay, self.repository.path(self.image))
        written(self.overlay, 0x33, 2)
        written(self.overlay, 0x44, 9)
        self.keep(self.instance)

    @property
    def overlay(self) -> Path:
        """The instance's disk."""
        return self.layout.overlay(self.instance)

    def lay(self, path: Path, below: Path) -> None:
        """An empty overlay, larger than the image is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        made(path, "12M", "-b", str(below), "-F", "qcow2")

    def keep(self, present: Instance) -> None:
        """The instance's record, as it is from now on."""
        known = self.present.find(Instance, present.name)
        if known is None:
            template = records.put_template(present.role)
            self.present.commit([template, records.put_wish(present), records.put_state(present)])
        else:
            told = replace(present, wish_revision=known.wish_revision, state_revision=known.state_revision)
            self.present.commit([records.put_wish(told), records.put_state(told)])

    def capture(self, progress: Callable[[int], None] = lambda _: None) -> Image:
        """What is made of it."""
        return self.repository.capture(self.instance, "golden", progress)

    @property
    def is_as_before(self) -> bool:
        """Whether nothing is left of a try."""
        return [one.names for one in self.repository.all()] == [("micro",)] and not [*self.layout.incoming.iterdir()]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """One in the test's directory."""
    return Host(tmp_path)


def made(path: Path, *words: str) -> None:
    """A qcow2."""
    size, *options = words
    subprocess.run(["qemu-img", "create", "-q", *FORM, *options, str(path), size], check=True)


def written(path: Path, byte: int, at_mib: int) -> None:
    """A MiB of it, all of that byte."""
    write = f"write -q -P {byte} {at_mib}M 1M"
    subprocess.run(["qemu-io", *FORM, "-c", write, str(path)], check=True, capture_output=True)


def content(path: Path, to: Path) -> list[int]:
    """The first byte of each MiB of the disk, which is the same all over it."""
    subprocess.run(["qemu-img", "convert", *FORM, "-O", "raw", str(path), str(to)], check=True)
    disk = to.read_bytes()
    assert all(len(set(disk[at : at + MIB])) == 1 for at in range(0, len(disk), MIB))
    return [disk[at] for at in range(0, len(disk), MIB)]


def test_the_image_is_the_disk_as_the_guest_saw_it(host: Host, tmp_path: Path) -> None:
    """What the guest wrote over what the image had, in one file that stands alone; nothing of either is changed."""
    before = host.overlay.read_bytes(), host.repository.path(host.image).read_bytes()
    golden = host.capture()
    path = host.repository.path(golden)
    assert content(path, tmp_path / "raw") == [0x11, 0, 0x33, 0, 0, 0, 0, 0, 0, 0x44, 0, 0]
    assert (golden.names, golden.virtual_size_bytes, golden.answers) == (("golden",), 12 * MIB, host.image.answers)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert (host.overlay.read_bytes(), host.repository.path(host.image).read_bytes()) == before
    assert host.repository.verify("golden") == golden
    with path.open("rb") as source:
        assert b"backing" not in source.read(512)
    assert not [*host.layout.incoming.iterdir()]


def test_what_a_checkpoint_s_layer_holds_belongs_to_it(host: Host, tmp_path: Path) -> None:
    """The overlay of one that was saved lies on a layer, and that on the image."""
    layer = host.layout.layer(host.instance.name, host.instance.generation)
    layer.parent.mkdir(parents=True)
    host.overlay.rename(layer)
    host.lay(host.overlay, layer)
    written(host.overlay, 0x55, 0)
    golden = host.capture()
    held = content(host.repository.path(golden), tmp_path / "raw")
    assert held == [0x55, 0, 0x33, 0, 0, 0, 0, 0, 0, 0x44, 0, 0]


def test_what_the_disk_says_that_it_stands_on_is_not_heeded(host: Host, tmp_path: Path) -> None:
    """Whoever has broken out of a guest into its QEMU can write it: no file of the host comes in that way."""
    secret = tmp_path / "secret.qcow2"
    made(secret, "12M")
    written(secret, 0x77, 5)
    subprocess.run(
        ["qemu-img", "rebase", "-u", *FORM, "-b", str(secret), "-F", "qcow2", str(host.overlay)], check=True
    )
    assert content(host.repository.path(host.capture()), tmp_path / "raw")[5] == 0


def test_a_disk_whose_data_lie_elsewhere_is_refused(host: Host, tmp_path: Path) -> None:
    """For the same reason."""
    host.overlay.unlink()
    made(host.overlay, "12M", "-o", f"data_file={tmp_path / 'elsewhere.raw'}")
    with pytest.raises(ImageRejected, match="another file"):
        host.capture()
    assert host.is_as_before


def test_a_disk_that_is_not_there_is_told(host: Host) -> None:
    """By its path, and with who knows more."""
    host.overlay.unlink()
    with pytest.raises(ImageCorrupt, match="is not there") as caught:
        host.capture()
    assert "vmrole verify" in caught.value.hint
    assert host.is_as_before


def test_one_that_runs_is_not_captured(host: Host) -> None:
    """Its disk changes under whoever reads it."""
    host.keep(replace(host.instance, phase=Phase.SERVING))
    with pytest.raises(Conflict, match="is serving: its disk changes") as caught:
        host.capture()
    assert caught.value.hint == "run: vmrole stop web-0.shop"
    assert host.is_as_before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phase": Phase.STARTING, "boot": 3}, "its disk changes"),
        ({"boot": 3}, "has run meanwhile"),
        ({"generation": 2}, "has run meanwhile"),
        ({"uid": "6a4b1a54-3c1e-4a07-9d2c-ffffffffffff"}, "not there any more"),
    ],
)
def test_one_that_is_started_meanwhile_leaves_no_image(host: Host, changes: dict[str, object], told: str) -> None:
    """Also when it is off again: what was read is of no moment."""

    def once(_count: int) -> None:
        host.keep(replace(host.instance, **changes))  # type: ignore[arg-type]

    with pytest.raises(Conflict, match=told):
        host.capture(once)
    assert host.is_as_before


def test_a_name_means_one_image(host: Host) -> None:
    """It is refused before a byte is read; so is what is no name."""
    host.overlay.unlink()
    with pytest.raises(Conflict, match="'micro' means"):
        host.repository.capture(host.instance, "micro")
    with pytest.raises(InvalidInput):
        host.repository.capture(host.instance, "../golden")
    assert host.is_as_before


def test_who_ends_it_gets_nothing(host: Host) -> None:
    """What `progress` raises ends it."""

    def over(_count: int) -> None:
        raise Conflict("the API ends")

    with pytest.raises(Conflict, match="the API ends"):
        host.capture(over)
    assert host.is_as_before


def test_it_reads_its_answers_as_its_image_does(host: Host) -> None:
    """A role that gives none to an image which reads them says nothing of the image."""
    role = replace(host.instance.role, answers=AnswerFormat.NONE)
    host.instance = replace(host.instance, role=role)
    assert host.capture().answers is AnswerFormat.NOCLOUD
