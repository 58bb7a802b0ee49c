"""The image repository: content-addressed, read-only files and their records. An image stays until it is deleted.

Bytes come in as a stream into `incoming`, are hashed while they are copied, inspected by us, then by qemu-img under
limits, and only then renamed to their digest. What is in `incoming` at a start was interrupted and is swept away; an
image without a record is left where it is, since it may be the records that were lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from orchestrator import imagefiles, records
from orchestrator.arrivals import Arrival, Arrivals, Teller
from orchestrator.drivers.images import image_convert, image_incoming, qemu_img
from orchestrator.drivers.images.image_incoming import CHUNK, Incoming
from orchestrator.drivers.images.room import Room
from orchestrator.drivers.layout import Layout
from orchestrator.errors import Conflict, ImageCorrupt, ImageRejected, NoSpace, NotFound
from orchestrator.imagefiles import SourceFormat
from orchestrator.imagefiles.reading import MIB
from orchestrator.intake import Intake
from orchestrator.model import (
    Deadlines,
    DiskFormat,
    Hardware,
    Image,
    Instance,
    Service,
)
from orchestrator.ports import Clock, Store

log = logging.getLogger(__name__)
DIGEST_PREFIX_LEAST = 12


class ImageRepository:
    """Images of one host. Thread-safe: copies are made side by side, names and files change one at a time."""

    def __init__(
        self, store: Store, layout: Layout, clock: Clock, *, virtual_size_max: int, reserve_bytes: int = 0
    ) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._virtual_size_max = virtual_size_max
        self._room = Room(layout.incoming, reserve_bytes)
        # No revision guards that a name is given once, or that a file goes together with its record; this does.
        self._changing = threading.Lock()
        self._arrivals = Arrivals()
        self._layout.images.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._layout.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(
        self,
        source: BinaryIO,
        intake: Intake,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Image:
        """Copies `source` to its end and takes it in; `progress` gets the bytes copied so far, and may raise.

        Raises ImageRejected, Conflict (the name means other bytes, or these bytes are known for another use) or
        NoSpace, each having left nothing. Adding known bytes again gives them another name, and mends their file when
        it is missing or no longer what it was.
        """
        if not intake.convert:
            self._refuse_taken_name(intake.name, intake.sha256)
        with contextlib.ExitStack() as undo, _space(), self._arrivals.of(intake.name) as teller:
            copied = self._copy(source, undo, intake, teller, progress)
            if intake.sha256 not in (None, copied[0].sha256):
                told = f"the digest is {copied[0].sha256}, not {intake.sha256}"
                raise ImageRejected(told, reason="digest", hint="the file is not the one you mean")
            incoming = copied[0]
            if intake.convert:
                incoming = self._converted(copied, intake.format, undo, teller, progress)
            teller.checking()
            with incoming.path.open("rb") as file:
                claimed = SourceFormat.QCOW2 if intake.convert else intake.format
                found = imagefiles.inspect(file, claimed, virtual_size_max=self._virtual_size_max)
            qemu_img.agree(incoming.path, found)
            if found.format is SourceFormat.QCOW2:
                qemu_img.check(incoming.path)
            progress(sum(one.size_bytes for one in copied))
            known = records.find(self._store, Image, incoming.sha256)
            damaged = known is not None and not self._is_whole(known)
            with self._changing:
                return self._publish(incoming, found, intake, damaged=damaged)

    def arrivals(self) -> list[Arrival]:
        """What is being added at this moment."""
        return self._arrivals.all()

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

    def suggest(self, reference: str, deadlines: Deadlines) -> Image:
        """Keeps what the image's test measured: the deadlines of roles that say none. Raises NotFound."""
        with self._changing:
            image = replace(self.get(reference), suggested=deadlines)
            return replace(image, revision=self._store.commit([records.put(image)]))

    def remove(self, reference: str) -> Image:
        """Takes the name away, and with the last name the image. Raises Conflict while a service refers to it."""
        with self._changing:
            return self._remove(reference)

    def sweep(self) -> None:
        """Removes what an interrupted add or remove has left. Called once, before requests are taken."""
        for path in self._layout.incoming.iterdir():
            log.info("removed an interrupted copy: %s", path.name)
            path.unlink()
        for name in self.strays():
            log.warning("an image without a record is left alone: %s", self._layout.images / name)

    def strays(self) -> list[str]:
        """Names of files among the images that no record knows: to be added again, or removed by hand."""
        with self._changing:
            known = {self.path(image).name for image in self.all()}
            return sorted({path.name for path in self._layout.images.iterdir()} - known)

    def missing(self) -> list[Image]:
        """Images whose file is not there."""
        with self._changing:
            return [image for image in self.all() if not self.path(image).exists()]

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

    def _copy(
        self,
        source: BinaryIO,
        undo: contextlib.ExitStack,
        intake: Intake,
        teller: Teller,
        progress: Callable[[int], None],
    ) -> list[Incoming]:
        def heard(count: int) -> None:
            teller.copied(count)
            progress(count)

        most = image_incoming.most_bytes(self._virtual_size_max)
        self._refuse_size(intake, most)
        return image_incoming.copy(
            source, self._layout.incoming, undo, parts=intake.parts, most=most, room=self._room, progress=heard
        )

    def _refuse_size(self, intake: Intake, most: int) -> None:
        """What the request says is enough to know that it cannot be."""
        if intake.size_bytes is None:
            return
        if not intake.parts and intake.size_bytes > most:
            raise image_incoming.too_long(f"{intake.size_bytes // MIB} MiB are to be sent, of {most // MIB}")
        self._room.require(intake.size_bytes)

    def _converted(
        self,
        copied: Sequence[Incoming],
        format: SourceFormat | None,
        undo: contextlib.ExitStack,
        teller: Teller,
        progress: Callable[[int], None],
    ) -> Incoming:
        out = image_incoming.empty_file(self._layout.incoming, undo)
        count = sum(one.size_bytes for one in copied)

        def heard(percent: float) -> None:
            teller.converted(percent)
            progress(count)

        heard(0.0)
        paths = [one.path for one in copied]
        image_convert.to_qcow2(
            paths, format, out, virtual_size_max=self._virtual_size_max, room=self._room, progress=heard
        )
        for path in paths:
            path.unlink()  # Room for the next step's is better had now than at the end.
        teller.checking()
        return image_incoming.digest(out, lambda: progress(count))

    def _is_whole(self, image: Image) -> bool:
        try:
            self.verify(image.sha256)
        except ImageCorrupt as error:
            log.warning("%s; it is replaced", error)
            return False
        return True

    def _place(self, incoming: Incoming, image: Image) -> None:
        incoming.path.chmod(0o444)
        incoming.path.rename(self.path(image))
        _sync(self._layout.images)

    def _publish(self, incoming: Incoming, found: imagefiles.Inspection, intake: Intake, *, damaged: bool) -> Image:
        name = intake.name
        old = records.find(self._store, Image, incoming.sha256)
        if old is not None:
            _refuse_other_use(old, intake)
            if damaged:
                self._place(incoming, old)
        if old is not None and name in old.names:
            return old
        taken = next((image for image in self.all() if name in image.names), None)
        if taken is not None:
            raise _name_taken(name, taken)
        image = Image(
            sha256=incoming.sha256,
            format=DiskFormat(found.format.value),
            os=intake.os,
            answers=intake.answer_format,
            hardware=intake.hardware,
            size_bytes=incoming.size_bytes,
            virtual_size_bytes=found.virtual_size_bytes,
            names=(name,),
            added_at_s=self._clock.now_s(),
        )
        with contextlib.ExitStack() as undo:
            if old is not None:
                image = replace(old, names=(*old.names, name))
            else:
                if not self.path(image).exists():
                    undo.callback(self.path(image).unlink, missing_ok=True)
                self._place(incoming, image)
            revision = self._store.commit([records.put(image)])
            undo.pop_all()
        return replace(image, revision=revision)


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


def _refuse_other_use(old: Image, intake: Intake) -> None:
    """The same bytes are one image, so that they cannot be two kinds of machine."""
    pairs = [("os", old.os, intake.os), ("answers", old.answers, intake.answer_format)]
    for field in dataclasses.fields(Hardware):
        pairs.append((field.name, getattr(old.hardware, field.name), getattr(intake.hardware, field.name)))
    differ = [f"{key} {was} (now {now})" for key, was, now in pairs if was != now]
    if differ:
        names = " ".join(old.names)
        raise Conflict(
            f"the same bytes are image {old.names[0]} already, with {', '.join(differ)}",
            hint=f"add them as they are known, or first: vmrole image rm {names}",
        )


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
