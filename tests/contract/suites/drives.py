"""What every DriveFiles keeps. Who runs it gives the fixtures `drives`, `write` and `written`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import Conflict, NotFound, Permanent
from orchestrator.ports import DriveFiles

MIB = 1024 * 1024
Write = Callable[[str, str], None]
Written = Callable[[str], str]


def sizes(drives: DriveFiles) -> dict[str, int | None]:
    """MiB of each drive."""
    lies = drives.inventory().items()
    return {name: one.size_bytes and one.size_bytes // MIB for name, one in lies}


def snapshots(drives: DriveFiles, name: str) -> list[str]:
    """Those of a drive, by name."""
    return sorted(one.name for one in drives.inventory()[name].snapshots)


class DriveFilesContract:
    """The suite of ports.DriveFiles."""

    def test_a_drive_is_there_until_it_is_erased(self, drives: DriveFiles, write: Write, written: Written) -> None:
        """With what was written to it; erasing takes its snapshots as well, and may be repeated."""
        drives.lay("db-0", 16)
        drives.lay("db-1", 32)
        write("db-0", "orders")
        assert (sizes(drives), written("db-0"), written("db-1")) == ({"db-0": 16, "db-1": 32}, "orders", "")
        drives.take("db-0", "monday")
        for _ in range(2):
            drives.erase("db-0")
        assert sizes(drives) == {"db-1": 32}

    def test_what_holds_something_is_not_made_anew(self, drives: DriveFiles, write: Write, written: Written) -> None:
        """One that nothing was written to is: who made it was interrupted before it was recorded."""
        drives.lay("db-0", 16)
        drives.lay("db-0", 32)
        assert sizes(drives) == {"db-0": 32}
        write("db-0", "orders")
        with pytest.raises(Conflict, match="of which there is no record"):
            drives.lay("db-0", 64)
        assert (sizes(drives), written("db-0")) == ({"db-0": 32}, "orders")

    def test_nor_is_one_with_a_snapshot(self, drives: DriveFiles) -> None:
        """Though it be as it was made."""
        drives.lay("db-0", 16)
        drives.take("db-0", "monday")
        with pytest.raises(Conflict):
            drives.lay("db-0", 16)
        assert snapshots(drives, "db-0") == ["monday"]

    def test_a_drive_grows_and_never_shrinks(self, drives: DriveFiles, write: Write, written: Written) -> None:
        """It keeps what is in it."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        for size in (32, 32, 16):
            drives.grow("db-0", size)
            assert (sizes(drives), written("db-0")) == ({"db-0": 32}, "orders")
        with pytest.raises(Permanent):
            drives.grow("db-1", 32)

    def test_a_snapshot_is_what_the_drive_was(self, drives: DriveFiles, write: Write, written: Written) -> None:
        """It can be brought back more than once, and is not what is written later."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        for later in ("tuesday's", "garbage"):
            write("db-0", later)
            drives.bring_back("db-0", "monday", 16)
            assert written("db-0") == "orders"
        assert snapshots(drives, "db-0") == ["monday"]

    def test_what_is_brought_back_is_as_large_as_the_drive(
        self, drives: DriveFiles, write: Write, written: Written
    ) -> None:
        """Nobody finds a disk that has become smaller."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        drives.grow("db-0", 64)
        drives.bring_back("db-0", "monday", 64)
        assert (sizes(drives), written("db-0")) == ({"db-0": 64}, "orders")

    def test_a_snapshot_has_a_name_of_its_own(self, drives: DriveFiles, write: Write, written: Written) -> None:
        """The one before is not overwritten; one that is gone is gone."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        write("db-0", "garbage")
        with pytest.raises(Conflict, match="monday"):
            drives.take("db-0", "monday")
        drives.bring_back("db-0", "monday", 16)
        assert written("db-0") == "orders"
        drives.forget("db-0", "monday")
        assert snapshots(drives, "db-0") == []
        for absent in (lambda: drives.forget("db-0", "monday"), lambda: drives.bring_back("db-0", "monday", 16)):
            with pytest.raises(NotFound):
                absent()
        assert written("db-0") == "orders"

    def test_what_is_not_there_has_no_snapshot(self, drives: DriveFiles) -> None:
        """And nothing is made of it."""
        with pytest.raises(Permanent):
            drives.take("db-0", "monday")
        with pytest.raises(NotFound):
            drives.bring_back("db-0", "monday", 16)
        assert sizes(drives) == {}

    def test_a_drive_whose_file_is_gone_comes_back_from_a_snapshot(
        self, drives: DriveFiles, write: Write, written: Written, lose: Callable[[str], None]
    ) -> None:
        """Meanwhile it is told as one without a file."""
        drives.lay("db-0", 16)
        write("db-0", "orders")
        drives.take("db-0", "monday")
        lose("db-0")
        assert sizes(drives) == {"db-0": None}
        drives.bring_back("db-0", "monday", 16)
        assert (sizes(drives), written("db-0")) == ({"db-0": 16}, "orders")
