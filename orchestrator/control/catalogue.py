"""The images of one installation: their records, by the rules of `image_rules`, and the bytes behind a port."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.errors import Conflict, ImageCorrupt, VmroleError, WorldError
from orchestrator.model import Deadlines, Image, Instance, Service, Tried, image_name
from orchestrator.model.arrivals import Arrival, Arrivals
from orchestrator.model.intake import Intake
from orchestrator.ports import Clock, ImageFiles, Received
from orchestrator.rules import image_rules

log = logging.getLogger(__name__)

_HOLDERS: Final = (records.TEMPLATE, records.SERVICE, records.FIRST_INSTANCE)  # what a VM's image is known by


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A name that means another image now. `used_by`: services that go on with the old one until the next apply."""

    image: Image
    before: Image | None
    used_by: tuple[str, ...]


class Catalogue:
    """Thread-safe: copies are made side by side, names and files change one at a time."""

    def __init__(
        self, present: Present, clock: Clock, files: ImageFiles, qemu: Callable[[], str] = lambda: ""
    ) -> None:
        """`qemu` tells which QEMU runs VMs here now, as `HostFit` has it."""
        self._present = present
        self._clock = clock
        self._files = files
        self._qemu = qemu
        # No revision guards that a name is given once, or that a file goes together with its record; this does.
        self._changing = threading.Lock()
        self._arrivals = Arrivals()

    def add(self, source: BinaryIO, intake: Intake, progress: Callable[[int], None] = lambda _: None) -> Image:
        """Copies `source` to its end and takes it in; `progress` gets the bytes copied so far, and may raise.

        Raises ImageRejected, Conflict (the name means other bytes, or these bytes are known for another use) or
        NoSpace, each having left nothing. Adding known bytes again gives them another name, and mends their file when
        it is missing or no longer what it was.
        """
        image_rules.refuse_taken_name(self.all(), intake)
        with (
            self._arrivals.of(intake.name) as teller,
            self._files.received(source, intake, teller, progress) as received,
        ):
            return self._taken_in(received, intake)

    def capture(self, asked: Instance, name: str, progress: Callable[[int], None] = lambda _: None) -> Image:
        """Makes an image of the system disk of an instance that is off, and stays so for as long as that takes.

        Raises Conflict when it is not, or when the name means another image; NoSpace. Each has left nothing.
        """
        intake = image_rules.capture(self.all(), asked, name)

        def stays(count: int) -> None:
            image_rules.refuse_running(asked, self._present.find(Instance, asked.name))
            progress(count)

        stays(0)
        with (
            self._arrivals.of(name) as teller,
            self._files.captured(asked, teller, stays) as received,
        ):
            stays(0)
            return self._taken_in(received, intake)

    def _taken_in(self, received: Received, intake: Intake) -> Image:
        fresh = Image(
            sha256=received.sha256,
            source_sha256=received.source_sha256,
            format=received.format,
            os=intake.os,
            answers=intake.answer_format,
            hardware=intake.hardware,
            size_bytes=received.size_bytes,
            virtual_size_bytes=received.virtual_size_bytes,
            names=(intake.name,),
            added_at_s=self._clock.now_s(),
        )
        known = self._present.find(Image, fresh.sha256)
        damaged = known is not None and not self._is_whole(known)
        with self._changing:
            images = self.all()
            image = image_rules.taken_in(images, fresh, intake)
            is_new = fresh.sha256 not in {one.sha256 for one in images}
            is_stray = is_new and self.path(fresh).name in self._files.names()
            try:
                if is_new or damaged:
                    self._files.place(received)
                if image in images:
                    return image
                revision = self._present.commit([records.put(image)])
            except BaseException:
                if is_new and not is_stray and not self._stands(image):
                    self._files.take_back(received)
                raise
            return replace(image, revision=revision)

    def arrivals(self) -> list[Arrival]:
        """What is being added at this moment."""
        return self._arrivals.all()

    def all(self) -> list[Image]:
        """All images, by name. What was tried of them by another QEMU than this host's is nothing by now."""
        images = self._recorded()
        if not any(image.tried for image in images):
            return images
        try:
            qemu = self._qemu()
        except WorldError:  # Whatever it is: nothing is begun with it meanwhile.
            return images
        return [replace(one, tried=None) if one.tried and one.tried.qemu != qemu else one for one in images]

    def _recorded(self) -> list[Image]:
        return sorted(self._present.all(Image), key=lambda image: image.names)

    def find(self, reference: str) -> Image | None:
        """See image_rules.find."""
        return image_rules.find(self.all(), reference)

    def get(self, reference: str) -> Image:
        """As `find`; raises NotFound."""
        return image_rules.get(self.all(), reference)

    def path(self, image: Image) -> Path:
        """Where the bytes lie."""
        return self._files.path(image)

    def verify(self, reference: str, progress: Callable[[int], None] = lambda _: None) -> Image:
        """Reads the whole image again; raises ImageCorrupt when its bytes or its mode are not what they were."""
        image = self.get(reference)
        self._files.verify(image, progress)
        return image

    def suggest(self, reference: str, deadlines: Deadlines) -> Image:
        """Keeps what the image's test measured: the deadlines of roles that say none. Raises NotFound."""
        with self._changing:
            image = replace(self.get(reference), suggested=deadlines)
            return replace(image, revision=self._present.commit([records.put(image)]))

    def keep_tried(self, reference: str, tried: Tried | None) -> Image:
        """Keeps by which roads the image's reimages went here; None: that is to be found out. Raises NotFound."""
        if tried is not None:
            tried = replace(tried, qemu=self._qemu(), at_s=self._clock.now_s())
        with self._changing:
            image = replace(self.get(reference), tried=tried)
            return replace(image, revision=self._present.commit([records.put(image)]))

    def trust(self, reference: str) -> Image:
        """Takes back that the image is suspect: what had failed by it is tried again. Raises NotFound."""
        with self._changing:
            image = replace(self.get(reference), suspect="", trusted_at_s=self._clock.now_s())
            return replace(image, revision=self._present.commit([records.put(image)]))

    def tag(self, name: str, reference: str) -> Tagged:
        """Gives a name to an image, and takes it from the one that it meant. Raises NotFound, or InvalidInput.

        Services keep the digest that they were applied with, until they are applied again.
        """
        image_name(name)
        with self._changing:
            images = self.all()
            before = next((image for image in images if name in image.names), None)
            changed = image_rules.moved(images, name, reference)
            if changed:
                self._present.commit([records.put(image) for image in changed])
            image = self.get(name)
            old = None if before is None or before.sha256 == image.sha256 else before
            return Tagged(image=image, before=old, used_by=tuple(self._users(old)) if old else ())

    def remove(self, reference: str) -> Image:
        """Takes the name away, and with the last name the image. Raises Conflict while a service refers to it."""
        with self._changing:
            image = self.get(reference)
            left = image_rules.without(image, reference)
            if left is not None:
                self._present.commit([records.put(left)])
                return image
            return self._drop(image)

    def unused(self, *, older_than_s: float) -> list[Image]:
        """Images that no service refers to by any of its files that an undo may go back to, added so long ago.

        Raises Conflict while a record that may refer to one cannot be read.
        """
        self._refuse_unread(*_HOLDERS, records.REVISION)
        services, instances = self._present.all(Service), self._present.all(Instance)
        kept = [revision for service in services for revision in self._present.revisions_of(service.name)]
        before_s = self._clock.now_s() - older_than_s
        return image_rules.unused(self.all(), services, instances, kept, added_before_s=before_s)

    def prune(self, *, older_than_s: float) -> list[Image]:
        """Removes them, with all their names; returns what they were."""
        with self._changing:
            return [self._drop(image) for image in self.unused(older_than_s=older_than_s)]

    def sweep(self) -> None:
        """Removes what an interrupted add or remove has left. Called once, before requests are taken."""
        self._files.sweep()
        for name in self.strays():
            log.warning("an image without a record is left alone: %s", name)

    def strays(self) -> list[str]:
        """Names of files among the images that no record knows: to be added again, or removed by hand."""
        with self._changing:
            known = {self.path(image).name for image in self._recorded()}
            return sorted(self._files.names() - known)

    def missing(self) -> list[Image]:
        """Images whose file is not there."""
        with self._changing:
            names = self._files.names()
            return [image for image in self.all() if self.path(image).name not in names]

    def _drop(self, image: Image) -> Image:
        self._refuse_unread(*_HOLDERS)
        image_rules.refuse_used(image, self._users(image))
        try:
            self._present.commit([records.drop(image)])
        except BaseException:
            if not self._stands(image):
                self._files.erase(image)
            raise
        self._files.erase(image)
        return image

    def _stands(self, image: Image) -> bool:
        """Whether a commit that failed has left a record of the image; so, too, where nobody can tell."""
        try:
            return self._present.find(Image, image.sha256) is not None
        except VmroleError:
            return True

    def _refuse_unread(self, *kinds: str) -> None:
        """Raises Conflict while a record of these kinds cannot be read: its VM may stand on any image."""
        unread = next(
            (aside for aside in self._present.set_aside() if aside.kind in kinds or aside.kind not in records.KINDS),
            None,
        )
        if unread is not None:
            told = f"which images it uses nobody knows, so none is removed: {unread}"
            raise Conflict(told, hint="see what it is, and mend that first: vmrole verify")

    def _users(self, image: Image) -> list[str]:
        services, instances = self._present.all(Service), self._present.all(Instance)
        return image_rules.users(image, services, instances)

    def _is_whole(self, image: Image) -> bool:
        try:
            self._files.verify(image, lambda _: None)
        except ImageCorrupt as error:
            log.warning("%s; it is replaced", error)
            return False
        return True
