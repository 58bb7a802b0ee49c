"""The bytes of images: content-addressed, read-only files. An image stays until it is deleted.

Bytes come in as a stream into `incoming`, are hashed while they are copied, inspected by us, then by qemu-img under
limits, and only then renamed to their digest. What is in `incoming` at a start was interrupted and is swept away; an
image without a record is left where it is, since it may be the records that were lost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from orchestrator import imagefiles
from orchestrator.drivers.images import image_convert, image_incoming, qemu_img, unpacking
from orchestrator.drivers.images.image_incoming import CHUNK, Incoming
from orchestrator.drivers.images.image_owner import take_back
from orchestrator.drivers.images.qemu_img import Layer
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.on_disk import on_disk
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import ImageCorrupt, ImageRejected, NoSpace
from orchestrator.imagefiles import SourceFormat, qcow2
from orchestrator.imagefiles.reading import MIB, Source
from orchestrator.model import DiskFormat, Image, Instance
from orchestrator.model.arrivals import Teller
from orchestrator.model.intake import Intake
from orchestrator.ports import Received

log = logging.getLogger(__name__)


class LocalImageFiles:
    """See ports.ImageFiles."""

    def __init__(self, layout: Layout, *, virtual_size_max: int, reserve_bytes: int = 0) -> None:
        self._layout = layout
        self._virtual_size_max = virtual_size_max
        self._room = Room(layout.incoming, reserve_bytes)
        layout.images.mkdir(parents=True, exist_ok=True, mode=0o711)
        layout.incoming.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def received(
        self, source: BinaryIO, intake: Intake, teller: Teller, progress: Callable[[int], None]
    ) -> Iterator[Received]:
        """See ports.ImageFiles."""
        with contextlib.ExitStack() as undo, _space():
            copied = self._copy(source, undo, intake, teller, progress)
            if intake.sha256 not in (None, copied[0].sha256):
                told = f"the digest is {copied[0].sha256}, not {intake.sha256}"
                raise ImageRejected(told, reason="digest", hint="the file is not the one you mean")
            source_sha256 = copied[0].sha256
            copied = [self._unpacked(one, undo, teller, progress) for one in copied]
            incoming = copied[0]
            if intake.convert:
                incoming = self._converted(copied, intake.format, undo, teller, progress)
            teller.checking()
            claimed = SourceFormat.QCOW2 if intake.convert else intake.format
            received = self._checked(incoming, source_sha256, claimed, progress)
            progress(sum(one.size_bytes for one in copied))
            yield received

    @contextlib.contextmanager
    def captured(self, instance: Instance, teller: Teller, progress: Callable[[int], None]) -> Iterator[Received]:
        """See ports.ImageFiles."""
        with contextlib.ExitStack() as undo, _space():
            out = image_incoming.empty_file(self._layout.incoming, undo)

            def heard(percent: float) -> None:
                teller.converted(percent)
                progress(0)

            heard(0.0)
            qemu_img.flatten(self._chain(instance), out, heard, most_bytes=self._room.free_bytes())
            teller.checking()
            made = image_incoming.digest(out, lambda: progress(0))
            yield self._checked(made, made.sha256, SourceFormat.QCOW2, progress)

    def _chain(self, instance: Instance) -> list[Layer]:
        """The instance's system disk, and what it stands on. What a guest's QEMU has written is looked at first."""
        role, overlay = instance.role, self._layout.overlay(instance)
        below = [path for path in (self._layout.layer_below(instance),) if path is not None]
        image = self._layout.image(role.image_sha256, role.image_format)
        for path in (overlay, *below, image):
            if not path.exists():
                raise ImageCorrupt(f"{path} is not there", hint="see what else is missing: vmrole verify")
        for path in (overlay, *below):
            with path.open("rb") as file:
                qcow2.refuse_elsewhere(Source(file))
        with overlay.open("rb") as file:
            size_bytes = qcow2.virtual_size_bytes(Source(file))
        return [
            *(Layer(path=path, format=DiskFormat.QCOW2, virtual_size_bytes=size_bytes) for path in (overlay, *below)),
            Layer(path=image, format=role.image_format, virtual_size_bytes=size_bytes),
        ]

    def _checked(
        self,
        incoming: Incoming,
        source_sha256: str,
        claimed: SourceFormat | None,
        progress: Callable[[int], None],
    ) -> Received:
        """What is in a file of ours that nobody has looked into yet. Raises ImageRejected."""
        with incoming.path.open("rb") as file:
            found = imagefiles.inspect(file, claimed, virtual_size_max=self._virtual_size_max)
        qemu_img.agree(incoming.path, found)
        if found.format is SourceFormat.QCOW2:
            qemu_img.check(incoming.path)
        if found.packed:  # What we have made ourselves never is.
            qemu_img.unpack(incoming.path, found, lambda _percent: progress(incoming.size_bytes))
        return Received(
            sha256=incoming.sha256,
            source_sha256=source_sha256,
            format=DiskFormat(found.format.value),
            size_bytes=incoming.size_bytes,
            virtual_size_bytes=found.virtual_size_bytes,
            file=incoming.path,
        )

    def place(self, received: Received) -> None:
        """See ports.ImageFiles."""
        with file_faults(self._layout.images, "look at who may change it, and at the file system"):
            received.file.chmod(0o444)
            received.file.rename(self._layout.image(received.sha256, received.format))
            on_disk(self._layout.images)

    def take_back(self, received: Received) -> None:
        """See ports.ImageFiles."""
        self._layout.image(received.sha256, received.format).unlink(missing_ok=True)

    def erase(self, image: Image) -> None:
        """See ports.ImageFiles."""
        self.path(image).unlink(missing_ok=True)

    def path(self, image: Image) -> Path:
        """See ports.ImageFiles."""
        return self._layout.image(image.sha256, image.format)

    def names(self) -> set[str]:
        """See ports.ImageFiles."""
        return {path.name for path in self._layout.images.iterdir()}

    def sweep(self) -> None:
        """See ports.ImageFiles."""
        for path in self._layout.incoming.iterdir():
            log.info("removed an interrupted copy: %s", path.name)
            path.unlink()
        for path in self._layout.images.iterdir():
            take_back(path)

    def verify(self, image: Image, progress: Callable[[int], None]) -> None:
        """See ports.ImageFiles."""
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

    def _unpacked(
        self, packed: Incoming, undo: contextlib.ExitStack, teller: Teller, progress: Callable[[int], None]
    ) -> Incoming:
        """What is in it, when it is compressed; itself otherwise."""

        def heard() -> None:
            teller.unpacking()
            progress(packed.size_bytes)

        most = image_incoming.most_bytes(self._virtual_size_max)
        out = unpacking.unpacked(packed.path, undo, most=most, room=self._room, progress=heard)
        if out is None:
            return packed
        packed.path.unlink()
        return image_incoming.digest(out, heard)

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
