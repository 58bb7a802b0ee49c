"""The blobs that a guest may have: whose they are follows from its record, never from what it says."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.control.present import Present
from orchestrator.errors import NotFound
from orchestrator.model import Instance, InstanceName
from orchestrator.model.blob import Blob, BlobOwner, BlobPut, Of
from orchestrator.ports import BlobFiles


class GuestBlobs:
    """ports.BlobDesk of the records and the files."""

    def __init__(self, present: Present, files: BlobFiles) -> None:
        self._present = present
        self._files = files

    def part(self, name: InstanceName, of: Of, put: BlobPut, offset: int, data: bytes) -> Blob | int:
        """See ports.BlobDesk."""
        return self._files.part(self._owner(name, of), name, put, offset, data)

    def read(self, name: InstanceName, of: Of, blob: str, offset: int, most: int, version: str) -> tuple[Blob, bytes]:
        """See ports.BlobDesk."""
        return self._files.read(self._owner(name, of), blob, offset, most, version)

    def all(self, name: InstanceName, of: Of) -> Sequence[Blob]:
        """See ports.BlobDesk."""
        return self._files.all(self._owner(name, of))

    def remove(self, name: InstanceName, of: Of, blob: str, if_version: str | None) -> Blob:
        """See ports.BlobDesk."""
        return self._files.remove(self._owner(name, of), blob, if_version)

    def give_up(self, name: InstanceName) -> None:
        """See ports.BlobDesk."""
        self._files.give_up(name)

    def give_up_idle(self) -> int:
        """See ports.BlobDesk."""
        return self._files.give_up_idle()

    def _owner(self, name: InstanceName, of: Of) -> BlobOwner:
        """What goes has no store any more: it would be left behind."""
        instance = self._present.find(Instance, name)
        if instance is None or not instance.goal.serve:
            raise NotFound(f"there is no instance {name}, or it goes")
        return owner_of(instance, of)


def owner_of(instance: Instance, of: Of) -> BlobOwner:
    """Whose store that is, seen from an instance."""
    match of:
        case Of.INSTANCE:
            return BlobOwner(of, instance.name)
        case Of.ROLE:
            return BlobOwner(of, f"{instance.role_name}.{instance.service}")
