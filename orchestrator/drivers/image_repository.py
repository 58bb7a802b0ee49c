"""The image repository: content-addressed, read-only files and their records. An image stays until it is deleted.

Bytes come in as a stream into `incoming`, are hashed while they are copied, inspected by us, then by qemu-img under
limits, and only then renamed to their digest. What is in `incoming` at a start was interrupted and is swept away.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from orchestrator import imagefile, records
from orchestrator.drivers.command import run
from orchestrator.drivers.layout import Layout
from orchestrator.errors import CommandFailed, Conflict, ImageCorrupt, ImageRejected, InvalidInput, NoSpace, NotFound
from orchestrator.model import DiskFormat, Image, Instance, Os, Service, image_name, is_sha256
from orchestrator.ports import Clock, Store

log = logging.getLogger(__name__)
CHUNK = 1024 * 1024
# qemu-img reads a header and tables: seconds and a few hundred MiB; a hostile file must not get more.
INSPECT_CPU_S = 30
INSPECT_MEMORY_BYTES = 2 * 1024**3
INSPECT_WITHIN_S = 120.0
DIGEST_PREFIX_LEAST = 12


class ImageRepository:
    """Images of one host. Thread-safe: copies are made side by side, names and files change one at a time."""

    def __init__(self, store: Store, layout: Layout, clock: Clock, *, virtual_size_max: int) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._virtual_size_max = virtual_size_max
        # No revision guards that a name is given once, or that a file goes together with its record; this does.
        self._changing = threading.Lock()
        self._layout.images.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._layout.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(
        self,
        source: BinaryIO,
        *,
        name: str,
        os: Os = Os.LINUX,
        format: DiskFormat | None = None,
        sha256: str | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Image:
        """Copies `source` to its end and takes it in; `progress` gets the bytes copied so far.

        Raises ImageRejected, InvalidInput (name, digest), Conflict (the name means other bytes) or NoSpace, each
        having left nothing. The same bytes twice are one image with two names.
        """
        image_name(name)
        if sha256 is not None and not is_sha256(sha256):
            raise InvalidInput(f"{sha256[:80]!r} is not a digest", hint="64 lower-case hexadecimal digits")
        self._refuse_taken_name(name, sha256)
        with contextlib.ExitStack() as undo, _space():
            incoming = self._copy(source, undo, progress)
            digest = incoming.sha256
            if sha256 not in (None, digest):
                raise ImageRejected(
                    f"the digest is {digest}, not {sha256}", reason="digest", hint="the file is not the one you mean"
                )
            with incoming.path.open("rb") as file:
                found = imagefile.inspect(file, format, virtual_size_max=self._virtual_size_max)
            _agree(incoming.path, found)
            with self._changing:
                return self._publish(incoming, found, name, os)

    def all(self) -> list[Image]:
        """All images, by name."""
        return sorted(records.all_of(self._store, Image), key=lambda image: image.names)

    def find(self, reference: str) -> Image | None:
        """The image called `reference`: a name, NAME@sha256:DIGEST, a digest, or its first 12 digits or more.

        A name goes before digits, since a name may look like them; digits that fit two images mean none.
        """
        name, at, digest = reference.partition("@sha256:")
        images = self.all()
        for image in images:
            if name in image.names and (not at or image.sha256 == digest):
                return image
        if len(reference) < DIGEST_PREFIX_LEAST:
            return None
        fitting = [image for image in images if image.sha256.startswith(reference)]
        return fitting[0] if len(fitting) == 1 else None

    def get(self, reference: str) -> Image:
        """As `find`; raises NotFound."""
        image = self.find(reference)
        if image is None:
            raise NotFound(f"there is no image {reference[:80]!r}", hint="run: vmrole image ls")
        return image

    def path(self, image: Image) -> Path:
        """Where the bytes lie."""
        return self._layout.image(image.sha256, image.format)

    def verify(self, reference: str, progress: Callable[[int], None] = lambda _: None) -> Image:
        """Reads the whole image again; raises ImageCorrupt when its bytes or its mode are not what they were."""
        image = self.get(reference)
        path = self.path(image)
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                digest = hashlib.sha256()
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
                    progress(file.tell())
        except OSError as error:
            raise ImageCorrupt(f"{path}: {error.strerror}", hint="add the image again") from error
        if digest.hexdigest() != image.sha256:
            raise ImageCorrupt(
                f"{path}: its digest is now {digest.hexdigest()}", hint="reimage nothing from it; add it again"
            )
        if mode != 0o444:
            raise ImageCorrupt(f"{path}: its mode is {mode:o}, not 444", hint=f"run: chmod 0444 {path}")
        return image

    def remove(self, reference: str) -> Image:
        """Takes the name away, and with the last name the image. Raises Conflict while a service refers to it."""
        with self._changing:
            return self._remove(reference)

    def sweep(self) -> None:
        """Removes what an interrupted add or remove has left. Called once, before requests are taken."""
        for path in self._layout.incoming.iterdir():
            log.info("removed an interrupted copy: %s", path.name)
            path.unlink()
        known = {self.path(image) for image in self.all()}
        for path in self._layout.images.iterdir():
            if path not in known:
                log.info("removed an image without a record: %s", path.name)
                path.unlink()

    def _remove(self, reference: str) -> Image:
        image = self.get(reference)
        name = reference.partition("@")[0]
        left = tuple(one for one in image.names if one != name) if name in image.names else ()
        if left:
            self._store.commit([records.put(replace(image, names=left))])
            return image
        self._refuse_used(image)
        self._store.commit([records.drop(image)])
        self.path(image).unlink(missing_ok=True)
        return image

    def _refuse_taken_name(self, name: str, sha256: str | None) -> None:
        taken = next((image for image in self.all() if name in image.names), None)
        if taken is not None and taken.sha256 != sha256 and sha256 is not None:
            raise _name_taken(name, taken)

    def _refuse_used(self, image: Image) -> None:
        used = {one.service for one in records.all_of(self._store, Instance) if _refers(one, image)}
        for service in records.all_of(self._store, Service):
            if any(role.image_sha256 == image.sha256 for role in service.spec.roles):
                used.add(service.name)
        if used:
            names = ", ".join(sorted(used))
            raise Conflict(
                f"image {image.names[0]} is used by service {names}",
                hint="delete the service first, or change its image",
            )

    def _copy(self, source: BinaryIO, undo: contextlib.ExitStack, progress: Callable[[int], None]) -> _Incoming:
        handle, place = tempfile.mkstemp(dir=self._layout.incoming)  # mode 0600
        path = Path(place)
        undo.callback(path.unlink, missing_ok=True)
        digest = hashlib.sha256()
        copied = 0
        with open(handle, "wb") as out:  # noqa: PTH123 - it is a file descriptor
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                out.write(chunk)
                copied += len(chunk)
                progress(copied)
            out.flush()
            os.fsync(out.fileno())
        return _Incoming(path, digest.hexdigest(), copied)

    def _publish(self, incoming: _Incoming, found: imagefile.Inspection, name: str, of: Os) -> Image:
        old = records.find(self._store, Image, incoming.sha256)
        if old is not None and name in old.names:
            return old
        taken = next((image for image in self.all() if name in image.names), None)
        if taken is not None:
            raise _name_taken(name, taken)
        image = Image(
            sha256=incoming.sha256,
            format=found.format,
            os=of,
            size_bytes=incoming.size_bytes,
            virtual_size_bytes=found.virtual_size_bytes,
            names=(name,),
            added_at_s=self._clock.now_s(),
        )
        with contextlib.ExitStack() as undo:
            if old is not None:
                image = replace(old, names=(*old.names, name))
            else:
                incoming.path.chmod(0o444)
                undo.callback(self.path(image).unlink, missing_ok=True)
                incoming.path.rename(self.path(image))
                _sync(self._layout.images)
            revision = self._store.commit([records.put(image)])
            undo.pop_all()
        return replace(image, revision=revision)


class _Incoming:
    """A copied file that nobody has looked into yet."""

    def __init__(self, path: Path, sha256: str, size_bytes: int) -> None:
        self.path = path
        self.sha256 = sha256
        self.size_bytes = size_bytes


def open_source(path: Path) -> BinaryIO:
    """The file, opened without following a link or waiting for a pipe. Raises ImageRejected."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ImageRejected(
                f"{path} is a symbolic link", reason="not-a-file", hint="name the file itself"
            ) from error
        raise ImageRejected(f"{path}: {error.strerror}", reason="not-a-file", hint="name a file to read") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ImageRejected(f"{path} is not a regular file", reason="not-a-file", hint="name a disk image")
    return open(handle, "rb")  # noqa: PTH123 - it is a file descriptor, and the caller's to close


