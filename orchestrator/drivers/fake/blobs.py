"""The blobs of the fake world."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence

from orchestrator.drivers.fake.world import World
from orchestrator.errors import InvalidInput, NoSpace, NotFound, StaleRevision
from orchestrator.model.blob import (
    IDLE_S,
    Blob,
    BlobCaps,
    BlobOwner,
    BlobPut,
    BlobStore,
    Of,
    blob_name,
    check_put,
    check_version,
    no_blob,
    refuse_begun,
    refuse_more,
    refuse_version,
)


@dataclasses.dataclass(slots=True)
class _Begun:
    owner: BlobOwner
    put: BlobPut
    at_s: float
    among: str
    data: bytes = b""


class FakeBlobs:
    """Blobs in memory: in `World.blobs` what is there, in here what is being put."""

    def __init__(self, world: World, caps: BlobCaps | None = None) -> None:
        self._world = world
        self._caps = caps or BlobCaps()
        self._begun: dict[str, _Begun] = {}

    def part(
        self, owner: BlobOwner, giver: str, put: BlobPut, offset: int, data: bytes, *, among: str = ""
    ) -> Blob | int:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        check_put(put, self._caps)
        there = self._world.blobs.get(owner, {}).get(put.name)
        if there is not None and there[0].is_of(put):
            self._begun.pop(giver, None)
            return there[0]
        begun = self._begun.get(giver)
        if begun is None or (begun.owner, begun.put) != (owner, put):
            if offset:
                raise NotFound(f"nothing of put {put.put_id} is here", hint="begin it again")
            if self._world.faults.disk_is_full:
                raise NoSpace("the disk is full", hint="make room")
            self._begun.pop(giver, None)
            self.give_up_idle()
            refuse_begun(among, [one.among for one in self._begun.values()], self._caps)
            self._refuse(owner, put)
            begun = self._begun[giver] = _Begun(owner, put, self._world.monotonic_s(), among)
        if offset > len(begun.data) or offset + len(data) > put.size_bytes:
            raise InvalidInput(f"byte {len(begun.data)} is the next", hint="send the parts in order")
        if more := data[len(begun.data) - offset :]:
            begun.data += more
            begun.at_s = self._world.monotonic_s()
        if len(begun.data) < put.size_bytes:
            return len(begun.data)
        del self._begun[giver]
        return self._commit(owner, put, begun.data)

    def read(self, owner: BlobOwner, name: str, offset: int, most: int, version: str = "") -> tuple[Blob, bytes]:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        blob, data = self._load(owner, name)
        if version and version != blob.version:
            raise StaleRevision(f"blob {name}: its version is {blob.version}", hint="get it from its beginning")
        return blob, data[offset : offset + most]

    def all(self, owner: BlobOwner) -> Sequence[Blob]:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        return [blob for _, (blob, _) in sorted(self._world.blobs.get(owner, {}).items())]

    def remove(self, owner: BlobOwner, name: str, if_version: str | None = None) -> Blob:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        if if_version is not None:
            check_version(if_version)
        blob, _ = self._load(owner, name)
        refuse_version(blob, name, if_version)
        del self._world.blobs[owner][name]
        return blob

    def give_up(self, giver: str) -> None:
        """See ports.BlobFiles."""
        self._begun.pop(giver, None)

    def give_up_idle(self) -> int:
        """See ports.BlobFiles."""
        now_s = self._world.monotonic_s()
        self._begun = {giver: one for giver, one in self._begun.items() if now_s - one.at_s <= IDLE_S}
        return len(self._begun)

    def erase_blobs(self, owner: BlobOwner) -> None:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        self._world.blobs.pop(owner, None)

    def roles_of(self, deployment: str) -> Collection[str]:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        own = [one.name for one in self._world.blobs if one.of is Of.ROLE and one.name.endswith(f".{deployment}")]
        return sorted(name.partition(".")[0] for name in own)

    def inventory(self) -> Sequence[BlobStore]:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        stores = sorted(self._world.blobs.items(), key=lambda one: str(one[0]))
        return [
            BlobStore(owner=owner, blobs=len(held), used_bytes=sum(blob.size_bytes for blob, _ in held.values()))
            for owner, held in stores
        ]

    def used_bytes(self) -> int:
        """See ports.BlobFiles."""
        self._world.meet("blobs")
        return sum(blob.size_bytes for held in self._world.blobs.values() for blob, _ in held.values())

    def _refuse(self, owner: BlobOwner, put: BlobPut) -> None:
        held = {name: blob.size_bytes for name, (blob, _) in self._world.blobs.get(owner, {}).items()}
        begun = sum(one.put.size_bytes for one in self._begun.values() if one.owner == owner)
        there = self._world.blobs.get(owner, {}).get(put.name)
        refuse_version(there[0] if there else None, put.name, put.if_version)
        refuse_more(put, held, begun, self._caps)

    def _commit(self, owner: BlobOwner, put: BlobPut, data: bytes) -> Blob:
        if hashlib.sha256(data).hexdigest() != put.sha256:
            raise InvalidInput(f"the bytes of blob {put.name} are not those of its digest", hint="put it again")
        self._refuse(owner, put)
        self._world.blob_versions += 1
        blob = Blob(
            name=put.name,
            version=f"{self._world.blob_versions:016x}",
            size_bytes=put.size_bytes,
            sha256=put.sha256,
            put_at_s=self._world.now_s(),
            put_id=put.put_id,
        )
        self._world.blobs.setdefault(owner, {})[put.name] = blob, data
        return blob

    def _load(self, owner: BlobOwner, name: str) -> tuple[Blob, bytes]:
        found = self._world.blobs.get(owner, {}).get(blob_name(name))
        if found is None:
            raise no_blob(owner, name)
        return found
