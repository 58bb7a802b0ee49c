"""Disks with qemu-img: an overlay for each generation above its image, local storage as sparse raw files.

The backing format is always said, the backing path is always absolute, and nothing here ever opens an image to write.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.drivers.disks import board_files, checkpoint_files, memory_place
from orchestrator.drivers.disks.ahead import Ahead
from orchestrator.drivers.disks.savings import Savings
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.drivers.tools.room import Room
from orchestrator.errors import CommandFailed, ImageCorrupt, NoSpace, Permanent, Whose
from orchestrator.model import DiskFormat, Instance, InstanceName, Kept

log = logging.getLogger(__name__)
MIB = 1024 * 1024
_KINDS = {".qcow2": "layer", ".memory": "memory", board_files.SUFFIX: "board"}  # of a checkpoint
_NEW = ".new"  # A file that is being made; one of an earlier crash is overwritten.


class QemuImgDisks:
    """See ports.Disks."""

    def __init__(self, layout: Layout, *, reserve_bytes: int = 0) -> None:
        self._layout = layout
        self._room = Room(layout.state, reserve_bytes)
        self._savings = Savings(self._room)
        self._ahead = Ahead()

    def lay_overlay(self, instance: Instance) -> None:
        """See ports.Disks. Raises ImageCorrupt when the image's file is not as it was added."""
        image = self._image(instance)
        overlay = self._layout.overlay(instance)
        if overlay.exists():
            return
        # The guest sees a larger disk than its image is, and grows into it.
        size = [f"{instance.role.size.disk_mib}M"] if instance.role.size.disk_mib else []
        self._lay(overlay, image, instance.role.image_format, size)

    def _lay(self, overlay: Path, below: Path, below_format: DiskFormat, size: list[str]) -> None:
        """An empty overlay, in place of whatever is there."""
        self._room.require(0, str(overlay))  # Running guests need what is left more than new ones.
        with _space(overlay):
            overlay.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
            being_made = overlay.with_name(overlay.name + _NEW)
            being_made.unlink(missing_ok=True)
            backing = ["-b", str(below), "-F", str(below_format)]
            run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(being_made), *size])
            being_made.chmod(0o600)
            being_made.rename(overlay)

    def renew_overlay(self, instance: Instance) -> None:
        """See ports.Disks."""
        assert instance.checkpoint is not None, instance.name
        layer = self._layout.layer(instance.name, instance.checkpoint.generation)
        self._image(instance)
        self._lay(self._layout.overlay(instance), layer, DiskFormat.QCOW2, [])
        board_files.lay(self._layout, instance)

    def prepare_checkpoint(self, instance: Instance, *, memory: bool) -> str:
        """See ports.Disks. Pages of zeros take no room; how many there are nobody knows before."""
        checkpoint_files.clear_place(self._layout, instance)
        needed, in_ram = instance.role.size.memory_mib * MIB, memory and instance.goal.role.checkpoint.memory
        why_not = memory_place.choose(self._layout, instance.name, needed, in_ram=in_ram)
        on_disk = memory and (bool(why_not) or not in_ram)
        try:
            what = f"the {'memory' if memory else 'disk'} of {instance.name}"
            place = self._layout.memory(instance.name, instance.generation)
            self._savings.promise(instance.name, place, needed if on_disk else 0, what)
            checkpoint_files.make_place(self._layout, instance)
        except BaseException:
            memory_place.erase(self._layout, instance.name)
            raise
        return why_not

    def keep_checkpoint(self, instance: Instance, *, memory: bool) -> Kept | None:
        """See ports.Disks."""
        saved = checkpoint_files.memory_of(self._layout, instance) if memory else None
        if memory and saved is None:
            return None
        self._savings.end(instance.name)
        board = board_files.keep(self._layout, instance)
        layer = checkpoint_files.make_layer(self._layout, instance)
        overlay = self._layout.overlay(instance)
        self._lay(overlay, self._layout.layer(instance.name, instance.generation), DiskFormat.QCOW2, [])
        return Kept(layer, saved, board)

    def read_ahead(self, instance: Instance) -> None:
        """See ports.Disks."""
        self._ahead.begin(*checkpoint_files.files_of(self._layout, instance))

    def layer_damage(self, instance: Instance) -> str:
        """See ports.Disks. It is read whole: what takes a guest's place is looked at each time."""
        return checkpoint_files.layer_damage(self._layout, instance, self._ahead.digested)

    def memory_damage(self, instance: Instance) -> str:
        """See ports.Disks. Likewise."""
        return checkpoint_files.memory_damage(self._layout, instance, self._ahead.digested)

    def erase_memory(self, name: InstanceName) -> None:
        """See ports.Disks."""
        self._savings.end(name)
        checkpoint_files.erase_memory(self._layout, name)

    def erase_checkpoint(self, name: InstanceName) -> None:
        """See ports.Disks."""
        for place in (self._layout.memory_dir(name), self._layout.checkpoint_dir(name)):
            self._ahead.forget(place)
        self._savings.end(name)
        memory_place.erase(self._layout, name)
        board_files.erase_laid(self._layout, name)
        _erase(self._layout.checkpoint_dir(name))

    def erase_overlay(self, name: InstanceName) -> None:
        """See ports.Disks."""
        _erase(self._layout.overlay_dir(name))

    def lay_local_storage(self, instance: Instance) -> None:
        """See ports.Disks."""
        for storage in instance.role.local_storage:
            path = self._layout.local_storage(instance.name, storage.name)
            size = storage.size_mib * MIB
            if path.exists():
                if path.stat().st_size < size:
                    with _space(path):
                        os.truncate(path, size)  # Whole or not at all; the guest's file system grows into it.
                elif path.stat().st_size > size:
                    log.info("local storage %s keeps its %d MiB", storage.name, path.stat().st_size // MIB)
                continue
            self._room.require(0, str(path))
            with _space(path):
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
                being_made = path.with_name(path.name + _NEW)
                with being_made.open("wb") as file:
                    os.fchmod(file.fileno(), 0o600)
                    file.truncate(size)
                being_made.rename(path)
        for name in instance.drives_now:
            path = self._layout.drive(name)
            if not path.exists():
                raise Permanent(
                    f"drive {name} is not there: {path}",
                    hint=f"ask: vmrole verify; then: vmrole reimage {instance.name}",
                )

    def erase_local_storage(self, name: InstanceName) -> None:
        """See ports.Disks."""
        _erase(self._layout.local_storage_dir(name))

    def inventory(self) -> Mapping[InstanceName, frozenset[str]]:
        """See ports.Disks."""
        found: dict[InstanceName, set[str]] = {}
        for kind, root in (("overlay", self._layout.overlays), ("storage", self._layout.storage)):
            for path in root.glob("*/*"):
                if path.suffix != _NEW:
                    found.setdefault(InstanceName(path.parent.name), set()).add(f"{kind}:{path.stem}")
        in_ram = self._layout.memories.glob("*/*") if self._layout.keeps_in_ram() else ()
        for path in (*self._layout.checkpoints.glob("*/*"), *in_ram):
            if kind := _KINDS.get(path.suffix, ""):
                found.setdefault(InstanceName(path.parent.name), set()).add(f"{kind}:{path.stem}")
        return {name: frozenset(parts) for name, parts in found.items()}

    def _image(self, instance: Instance) -> Path:
        """The base of the instance: present, read-only, and never looked at for more than that in a turn."""
        role = instance.role
        path = self._layout.image(role.image_sha256, role.image_format)
        try:
            found = path.lstat()
        except FileNotFoundError as error:
            raise Permanent(
                f"image {role.image} ({role.image_sha256[:12]}) is not in the repository",
                hint="run: vmrole image ls",
                whose=Whose.IMAGE,
            ) from error
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o222:
            raise ImageCorrupt(f"{path} can be written to", hint=f"run: vmrole image verify {role.image}")
        return path


def _erase(directory: Path) -> None:
    with file_faults(directory, "it must be writable for the daemon"), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


@contextlib.contextmanager
def _space(path: Path) -> Iterator[None]:
    """A full file system is NoSpace, not a failure of the instance."""
    hint = "make room: it goes on by itself"
    try:
        yield
    except CommandFailed as error:
        if os.strerror(errno.ENOSPC) in error.stderr:
            raise NoSpace(f"no room for {path}", hint=hint) from error
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"no room for {path}", hint=hint) from error
        raise Permanent(f"{path}: {error.strerror}") from error