def _agree(path: Path, found: imagefile.Inspection) -> None:
    """qemu-img must see what we saw, and find the structure clean; both under limits and without network."""
    told = json.loads(_qemu_img("info", found.format, path))
    faults = [key for key in ("backing-filename", "encrypted", "snapshots") if told.get(key)]
    if told["format"] != found.format or told["virtual-size"] != found.virtual_size_bytes or faults:
        seen = f"{told['format']}, {told['virtual-size']} bytes {' '.join(faults)}"
        raise ImageRejected(
            f"the image is refused (disagreement): qemu-img sees {seen}; its header says {found.format}, "
            f"{found.virtual_size_bytes} bytes",
            reason="disagreement",
            hint="convert it: qemu-img convert -O qcow2 IN OUT",
        )
    if found.format is DiskFormat.QCOW2:
        _qemu_img("check", found.format, path)


def _qemu_img(verb: str, of: DiskFormat, path: Path) -> str:
    apart = ["unshare", "--net"] if os.geteuid() == 0 else []
    argv = [*apart, "qemu-img", verb, "-f", str(of), "--output=json", str(path)]
    try:
        return run(argv, within_s=INSPECT_WITHIN_S, cpu_s=INSPECT_CPU_S, memory_bytes=INSPECT_MEMORY_BYTES)
    except CommandFailed as error:
        raise ImageRejected(
            f"the image is refused (damaged): qemu-img {verb} says: {(error.stderr.strip() or str(error))[-300:]}",
            reason="damaged",
            hint="copy it again, or repair it: qemu-img check -r all",
        ) from error


def _refers(instance: Instance, image: Image) -> bool:
    return image.sha256 in (instance.role.image_sha256, instance.goal.role.image_sha256)


def _name_taken(name: str, taken: Image) -> Conflict:
    return Conflict(
        f"image name {name!r} means {taken.sha256[:12]} already", hint=f"use another name, or: vmrole image rm {name}"
    )


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _space() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                "no room for the image", hint="make room under the state directory, then add again"
            ) from error
        raise
