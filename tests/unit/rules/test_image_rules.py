"""The rules of the repository, without a byte of an image; then a name that is moved and images that nobody uses."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.control.catalogue import Catalogue
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import AnswerFormat, DiskFormat, Image, Os, Size
from orchestrator.model.intake import Intake
from orchestrator.rules import image_rules
from tests.world.disk_files import MIB, noise
from tests.world.fabric import Fabric, web_role
from tests.world.images import DIGEST


def image(digit: str, *names: str) -> Image:
    """One whose digest is that digit."""
    return Image(
        sha256=digit * 64,
        source_sha256="e" * 64,
        format=DiskFormat.QCOW2,
        os=Os.LINUX,
        size_bytes=1,
        virtual_size_bytes=1,
        names=names,
        added_at_s=100.0,
    )


ONE, TWO = image("1", "web", "web-2"), image("2", "db")


def test_a_name_is_given_once() -> None:
    """To other bytes: a conflict that says the way out; to the same: nothing new; another name: one more."""
    images = [ONE, TWO]
    assert image_rules.taken_in(images, image("3", "new"), Intake(name="new")) == image("3", "new")
    assert image_rules.taken_in(images, image("1", "web"), Intake(name="web")) == ONE
    assert image_rules.taken_in(images, image("1", "x"), Intake(name="x")).names == ("web", "web-2", "x")
    with pytest.raises(Conflict, match="'db' means 222222222222") as caught:
        image_rules.taken_in(images, image("3", "db"), Intake(name="db"))
    assert "vmrole image tag db" in caught.value.hint
    with pytest.raises(Conflict):
        image_rules.taken_in(images, image("1", "db"), Intake(name="db"))


def test_a_taken_name_is_told_before_the_upload_by_the_digest() -> None:
    """Of the bytes that are kept, or of those that were sent when they are converted."""
    for intake, refused in [
        (Intake(name="web"), False),
        (Intake(name="web", sha256="1" * 64), False),
        (Intake(name="web", sha256="3" * 64), True),
        (Intake(name="new", sha256="3" * 64), False),
        (Intake(name="web", sha256="e" * 64, convert=True), False),
        (Intake(name="web", sha256="1" * 64, convert=True), True),
    ]:
        if refused:
            with pytest.raises(Conflict):
                image_rules.refuse_taken_name([ONE, TWO], intake)
        else:
            image_rules.refuse_taken_name([ONE, TWO], intake)
    unknown = replace(ONE, source_sha256="")
    image_rules.refuse_taken_name([unknown], Intake(name="web", sha256="3" * 64, convert=True))


def test_the_same_bytes_have_one_use() -> None:
    """Another system or answer format is a conflict that says which differ."""
    with pytest.raises(Conflict, match=r"os linux \(now windows\), answers nocloud \(now unattend\)"):
        image_rules.taken_in([ONE], image("1", "x"), Intake(name="x", os=Os.WINDOWS))
    with pytest.raises(Conflict, match="answers nocloud"):
        image_rules.taken_in([ONE], image("1", "x"), Intake(name="x", answers=AnswerFormat.CONFIG_DRIVE))


def test_a_name_is_moved() -> None:
    """From one image to another; nobody is left without a name."""
    assert image_rules.moved([ONE, TWO], "new", "db") == (replace(TWO, names=("db", "new")),)
    assert image_rules.moved([ONE, TWO], "db", "db") == ()
    gains, loses = image_rules.moved([ONE, TWO], "web", "2" * 64)
    assert (gains.names, loses.names) == (("db", "web"), ("web-2",))
    gains, loses = image_rules.moved([ONE, TWO], "db", "web")
    assert (gains.names, loses.names) == (("web", "web-2", "db"), ("was-222222222222",))
    with pytest.raises(NotFound):
        image_rules.moved([ONE, TWO], "db", "nope")


def test_an_intake_that_cannot_be_meant_is_no_value() -> None:
    """It is refused where it is made, whoever makes it."""
    for wrong in (
        {"name": ""},
        {"name": "../etc"},
        {"name": "x", "sha256": "abc"},
        {"name": "x", "answers": AnswerFormat.UNATTEND},
        {"name": "x", "parts": (1, 2)},
        {"name": "x", "convert": True, "parts": (1, 2), "size_bytes": 4},
        {"name": "x", "convert": True, "parts": (1,) * 17},
    ):
        with pytest.raises(InvalidInput):
            Intake(**wrong)  # type: ignore[arg-type]
    assert Intake(name="x", os=Os.WINDOWS).answer_format is AnswerFormat.UNATTEND
    assert Intake(name="x").answer_format is AnswerFormat.NOCLOUD


def test_a_moved_name_leaves_services_as_they_are(tmp_path: Path) -> None:
    """They keep the digest that they were applied with, and who they are is said; the old image stays theirs."""
    fabric = Fabric()
    files = LocalImageFiles(Layout(tmp_path / "state", tmp_path / "run"), virtual_size_max=1 << 40)
    catalogue = Catalogue(fabric.present, SystemClock(), files)
    fabric.deploy()
    new = catalogue.add(io.BytesIO(noise(MIB, 1)), Intake(name="micro-2", format=SourceFormat.RAW))
    tagged = catalogue.tag("micro", "micro-2")
    assert tagged.image.names == ("micro-2", "micro")
    assert tagged.before is not None
    assert (tagged.before.sha256, tagged.used_by) == (DIGEST, ("shop",))
    assert {role.image_sha256 for service in fabric.control.services() for role in service.spec.roles} == {DIGEST}
    assert catalogue.get("micro") == catalogue.get(new.sha256)
    assert catalogue.get(DIGEST).names == (f"was-{DIGEST[:12]}",)
    again = catalogue.tag("micro", "micro-2")
    assert (again.before, again.used_by) == (None, ())
    with pytest.raises(InvalidInput):
        catalogue.tag("No Name", "micro")
    with pytest.raises(Conflict, match="used by service shop"):
        catalogue.remove(DIGEST)


def test_only_what_nobody_uses_is_pruned(tmp_path: Path) -> None:
    """Listed first, then removed with its bytes; what is used, or was added lately when that is asked, stays."""
    fabric = Fabric()
    layout = Layout(tmp_path / "state", tmp_path / "run")
    catalogue = Catalogue(fabric.present, SystemClock(), LocalImageFiles(layout, virtual_size_max=1 << 40))
    fabric.deploy()
    added = catalogue.add(io.BytesIO(noise(MIB, 1)), Intake(name="spare", format=SourceFormat.RAW))
    assert catalogue.unused(older_than_s=3600.0) == []
    assert catalogue.unused(older_than_s=0.0) == [added]
    assert catalogue.path(added).exists()
    assert catalogue.prune(older_than_s=0.0) == [added]
    assert not catalogue.path(added).exists()
    assert [one.sha256 for one in catalogue.all()] == [DIGEST]
    assert catalogue.prune(older_than_s=0.0) == []


def test_what_an_undo_goes_back_to_is_not_pruned(tmp_path: Path) -> None:
    """As long as the file is kept that names it; by its own name it can be removed, which says that it is meant."""
    fabric = Fabric()
    layout = Layout(tmp_path / "state", tmp_path / "run")
    catalogue = Catalogue(fabric.present, SystemClock(), LocalImageFiles(layout, virtual_size_max=1 << 40))
    added = catalogue.add(io.BytesIO(noise(MIB, 1)), Intake(name="former", format=SourceFormat.RAW))
    fabric.deploy(web_role(image="former", image_sha256=added.sha256, instances=0))
    fabric.deploy(web_role(instances=0))
    assert catalogue.prune(older_than_s=0.0) == []
    for memory in range(11):
        fabric.deploy(web_role(instances=0, size=Size(vcpus=1, memory_mib=512 + memory)))
    assert [one.sha256 for one in catalogue.unused(older_than_s=0.0)] == [added.sha256]
    catalogue.remove("former")
