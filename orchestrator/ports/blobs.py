"""The stores of blobs, and what a guest may ask of those that are its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from orchestrator.model import InstanceName
from orchestrator.model.blob import Blob, BlobOwner, BlobPut, BlobStore, Of


class BlobFiles(Protocol):
    """The bytes of blobs, by their owner's name and their own. Thread-safe; who is who's is known elsewhere.

    A blob is there whole, the former or the new one, at every moment, and what was answered outlives the host's end.
    NoSpace when the host's disk is full, Transient when it fails: what there was is there still.
    """

    def part(
        self, owner: BlobOwner, giver: str, put: BlobPut, offset: int, data: bytes, *, among: str = ""
    ) -> Blob | int:
        """Takes a part of a put: at 0 it begins, and what the giver has begun before is forgotten. With the last part
        the blob takes its name, and is returned; else how many bytes there are of it. A part that comes again is
        taken for what it is, the last one also after it was put. `among` is who has several givers, "" for nobody: so
        many of his, and of all such, have begun something at a time (`BlobCaps.puts_each` and `puts_most`).

        Raises InvalidInput for what cannot be meant, bytes of another digest among it, StaleRevision for another
        version than it is to replace, Conflict when the store is full or too many have begun, and NotFound for a part
        of a put that is not (any more): it is to begin again.
        """

    def read(self, owner: BlobOwner, name: str, offset: int, most: int, version: str = "") -> tuple[Blob, bytes]:
        """At most so many bytes of a blob, from there. Raises NotFound, and StaleRevision where a version is given
        that it has no more.
        """

    def all(self, owner: BlobOwner) -> Sequence[Blob]:
        """Those of an owner, by name."""

    def remove(self, owner: BlobOwner, name: str, if_version: str | None = None) -> Blob:
        """Removes one, and returns what it was; raises NotFound, and StaleRevision as `part`."""

    def give_up(self, giver: str) -> None:
        """What the giver has begun to put, and not ended, goes. Nothing is fine."""

    def give_up_idle(self) -> int:
        """What nobody has gone on with for a while goes; returns how many puts are begun still."""

    def erase_blobs(self, owner: BlobOwner) -> None:
        """Removes the store with all that is in it. Absent is fine."""

    def roles_of(self, deployment: str) -> Collection[str]:
        """The roles of a deployment that have a store, by name."""

    def inventory(self) -> Sequence[BlobStore]:
        """What lies on this host."""

    def used_bytes(self) -> int:
        """How many bytes the blobs of this host have together, whoever's they are."""


class BlobDesk(Protocol):
    """Blobs as a guest has them: its own, and those of its role. Raises as BlobFiles, and NotFound for an instance
    that is not recorded. Called from several threads.
    """

    def part(self, name: InstanceName, of: Of, put: BlobPut, offset: int, data: bytes) -> Blob | int:
        """See BlobFiles."""

    def read(self, name: InstanceName, of: Of, blob: str, offset: int, most: int, version: str) -> tuple[Blob, bytes]:
        """See BlobFiles."""

    def all(self, name: InstanceName, of: Of) -> Sequence[Blob]:
        """See BlobFiles."""

    def remove(self, name: InstanceName, of: Of, blob: str, if_version: str | None) -> Blob:
        """See BlobFiles."""

    def give_up(self, name: InstanceName) -> None:
        """What the guest has begun to put goes."""

    def give_up_idle(self) -> int:
        """See BlobFiles."""
