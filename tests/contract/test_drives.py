"""The contract of DriveFiles on the fake and on real files, and what only real files can show."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.drivers.disks.drives import RawDrives
from orchestrator.drivers.fake import FakeDrives, World
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import InvalidInput, NoSpace, Permanent
from orchestrator.ports import DriveFiles
from tests.contract.suites.drives import MIB, DriveFilesContract

DEEP = 9 * MIB  # where nothing is written before


class TestFakeDrives(DriveFilesContract):
    """The fake world's."""

    @pytest.fixture
    def world(self) -> World:
        """A world without anything."""
        return World()

    @pytest.fixture
    def drives(self, world: World) -> DriveFiles:
        """In memory."""
        return FakeDrives(world)

    @pytest.fixture
    def write(self, world: World) -> Callable[[str, str], None]:
        """As a guest does."""
        return lambda name, text: setattr(world.drives[name], "written", text)

    @pytest.fixture
    def written(self, world: World) -> Callable[[str], str]:
        """What a guest would read."""
        return lambda name: world.drives[name].written

    @pytest.fixture
    def lose(self, world: World) -> Callable[[str], None]:
        """As somebody does who removes its file."""
        return lambda name: setattr(world.drives[name], "size_mib", None)


class TestRawDrives(DriveFilesContract):
    """Real files."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Layout:
        """Places below the test's directory."""
        (tmp_path / "state").mkdir()
        return Layout(tmp_path / "state", tmp_path / "run")

    @pytest.fixture
    def drives(self, layout: Layout) -> DriveFiles:
        """By cp."""
        return RawDrives(layout)

    @pytest.fixture
    def write(self, layout: Layout) -> Callable[[str, str], None]:
        """As QEMU does, in the midst of the disk."""

        def write(name: str, text: str) -> None:
            with layout.drive(name).open("rb+") as file:
                file.seek(DEEP)
                file.write(text.encode().ljust(64, b"\0"))

        return write

    @pytest.fixture
    def written(self, layout: Layout) -> Callable[[str], str]:
        """What a guest would read."""

        def written(name: str) -> str:
            with layout.drive(name).open("rb") as file:
                file.seek(DEEP)
                return file.read(64).rstrip(b"\0").decode()

        return written

    @pytest.fixture
    def lose(self, layout: Layout) -> Callable[[str], None]:
        """As somebody does who removes its file."""
        return lambda name: layout.drive(name).unlink()

    def test_nobody_else_reads_a_drive_and_its_holes_take_no_room(
        self, drives: DriveFiles, layout: Layout, write: Callable[[str, str], None]
    ) -> None:
        """Nor do those of a snapshot, which nobody writes to by a slip."""
        drives.lay("db-0", 1024)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        disk, kept = layout.drive("db-0"), layout.drive_snapshot("db-0", "monday")
        assert [path.stat().st_mode & 0o777 for path in (disk, kept)] == [0o600, 0o400]
        assert (disk.parent.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o711, 0o700)
        lies = drives.inventory()["db-0"]
        assert lies.size_bytes == lies.snapshots[0].size_bytes == 1024 * MIB
        assert max(lies.used_bytes, lies.snapshots[0].used_bytes) < MIB

    def test_a_copy_that_fails_leaves_what_there_was(
        self, drives: DriveFiles, layout: Layout, written: Callable[[str], str], write: Callable[[str, str], None]
    ) -> None:
        """No half of a drive takes the place of a whole one, and no half of a snapshot is one."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        write("db-0", "tuesday's")
        layout.drive_snapshot("db-0", "monday").unlink()
        layout.drive_snapshot("db-0", "monday").mkdir()  # cp cannot read that as a file
        with pytest.raises(Permanent, match="cp"):
            drives.bring_back("db-0", "monday", 16)
        assert written("db-0") == "tuesday's"
        assert [path.name for path in layout.drive_dir("db-0").iterdir()] == ["disk.raw", "snapshots"]

    def test_a_full_disk_makes_nothing(self, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
        """Running guests need what is left: there is no drive, and no trace of one."""
        real = os.statvfs(layout.state)
        none = os.statvfs_result((*real[:3], 0, 0, *real[5:]))
        monkeypatch.setattr(os, "statvfs", lambda _: none)
        with pytest.raises(NoSpace):
            RawDrives(layout).lay("db-0", 16)
        assert RawDrives(layout).inventory() == {}

    def test_what_was_interrupted_is_swept_away(self, drives: DriveFiles, layout: Layout) -> None:
        """By the next daemon, and is neither a drive nor a snapshot meanwhile."""
        drives.lay("db-0", 16)
        drives.take("db-0", "monday")
        halves = [layout.drive_dir("db-0") / "disk.raw.new", layout.drive_snapshots("db-0") / "tuesday.raw.new"]
        for half in halves:
            half.write_bytes(b"half")
        assert [one.name for one in drives.inventory()["db-0"].snapshots] == ["monday"]
        assert RawDrives(layout).inventory() == drives.inventory()
        assert not any(half.exists() for half in halves)

    @pytest.mark.parametrize("name", ["..", "../db", "a/b", "", ".", "DB", "a\0b", "x" * 41])
    def test_no_name_leads_out_of_its_place(self, drives: DriveFiles, layout: Layout, name: str) -> None:
        """Whoever asks, nothing is looked at, made or erased."""
        drives.lay("db-0", 16)
        for ask in (
            lambda: drives.lay(name, 16),
            lambda: drives.erase(name),
            lambda: drives.take("db-0", name),
            lambda: drives.bring_back("db-0", name, 16),
            lambda: drives.forget("db-0", name),
        ):
            with pytest.raises(InvalidInput):
                ask()
        assert [path.name for path in layout.state.iterdir()] == ["drives"]
        assert drives.inventory().keys() == {"db-0"}
