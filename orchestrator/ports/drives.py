"""The bytes of drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchestrator.model.drive import DriveFile


class DriveFiles(Protocol):
    """The bytes of drives and of their snapshots, by name; who uses one is known elsewhere.

    Only `inventory` may be called while somebody else is at the same drive. NoSpace when the host's disk is full:
    nothing of what there was is lost then.
    """

    def lay(self, name: str, size_mib: int) -> None:
        """Makes a drive of zeros. One that is there is made anew where nothing was ever written to it.

        Raises Conflict where something was: the records do not know of it, and somebody may want it.
        """

    def grow(self, name: str, size_mib: int) -> None:
        """Makes the drive so large, with zeros behind what is there; one as large or larger stays. Permanent: there
        is none.
        """

    def take(self, name: str, snapshot: str) -> None:
        """Keeps the drive as it is now: whole, or not at all. Raises Conflict for a name that is taken, Permanent
        where there is no drive.
        """

    def bring_back(self, name: str, snapshot: str, size_mib: int) -> None:
        """Makes the drive what it was, but no smaller than it has to be: whole, or not at all. Raises NotFound."""

    def forget(self, name: str, snapshot: str) -> None:
        """Removes a snapshot; raises NotFound."""

    def erase(self, name: str) -> None:
        """Removes the drive with all its snapshots. Absent is fine."""

    def inventory(self) -> Mapping[str, DriveFile]:
        """What lies on the host, by the name of the drive."""
