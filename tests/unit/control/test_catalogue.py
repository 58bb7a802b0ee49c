"""The repository: what comes in stays as it came, what must not come in leaves nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import os
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.present import Present
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Conflict, ImageCorrupt, ImageRejected, InvalidInput, NoSpace, NotFound, Transient
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import DiskFormat, Event, Image
from orchestrator.model.intake import Intake
from orchestrator.ports import Write
from tests.world.fabric import Fabric


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Places below the test's directory."""
    return Layout(tmp_path / "state", tmp_path / "run")


@pytest.fixture
def repository(layout: Layout) -> Catalogue:
    """An empty repository."""
    return Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """The bytes of a good qcow2."""
    path = tmp_path / "good.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "8M"], check=True)
    return path.read_bytes()


def empty(layout: Layout) -> bool:
    """Whether no byte of any image is there."""
    return not list(layout.incoming.iterdir()) and not list(layout.images.iterdir())


def test_an_added_image_is_its_digest(repository: Catalogue, layout: Layout, content: bytes) -> None:
    """Named by content, read-only, and told about while it is copied."""
    seen: list[int] = []
    image = repository.add(io.BytesIO(content), Intake(name="micro"), seen.append)

    path = repository.path(image)
    assert image.sha256 == hashlib.sha256(content).hexdigest() == path.stem
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o7777 == 0o444
    assert (image.format, image.size_bytes, image.virtual_size_bytes) == (DiskFormat.QCOW2, len(content), 8 * 1024**2)
    assert seen[-1] == len(content)
    assert not list(layout.incoming.iterdir())
    assert repository.verify("micro") == image


def test_an_image_has_many_names(repository: Catalogue, content: bytes) -> None:
    """By name, digest, name and digest, and the beginning of the digest."""
    image = repository.add(io.BytesIO(content), Intake(name="micro"))
    for reference in ("micro", image.sha256, f"micro@sha256:{image.sha256}", image.sha256[:12]):
        assert repository.find(reference) == image
    for reference in ("mini", image.sha256[:11], f"micro@sha256:{'0' * 64}", f"mini@sha256:{image.sha256}"):
        assert repository.find(reference) is None


def test_the_same_bytes_twice_are_one_image(repository: Catalogue, layout: Layout, content: bytes) -> None:
    """A second name for the same file; it goes with the last name."""
    repository.add(io.BytesIO(content), Intake(name="one"))
    image = repository.add(io.BytesIO(content), Intake(name="two"))
    assert image.names == ("one", "two")
    assert repository.add(io.BytesIO(content), Intake(name="two")).names == ("one", "two")
    assert len(list(layout.images.iterdir())) == 1

    repository.remove("one")
    assert repository.find("one") is None
    assert repository.get("two").names == ("two",)
    repository.remove("two")
    assert empty(layout)
    with pytest.raises(NotFound):
        repository.remove("two")


def test_a_name_means_one_thing(repository: Catalogue, layout: Layout, content: bytes, tmp_path: Path) -> None:
    """A name that means other bytes is refused, and the new bytes go."""
    image = repository.add(io.BytesIO(content), Intake(name="micro"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "other"), "9M"], check=True)
    with pytest.raises(Conflict, match="means"):
        repository.add(io.BytesIO((tmp_path / "other").read_bytes()), Intake(name="micro"))
    assert list(layout.images.iterdir()) == [repository.path(image)]
    assert not list(layout.incoming.iterdir())


@pytest.mark.parametrize("name", ["../etc/cron.d/x", "-o", "a\n", "", "x" * 64, "A", "a/b", "a..b", "json:{}"])
def test_a_name_that_is_no_name(repository: Catalogue, layout: Layout, content: bytes, name: str) -> None:
    """Nothing of it ever becomes a path."""
    with pytest.raises(InvalidInput):
        repository.add(io.BytesIO(content), Intake(name=name))
    assert empty(layout)


def test_a_wrong_digest_is_refused(repository: Catalogue, layout: Layout, content: bytes) -> None:
    """--sha256 is a promise that is kept."""
    with pytest.raises(ImageRejected, match="the digest is") as caught:
        repository.add(io.BytesIO(content), Intake(name="micro", sha256="0" * 64))
    assert caught.value.reason == "digest"
    assert empty(layout)


