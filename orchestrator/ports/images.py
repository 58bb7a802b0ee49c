"""The bytes of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from orchestrator.model import DiskFormat, Image, Instance
from orchestrator.model.arrivals import Teller
from orchestrator.model.intake import Intake


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes that have arrived and were looked at, in a file that is nobody's yet. Sizes in bytes."""

    sha256: str
    source_sha256: str  # of what was sent: another, when it was unpacked or converted
    format: DiskFormat
    size_bytes: int
    virtual_size_bytes: int
    file: Path


class ImageFiles(Protocol):
    """The bytes of images, by their digest; what they are called and who uses them is known elsewhere."""

    def received(
        self, source: BinaryIO, intake: Intake, teller: Teller, progress: Callable[[int], None]
    ) -> AbstractContextManager[Received]:
        """Copies `source` to its end, converts it where that is asked, and checks it; gone at the end unless placed.

        Raises ImageRejected, NoSpace, or what `progress` raises, which is called all the while.
        """

    def captured(
        self, instance: Instance, teller: Teller, progress: Callable[[int], None]
    ) -> AbstractContextManager[Received]:
        """As `received`, of the system disk of an instance that is off: it and what it lies on, as one disk.

        Nothing of the instance is changed, and nothing holds it: who starts it meanwhile spoils what is read.
        """

    def place(self, received: Received) -> None:
        """Makes them the image with their digest, read-only; replaces a damaged one."""

    def take_back(self, received: Received) -> None:
        """Undoes `place`."""

    def erase(self, image: Image) -> None:
        """Removes them, if they are there."""

    def path(self, image: Image) -> Path:
        """Where they lie."""

    def names(self) -> set[str]:
        """Of all files that are images."""

    def verify(self, image: Image, progress: Callable[[int], None]) -> None:
        """Reads them again; raises ImageCorrupt when they or their mode are not what they were."""

    def sweep(self) -> None:
        """Removes what an interrupted arrival has left, and takes images back that were given to another user."""
