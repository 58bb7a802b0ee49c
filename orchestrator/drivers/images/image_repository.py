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
from orchestrator.drivers.layout import Layout
from orchestrator.errors import Conflict, ImageCorrupt, ImageRejected, InvalidInput, NoSpace, NotFound
from orchestrator.imagefiles import SourceFormat
from orchestrator.model import (
    AnswerFormat,
    Deadlines,
    DiskFormat,
    Hardware,
    Image,
    Instance,
    Os,
    Service,
    image_name,
    is_sha256,
)
from orchestrator.ports import Clock, Store

log = logging.getLogger(__name__)
DIGEST_PREFIX_LEAST = 12


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What its user says an image is for; its bytes do not tell."""

    os: Os
    answers: AnswerFormat
    hardware: Hardware


class ImageRepository:
    """Images of one host. Thread-safe: copies are made side by side, names and files change one at a time."""

    def __init__(self, store: Store, layout: Layout, clock: Clock, *, virtual_size_max: int) -> None:
        self._store = store
        self._layout = layout
        self._clock = clock
        self._virtual_size_max = virtual_size_max
        # No revision guards that a name is given once, or that a file goes together with its record; this does.
        self._changing = threading.Lock()
        self._arrivals = Arrivals()
        self._layout.images.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._layout.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    def add(
        self,
        source: BinaryIO,
        *,
        name: str,
        os: Os = Os.LINUX,
        format: SourceFormat | None = None,
        sha256: str | None = None,
        convert: bool = False,
        parts: Sequence[int] = (),
        answers: AnswerFormat | None = None,
        hardware: Hardware | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Image:
        """Copies `source` to its end and takes it in; `progress` gets the bytes copied so far, and may raise.

        To be converted, `source` may hold the parents of the disk after it, the nearest first: `parts` says how many
        bytes each has. `sha256` is of the file as it comes. `answers` None means what the system itself reads.

        Raises ImageRejected, InvalidInput (name, digest), Conflict (the name means other bytes, or these bytes are
        known for another use) or NoSpace, each having left nothing. Adding known bytes again gives them another name,
        and mends their file when it is missing or no longer what it was.
        """
        image_name(name)
        use = _use(os, answers, hardware or Hardware())
        if sha256 is not None and not is_sha256(sha256):
            raise InvalidInput(f"{sha256[:80]!r} is not a digest", hint="64 lower-case hexadecimal digits")
        if not 0 <= len(parts) <= imagefiles.CHAIN_MAX or (parts and not convert):
            raise InvalidInput(
                f"{len(parts)} parts", hint=f"a disk to be converted and up to {imagefiles.CHAIN_MAX - 1} parents"
            )
        if not convert:
            self._refuse_taken_name(name, sha256)
        with contextlib.ExitStack() as undo, _space(), self._arrivals.of(name) as teller:
            copied = self._copy(source, undo, parts, teller, progress)
            if sha256 not in (None, copied[0].sha256):
                told = f"the digest is {copied[0].sha256}, not {sha256}"
                raise ImageRejected(told, reason="digest", hint="the file is not the one you mean")
            incoming = self._converted(copied, format, undo, teller, progress) if convert else copied[0]
            teller.checking()
            with incoming.path.open("rb") as file:
                claimed = SourceFormat.QCOW2 if convert else format
                found = imagefiles.inspect(file, claimed, virtual_size_max=self._virtual_size_max)
            qemu_img.agree(incoming.path, found)
            if found.format is SourceFormat.QCOW2:
                qemu_img.check(incoming.path)
            known = records.find(self._store, Image, incoming.sha256)
            damaged = known is not None and not self._is_whole(known)
            with self._changing:
                return self._publish(incoming, found, name, use, damaged=damaged)

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
        parts: Sequence[int],
        teller: Teller,
        progress: Callable[[int], None],
    ) -> list[Incoming]:
        def heard(count: int) -> None:
            teller.copied(count)
            progress(count)

        most = image_incoming.most_bytes(self._virtual_size_max)
        return image_incoming.copy(source, self._layout.incoming, undo, parts=parts, most=most, progress=heard)

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
        image_convert.to_qcow2(paths, format, out, virtual_size_max=self._virtual_size_max, progress=heard)
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

    def _publish(
        self, incoming: Incoming, found: imagefiles.Inspection, name: str, use: Use, *, damaged: bool
    ) -> Image:
        old = records.find(self._store, Image, incoming.sha256)
        if old is not None:
            _refuse_other_use(old, use)
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
            os=use.os,
            answers=use.answers,
            hardware=use.hardware,
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


def _use(os: Os, answers: AnswerFormat | None, hardware: Hardware) -> Use:
    if os is not Os.WINDOWS and answers is AnswerFormat.UNATTEND:
        raise InvalidInput("only Windows reads Unattend.xml", hint="say --os windows, or --answers nocloud")
    own = AnswerFormat.UNATTEND if os is Os.WINDOWS else AnswerFormat.NOCLOUD
    return Use(os=os, answers=answers or own, hardware=hardware)


def _refuse_other_use(old: Image, use: Use) -> None:
    """The same bytes are one image, so that they cannot be two kinds of machine."""
    pairs = [("os", old.os, use.os), ("answers", old.answers, use.answers)]
    for field in dataclasses.fields(Hardware):
        pairs.append((field.name, getattr(old.hardware, field.name), getattr(use.hardware, field.name)))
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
