"""Blobs as files: STATE/blobs/instances/NAME/BLOB.blob and STATE/blobs/roles/SERVICE/ROLE/BLOB.blob, root's alone.

A file has a head of HEAD_BYTES, JSON on one line, and the blob's bytes behind it, so that one rename puts both. What
is being put lies beside as .put-…, is synced before it is renamed, and its directory after; who is killed leaves the
former blob or the new one, and a .put-… that the next daemon removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import secrets
import shutil
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import InvalidInput, NotFound, Permanent, StaleRevision, Transient
from orchestrator.model.blob import (
    IDLE_S,
    NONE,
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
from orchestrator.model.naming import is_sha256
from orchestrator.ports import Clock

HEAD_BYTES: Final = 512
LOCKS: Final = 64
_BLOB: Final = ".blob"
_PUT: Final = ".put-"
_HINT: Final = "look at STATE/blobs and its file system"


@dataclasses.dataclass(slots=True)
class _Begun:
    """A put of which a part is there; its bytes are in a file, so that it holds next to nothing."""

    owner: BlobOwner
    put: BlobPut
    path: Path
    digest: Any  # hashlib's
    at_s: float
    among: str
    taken: int = 0


def used_bytes(layout: Layout) -> int:
    """What all stores of the host have. Their sizes alone are asked for; raises Transient."""
    with file_faults(layout.blobs, _HINT):
        places = [*layout.blobs.glob("instances/*"), *layout.blobs.glob("roles/*/*")]
        return sum(sum(_names(place).values()) for place in places if _is_store(place))


class BlobDirectory:
    """See ports.BlobFiles."""

    def __init__(self, layout: Layout, clock: Clock, caps: BlobCaps | None = None, *, reserve_bytes: int = 0) -> None:
        """What was being put when an earlier daemon ended is removed."""
        self._layout = layout
        self._clock = clock
        self._caps = caps or BlobCaps()
        self._room = Room(layout.state, reserve_bytes)
        self._begun: dict[str, _Begun] = {}  # by giver: one of each
        self._counting = threading.Lock()  # of `_begun`
        # A giver's comes before an owner's. They are few, as names have no end.
        self._givers, self._owners = ([threading.Lock() for _ in range(LOCKS)] for _ in range(2))
        with file_faults(layout.blobs, _HINT):
            for left in [*layout.blobs.glob(f"*/*/{_PUT}*"), *layout.blobs.glob(f"*/*/*/{_PUT}*")]:
                left.unlink(missing_ok=True)

    def part(
        self, owner: BlobOwner, giver: str, put: BlobPut, offset: int, data: bytes, *, among: str = ""
    ) -> Blob | int:
        """See ports.BlobFiles."""
        check_put(put, self._caps)
        place = self._layout.blobs_of(owner)
        with self._givers[hash(giver) % LOCKS], file_faults(place, _HINT):
            if (done := self._load(place, put.name)) is not None and done.is_of(put):
                self._drop(giver)
                return done
            begun = self._known(giver, owner, put, offset, len(data))
            if begun is None and offset == 0:
                begun = self._begin(owner, giver, put, place, among)
            if begun is None:
                raise NotFound(f"nothing of put {put.put_id} is here", hint="begin it again, with its first byte")
            if offset > begun.taken or offset + len(data) > put.size_bytes:
                told = f"bytes {offset} to {offset + len(data)} of {put.size_bytes}: byte {begun.taken} is the next"
                raise InvalidInput(told, hint="send the parts in order")
            try:
                self._append(begun, data[begun.taken - offset :])
                if begun.taken < put.size_bytes:
                    return begun.taken
                done = self._commit(begun, place)
            except BaseException:
                self._drop(giver)
                raise
            self._drop(giver)
            return done

    def read(self, owner: BlobOwner, name: str, offset: int, most: int, version: str = "") -> tuple[Blob, bytes]:
        """See ports.BlobFiles."""
        path = self._layout.blobs_of(owner) / f"{blob_name(name)}{_BLOB}"
        with file_faults(path, _HINT), contextlib.ExitStack() as stack:
            try:
                handle = stack.enter_context(_opened(path, os.O_RDONLY))
            except FileNotFoundError:
                raise no_blob(owner, name) from None
            blob = _read_head(handle, name)  # Whatever takes its name meanwhile: this one is whole.
            if not blob.version:
                raise Permanent(f"blob {name} of {owner} is damaged", hint="put it again, or remove it")
            if version and version != blob.version:
                raise StaleRevision(f"blob {name}: its version is {blob.version}", hint="get it from its beginning")
            return blob, os.pread(handle, max(0, min(most, blob.size_bytes - offset)), HEAD_BYTES + offset)

    def all(self, owner: BlobOwner) -> Sequence[Blob]:
        """See ports.BlobFiles."""
        place = self._layout.blobs_of(owner)
        with file_faults(place, _HINT):
            found = (self._load(place, name) for name in sorted(_names(place)))
            return [one for one in found if one is not None]

    def remove(self, owner: BlobOwner, name: str, if_version: str | None = None) -> Blob:
        """See ports.BlobFiles."""
        place = self._layout.blobs_of(owner)
        blob_name(name)
        if if_version is not None:
            check_version(if_version)
        with file_faults(place, _HINT), self._owners[hash(owner) % LOCKS]:
            there = self._load(place, name)
            if there is None:
                raise no_blob(owner, name)
            refuse_version(there, name, if_version)
            (place / f"{name}{_BLOB}").unlink()
            on_disk(place)
            return there

    def give_up(self, giver: str) -> None:
        """See ports.BlobFiles."""
        with self._givers[hash(giver) % LOCKS]:
            self._drop(giver)

    def give_up_idle(self) -> int:
        """See ports.BlobFiles."""
        with self._counting:
            since_s = self._clock.monotonic_s() - IDLE_S
            old = [self._begun.pop(giver) for giver, one in [*self._begun.items()] if one.at_s < since_s]
            left = len(self._begun)
        for one in old:
            with contextlib.suppress(OSError):
                one.path.unlink()
        return left

    def erase_blobs(self, owner: BlobOwner) -> None:
        """See ports.BlobFiles."""
        place = self._layout.blobs_of(owner)
        with file_faults(place, _HINT), self._owners[hash(owner) % LOCKS]:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(place)
            if owner.of is Of.ROLE:
                with contextlib.suppress(OSError):  # Another role has one, or none ever had.
                    place.parent.rmdir()

    def roles_of(self, deployment: str) -> Collection[str]:
        """See ports.BlobFiles."""
        place = self._layout.blobs_of(BlobOwner(Of.ROLE, f"any.{deployment}")).parent
        with file_faults(place, _HINT), contextlib.suppress(FileNotFoundError):
            return sorted(one.name for one in place.iterdir() if _is_store(one))
        return []

    def inventory(self) -> Sequence[BlobStore]:
        """See ports.BlobFiles."""
        root = self._layout.blobs
        with file_faults(root, _HINT):
            of = [(one, BlobOwner(Of.INSTANCE, one.name)) for one in root.glob("instances/*")]
            of += [(one, BlobOwner(Of.ROLE, f"{one.name}.{one.parent.name}")) for one in root.glob("roles/*/*")]
            stores = sorted((one for one in of if _is_store(one[0])), key=lambda one: str(one[1]))
            return [_store(place, owner) for place, owner in stores]

    def used_bytes(self) -> int:
        """See ports.BlobFiles."""
        return used_bytes(self._layout)

    # What is being put -----------------------------------------------------------------------------------------

    def _known(self, giver: str, owner: BlobOwner, put: BlobPut, offset: int, length: int) -> _Begun | None:
        with self._counting:
            begun = self._begun.get(giver)
            if begun is None or (begun.owner, begun.put) != (owner, put):
                return None
            # Who sends nothing new, or what is refused, does not go on with it.
            if offset <= begun.taken < offset + length <= put.size_bytes:
                begun.at_s = self._clock.monotonic_s()
            return begun

    def _begin(self, owner: BlobOwner, giver: str, put: BlobPut, place: Path, among: str) -> _Begun:
        self._drop(giver)
        self.give_up_idle()
        with self._counting:
            to_come = sum(one.put.size_bytes - one.taken for one in self._begun.values())
        self._room.require(to_come + put.size_bytes, f"a blob of {owner}")
        with self._owners[hash(owner) % LOCKS]:
            self._refuse(owner, put, place)
            _make(place, self._layout.state)
        path = place / f"{_PUT}{secrets.token_hex(8)}"
        begun = _Begun(owner, put, path, hashlib.sha256(), self._clock.monotonic_s(), among)
        with self._counting:  # Before its file is: who is refused has cost nothing.
            refuse_begun(among, [one.among for one in self._begun.values()], self._caps)
            self._begun[giver] = begun
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        except BaseException:
            self._drop(giver)
            raise
        return begun

    def _refuse(self, owner: BlobOwner, put: BlobPut, place: Path) -> None:
        with self._counting:
            begun = sum(one.put.size_bytes for one in self._begun.values() if one.owner == owner and one.put != put)
        refuse_version(self._load(place, put.name), put.name, put.if_version)
        refuse_more(put, _names(place), begun, self._caps)

    def _append(self, begun: _Begun, data: bytes) -> None:
        with _opened(begun.path, os.O_WRONLY) as handle:
            written = 0
            while written < len(data):
                written += os.pwrite(handle, data[written:], HEAD_BYTES + begun.taken + written)
        begun.digest.update(data)
        begun.taken += len(data)

    def _commit(self, begun: _Begun, place: Path) -> Blob:
        put = begun.put
        if begun.digest.hexdigest() != put.sha256:
            raise InvalidInput(f"the bytes of blob {put.name} are not those of its digest", hint="put it again")
        blob = Blob(
            name=put.name,
            version=secrets.token_hex(8),
            size_bytes=put.size_bytes,
            sha256=put.sha256,
            put_at_s=round(self._clock.now_s(), 3),
            put_id=put.put_id,
        )
        with _opened(begun.path, os.O_WRONLY) as handle:
            os.pwrite(handle, _head(blob), 0)
            os.fsync(handle)
        with self._owners[hash(begun.owner) % LOCKS]:
            self._refuse(begun.owner, put, place)
            try:
                begun.path.rename(place / f"{put.name}{_BLOB}")
            except FileNotFoundError:
                raise Transient(f"the blobs of {begun.owner} have gone meanwhile", hint=_HINT) from None
            on_disk(place)
        return blob

    def _drop(self, giver: str) -> None:
        with self._counting:
            begun = self._begun.pop(giver, None)
        if begun is not None:
            with contextlib.suppress(OSError):
                begun.path.unlink()

    def _load(self, place: Path, name: str) -> Blob | None:
        try:
            with _opened(place / f"{name}{_BLOB}", os.O_RDONLY) as handle:
                return _read_head(handle, name)
        except FileNotFoundError:
            return None


def _head(blob: Blob) -> bytes:
    said = {one: getattr(blob, one) for one in ("version", "size_bytes", "sha256", "put_at_s", "put_id")}
    return json.dumps(said).encode().ljust(HEAD_BYTES - 1) + b"\n"


def _read_head(handle: int, name: str) -> Blob:
    """The blob that an open file is; one without a version when it is none, or not whole."""
    found = os.fstat(handle)
    size_bytes = max(0, found.st_size - HEAD_BYTES)
    with contextlib.suppress(ValueError, TypeError, InvalidInput):
        blob = Blob(name=name, **json.loads(os.pread(handle, HEAD_BYTES, 0)))
        is_one = blob.size_bytes == size_bytes and is_sha256(blob.sha256) and check_version(blob.version) != NONE
        if is_one and math.isfinite(blob.put_at_s) and isinstance(blob.put_id, str):
            return blob
    return Blob(name=name, version="", size_bytes=size_bytes, sha256="", put_at_s=found.st_mtime)


def _names(place: Path) -> dict[str, int]:
    """What is in a store, with its size."""
    found = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.endswith(_BLOB):
                with contextlib.suppress(FileNotFoundError):  # Removed meanwhile.
                    size_bytes = entry.stat(follow_symlinks=False).st_size - HEAD_BYTES
                    found[entry.name.removesuffix(_BLOB)] = max(0, size_bytes)
    return found


def _store(place: Path, owner: BlobOwner) -> BlobStore:
    names, damaged = _names(place), []
    for name in sorted(names):
        with contextlib.suppress(OSError), _opened(place / f"{name}{_BLOB}", os.O_RDONLY) as handle:
            if not _read_head(handle, name).version:
                damaged.append(name)
    return BlobStore(owner=owner, blobs=len(names), used_bytes=sum(names.values()), damaged=tuple(damaged))


def _is_store(place: Path) -> bool:
    """Whether that is one; what else somebody has put there is not ours."""
    return place.is_dir() and not place.is_symlink()


def _make(place: Path, above: Path) -> None:
    """The directory of a store, root's alone, and its name on the disk."""
    for directory in (*reversed([one for one in place.parents if above in one.parents]), place):
        with contextlib.suppress(FileExistsError):
            directory.mkdir(0o700)
            on_disk(directory.parent)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A file by no link, closed at the end."""
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
