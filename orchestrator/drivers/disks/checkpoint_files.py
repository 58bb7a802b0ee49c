"""The files of checkpoints: a layer that nobody can write to, and a memory, or none, that nobody else can read.

A layer has been an overlay. It is ours from then on, not QEMU's, for who owns a file may change its mode; others than
QEMU's group get no further than to its directory (see `hypervisor.saved_memory`). Both files
are known by their digests, which are read whole each time that somebody asks: what was changed never starts a guest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from orchestrator.drivers.disks import memory_place
from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.errors import Foreign
from orchestrator.model import Digested, Instance, InstanceName

MEMORY_SUFFIX: Final = ".memory"
LAYER_MODE: Final = 0o444
MEMORY_MODE: Final = 0o600
_HINT: Final = "the state directory must be writable for the daemon"
_FORBIDDEN: Final = 0o222


def clear_place(layout: Layout, instance: Instance) -> None:
    """Removes what an earlier try has left. Raises Foreign where there is a layer of this generation already."""
    if layout.layer(instance.name, instance.generation).exists():
        raise Foreign(
            f"{instance.name}: its VM was kept, and somebody has started it since",
            hint=f"vmrole reimage --cold {instance.name}",
        )
    erase_memory(layout, instance.name)


def make_place(layout: Layout, instance: Instance) -> None:
    """The directory of the instance's checkpoint, for nobody but us as yet: its layer is a guest's disk."""
    place = layout.checkpoint_dir(instance.name)
    with file_faults(place, _HINT):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)


def erase_memory(layout: Layout, name: InstanceName) -> None:
    """Whatever was saved of the instance's memory, whole or by half."""
    memory_place.erase(layout, name)
    place = layout.checkpoint_dir(name)
    with file_faults(place, _HINT):
        for path in [*place.glob(f"*{MEMORY_SUFFIX}*")]:
            path.unlink(missing_ok=True)


def memory_of(layout: Layout, instance: Instance) -> Digested | None:
    """The memory that was saved of this generation; None where there is no whole one."""
    path = layout.memory(instance.name, instance.generation)
    with file_faults(path, _HINT):
        try:
            path.chmod(MEMORY_MODE)
        except FileNotFoundError:
            return None
        return digested(path)


def make_layer(layout: Layout, instance: Instance) -> Digested:
    """The overlay of this generation, as its checkpoint's layer from now on; it may be that already."""
    overlay, layer = layout.overlay(instance), layout.layer(instance.name, instance.generation)
    with file_faults(layer, _HINT):
        if not layer.exists():
            overlay.rename(layer)
        os.chown(layer, os.geteuid(), os.getegid(), follow_symlinks=False)
        layer.chmod(LAYER_MODE)
        return digested(layer)


def files_of(layout: Layout, instance: Instance) -> list[Path]:
    """The files of the instance's checkpoint, by its record."""
    of = instance.checkpoint
    if of is None:
        return []
    memory = [layout.memory(instance.name, of.generation)] if of.memory else []
    return [*memory, layout.layer(instance.name, of.generation)]


def layer_damage(layout: Layout, instance: Instance, read: Callable[[Path], Digested] | None = None) -> str:
    """How the checkpoint's layer is not as it was when it was kept, in a few words; "" when it is.

    `read` tells a file's digest, as `digested` does.
    """
    of = instance.checkpoint
    if of is None:
        return "there is no checkpoint"
    read = read or digested
    damage = _damage("layer", layout.layer(instance.name, of.generation), of.layer, LAYER_MODE, read)
    if damage or of.board is None:
        return damage
    return _damage("board", layout.board(instance.name, of.generation), of.board, MEMORY_MODE, read)


def memory_damage(layout: Layout, instance: Instance, read: Callable[[Path], Digested] | None = None) -> str:
    """The same of its memory."""
    of = instance.checkpoint
    if of is None or of.memory is None:
        return "its checkpoint has no memory"
    return _damage("memory", layout.memory(instance.name, of.generation), of.memory, MEMORY_MODE, read or digested)


def _damage(what: str, path: Path, kept: Digested, mode: int, read: Callable[[Path], Digested]) -> str:
    with file_faults(path, _HINT):
        try:
            found = path.lstat()
            others = found.st_uid != os.geteuid() or found.st_mode & _FORBIDDEN & ~mode
            if others or not stat.S_ISREG(found.st_mode):
                return f"the {what} of its checkpoint could have been changed by others"
            if found.st_size != kept.size_bytes or read(path) != kept:
                return f"the {what} of its checkpoint is not what was kept"
        except FileNotFoundError:
            return f"the {what} of its checkpoint is not there"
    return ""


def digested(path: Path) -> Digested:
    """The file by all its bytes. Raises OSError."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Digested(sha256, os.fstat(file.fileno()).st_size)