@pytest.mark.parametrize("damage", ["cut", "zeroed refcounts", "backing"])
def test_a_bad_file_leaves_nothing(repository: Catalogue, layout: Layout, content: bytes, damage: str) -> None:
    """What our reader or qemu-img's check refuses is gone."""
    bad = bytearray(content)
    if damage == "cut":
        bad = bad[: len(bad) // 2]
    elif damage == "zeroed refcounts":
        bad[65536 : 65536 + 8] = bytes(8)
    else:
        bad[8:20] = b"\0\0\0\0\0\0\1\0\0\0\0\4"
    with pytest.raises(ImageRejected):
        repository.add(io.BytesIO(bytes(bad)), Intake(name="micro"))
    assert empty(layout)


@pytest.mark.parametrize("convert", [False, True])
def test_clusters_that_nobody_uses_do_no_harm(
    repository: Catalogue, tmp_path: Path, content: bytes, convert: bool
) -> None:
    """As a program leaves them that was killed while it wrote: they are counted, and waste room."""
    leaky = bytearray(content).ljust(-(-len(content) // 65536) * 65536, b"\0")
    (table,) = struct.unpack_from(">Q", leaky, 48)
    (block,) = struct.unpack_from(">Q", leaky, table)
    struct.pack_into(">H", leaky, block + 2 * (len(leaky) // 65536), 1)
    leaky += bytes(65536)
    (tmp_path / "leaky").write_bytes(leaky)
    checked = subprocess.run(["qemu-img", "check", "-q", str(tmp_path / "leaky")], capture_output=True, check=False)
    assert checked.returncode == 3, "the test is of leaked clusters alone"
    assert repository.add(io.BytesIO(bytes(leaky)), Intake(name="leaky", convert=convert)).names == ("leaky",)


def test_an_interrupted_add_leaves_nothing(repository: Catalogue, layout: Layout, content: bytes) -> None:
    """The source breaks off: no file, no record."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise ConnectionResetError("the client is gone")
            return super().read(1000)

    with pytest.raises(ConnectionResetError):
        repository.add(Broken(content), Intake(name="micro"))
    assert empty(layout)
    assert repository.all() == []


def test_a_start_sweeps_what_a_crash_left(repository: Catalogue, layout: Layout, content: bytes) -> None:
    """A copy that never ended goes; what is recorded stays."""
    image = repository.add(io.BytesIO(content), Intake(name="micro"))
    (layout.incoming / "tmpabc").write_bytes(b"half")
    repository.sweep()
    assert not list(layout.incoming.iterdir())
    assert list(layout.images.iterdir()) == [repository.path(image)]


def test_images_outlive_a_lost_store(layout: Layout, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Files without a record are left, told about, and taken up again when the same bytes are added."""
    first = Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    image = first.add(io.BytesIO(content), Intake(name="micro"))
    after = Catalogue(Present(FakeStore()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    after.sweep()
    assert after.strays() == [first.path(image).name]
    assert first.path(image).name in caplog.text
    assert (first.strays(), first.missing()) == ([], [])
    after.add(io.BytesIO(content), Intake(name="again"))
    assert after.strays() == []
    assert after.verify("again").sha256 == image.sha256
    first.path(image).unlink()
    assert [one.names for one in after.missing()] == [("again",)]


def test_verify_finds_changed_bytes_and_modes(repository: Catalogue, content: bytes) -> None:
    """One bit, or a writable mode, is enough."""
    path = repository.path(repository.add(io.BytesIO(content), Intake(name="micro")))
    path.chmod(0o644)
    with pytest.raises(ImageCorrupt, match="its mode is 644"):
        repository.verify("micro")
    changed = bytearray(content)
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(ImageCorrupt, match="its digest is now"):
        repository.verify("micro")
    path.unlink()
    with pytest.raises(ImageCorrupt):
        repository.verify("micro")


@pytest.mark.parametrize("name", ["micro", "another"])
@pytest.mark.parametrize("harm", ["gone", "changed", "writable"])
def test_what_is_damaged_is_mended_by_adding_it_again(
    repository: Catalogue, content: bytes, harm: str, name: str
) -> None:
    """As `verify` advises; the record stays, so that services that use it go on."""
    image = repository.add(io.BytesIO(content), Intake(name="micro"))
    path = repository.path(image)
    path.chmod(0o644)
    if harm == "gone":
        path.unlink()
    elif harm == "changed":
        path.write_bytes(content[:-1] + b"?")
    added = repository.add(io.BytesIO(content), Intake(name=name))
    assert repository.verify("micro").sha256 == added.sha256 == image.sha256
    assert repository.missing() == []


def test_a_used_image_stays(layout: Layout) -> None:
    """While a service refers to it, also one that is being deleted; afterwards it may go."""
    fabric = Fabric()
    repository = Catalogue(fabric.present, SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    fabric.deploy()
    with pytest.raises(Conflict, match="used by service shop"):
        repository.remove("micro")
    fabric.until(fabric.quiet)
    fabric.remove()
    with pytest.raises(Conflict, match="used by service shop"):
        repository.remove("micro")
    fabric.until(lambda: not fabric.control.services())
    repository.remove("micro")
    assert repository.all() == []


def garbled(fabric: Fabric, kind: str, key: str) -> None:
    """A record becomes one that nobody can read."""
    document = fabric.store.get(kind, key)
    assert document is not None
    body = {name: {"levitating": True} for name in document.body}
    if kind == records.STATE:
        body = {**document.body, "phase": "levitating"}
    fabric.store.commit([Write(kind, key, body, document.revision)])


@pytest.mark.parametrize("unreadable", ["template", "service", "state", "revision"])
def test_an_image_stays_while_nobody_knows_who_uses_it(layout: Layout, unreadable: str) -> None:
    """What a record that cannot be read has said of images nobody knows: a VM may stand on any of them."""
    fabric = Fabric()
    repository = Catalogue(fabric.present, SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    fabric.deploy()
    fabric.until(fabric.quiet)
    for key in [document.key for document in fabric.store.all(unreadable)]:
        garbled(fabric, unreadable, key)
    repository = Catalogue(Present(fabric.store), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    spare = dataclasses.replace(repository.get("micro"), sha256="b" * 64, names=("spare",), revision=0)
    fabric.store.commit([records.put(spare)])
    for removal in (repository.unused, repository.prune):
        with pytest.raises(Conflict, match="cannot be read") as caught:
            removal(older_than_s=0.0)
        assert caught.value.hint == "see what it is, and mend that first: vmrole verify"
    if unreadable != "revision":  # Who names an image to be removed does without the way back to it.
        with pytest.raises(Conflict, match="cannot be read"):
            repository.remove("spare")
    assert {name for image in repository.all() for name in image.names} == {"micro", "spare"}


class Paused(FakeStore):
    """A store whose first commit waits, before or after it took effect, until `other` had its chance."""

    def __init__(self, other: threading.Thread, *, after: bool) -> None:
        super().__init__()
        self._other = other
        self._after = after
        self.armed = False

    def commit(self, writes: Sequence[Write], events: Sequence[Event] = (), **how: Any) -> int:
        """As any store; the pause ends by itself, since a careful caller makes `other` wait."""
        armed, self.armed = self.armed, False
        revision = super().commit(writes, events, **how) if self._after or not armed else 0
        if armed:
            self._other.start()
            self._other.join(2.0)
        return revision or super().commit(writes, events, **how)


@pytest.mark.slow
def test_two_clients_cannot_give_one_name_to_two_images(layout: Layout, content: bytes, tmp_path: Path) -> None:
    """Both looked before either was recorded: one gets the name, the other a conflict, and its bytes go."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "other"), "9M"], check=True)
    refused: list[Conflict] = []

    def second() -> None:
        try:
            images.add(io.BytesIO((tmp_path / "other").read_bytes()), Intake(name="micro"))
        except Conflict as conflict:
            refused.append(conflict)

    other = threading.Thread(target=second)
    store = Paused(other, after=False)
    images = Catalogue(Present(store), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    store.armed = True
    image = images.add(io.BytesIO(content), Intake(name="micro"))
    other.join(30.0)
    assert images.all() == [image]
    assert len(refused) == 1
    assert list(layout.images.iterdir()) == [images.path(image)]


@pytest.mark.slow
def test_a_removal_never_takes_the_bytes_of_a_new_image(layout: Layout, content: bytes) -> None:
    """The same bytes are added while their old record goes: whatever is recorded has its file."""
    added: list[Image] = []
    other = threading.Thread(target=lambda: added.append(images.add(io.BytesIO(content), Intake(name="new"))))
    store = Paused(other, after=True)
    images = Catalogue(Present(store), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    images.add(io.BytesIO(content), Intake(name="old"))
    store.armed = True
    images.remove("old")
    other.join(30.0)
    assert images.all() == added
    assert images.verify("new").names == ("new",)


def test_a_record_that_cannot_be_written_leaves_nothing(layout: Layout, content: bytes) -> None:
    """The store is full when the file is already in its place: the file goes again, at once."""

    class Full(FakeStore):
        def commit(self, writes: Sequence[Write], events: Sequence[Event] = (), **how: Any) -> int:
            raise NoSpace("the store is full")

    repository = Catalogue(Present(Full()), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    with pytest.raises(NoSpace):
        repository.add(io.BytesIO(content), Intake(name="micro"))
    assert empty(layout)


class FailingDisk:
    """SQLite's connection on a disk that fails as a commit ends: what was written stands, or does not."""

    def __init__(self, db: sqlite3.Connection, *, stands: bool) -> None:
        self._db = db
        self._stands = stands

    def execute(self, query: str, *values: Any) -> sqlite3.Cursor:
        """See sqlite3."""
        if query != "COMMIT":
            return self._db.execute(query, *values)
        self._db.execute("COMMIT" if self._stands else "ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[SqliteStore]:
    """Records on a disk."""
    with SqliteStore(tmp_path / "records.sqlite") as store:
        yield store


@contextlib.contextmanager
def failing(store: SqliteStore, *, stands: bool) -> Iterator[None]:
    """Commits fail meanwhile."""
    whole = store._db
    store._db = FailingDisk(whole, stands=stands)  # type: ignore[assignment]
    try:
        yield
    finally:
        store._db = whole


@pytest.mark.parametrize("stands", [True, False])
def test_a_commit_that_fails_at_its_end_loses_nothing(
    stored: SqliteStore, layout: Layout, content: bytes, stands: bool
) -> None:
    """Where the record stands all the same its bytes do, and who asked is told; where it does not, nothing is left.

    The same of a removal. What others read is what the store holds.
    """
    watching = Present(stored)
    repository = Catalogue(Present(stored), SystemClock(), LocalImageFiles(layout, virtual_size_max=1024**4))
    assert watching.all(Image) == []
    with failing(stored, stands=stands), pytest.raises(Transient) as refused:
        repository.add(io.BytesIO(content), Intake(name="micro"))
    assert ("it stands" in str(refused.value)) is stands
    assert [image.names for image in watching.all(Image)] == [("micro",)] * stands
    assert (repository.strays(), repository.missing()) == ([], [])
    assert empty(layout) is not stands
    repository.add(io.BytesIO(content), Intake(name="micro"))
    assert repository.verify("micro") in watching.all(Image)
    with failing(stored, stands=stands), pytest.raises(Transient):
        repository.remove("micro")
    assert (repository.strays(), repository.missing()) == ([], [])
    assert len(watching.all(Image)) == (not stands)
    assert empty(layout) is stands


def test_a_directory_that_cannot_be_written_back_keeps_no_orphan(
    repository: Catalogue, layout: Layout, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file has its name already when the disk fails: without a record it goes again."""
    whole = os.fsync

    def fails(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink() == layout.images:
            raise OSError(errno.EIO, "Input/output error")
        whole(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        with pytest.raises(Transient, match="Input/output error"):
            repository.add(io.BytesIO(content), Intake(name="micro"))
    assert empty(layout)
    assert repository.add(io.BytesIO(content), Intake(name="micro")).names == ("micro",)


def test_a_name_goes_before_digits(repository: Catalogue, content: bytes, tmp_path: Path) -> None:
    """A name that looks like the beginning of another image's digest means the image that it names."""
    first = repository.add(io.BytesIO(content), Intake(name="zzz"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(tmp_path / "other"), "9M"], check=True)
    second = repository.add(io.BytesIO((tmp_path / "other").read_bytes()), Intake(name="zzzz"))
    for one, other in ((first, second), (second, first)):
        repository.add(io.BytesIO(repository.path(one).read_bytes()), Intake(name=other.sha256[:12]))
    for one, other in ((first, second), (second, first)):
        found = repository.get(other.sha256[:12])
        assert found.sha256 == one.sha256


def test_holes_stay_holes(repository: Catalogue, tmp_path: Path) -> None:
    """A sparse disk takes the room of its data: between, before and behind it, also where that is not aligned."""
    source = tmp_path / "sparse"
    with source.open("wb") as file:
        for at in (70_000, 30 << 20, 50 << 20):
            file.seek(at)
            file.write(b"data" * 300)
        file.truncate(64 << 20)
    with source.open("rb") as file:
        image = repository.add(file, Intake(name="sparse", format=SourceFormat.RAW))
    kept = repository.path(image)
    assert kept.read_bytes() == source.read_bytes()
    assert image.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert kept.stat().st_blocks * 512 < 1 << 20
    with source.open("r+b") as file:
        file.seek((64 << 20) - 1)
        file.write(b"\1")
    with source.open("rb") as file:
        image = repository.add(file, Intake(name="end", format=SourceFormat.RAW))
    assert repository.path(image).stat().st_size == 64 << 20
