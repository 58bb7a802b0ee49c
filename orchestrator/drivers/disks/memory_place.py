"""Where the memory of a checkpoint is saved: in RAM, on a tmpfs, where its role says so and it fits; else on disk.

Everybody may make files in /dev/shm: the directory of ours is taken only where it is ours and nobody else's. What
lies in RAM is gone with a boot of the host, as is whatever it would fit.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import InstanceName

MIB: Final = 1024 * 1024
LEFT_BYTES: Final = 512 * MIB  # of the host's memory, beside what is saved: more than QEMU takes for one more VM
_MEMINFO: Final = Path("/proc/meminfo")
_MOUNTS: Final = Path("/proc/self/mountinfo")
_SAVED: Final = ".memory"
_HINT: Final = "its owner must be the daemon's user"
_COMING_OR_GOING: Final = threading.Lock()  # Who goes last takes away what one who comes is made in.

_promised: dict[Path, int] = {}  # how large what is saved there may become


def choose(layout: Layout, name: InstanceName, needed_bytes: int, *, in_ram: bool) -> str:
    """Makes the place for a memory of that size, and no other; returns why that is on disk although it was to be in
    RAM, "" where it is as it was to be.
    """
    erase(layout, name)
    if not in_ram:
        return ""
    place = layout.memory_dir(name)
    with _COMING_OR_GOING, file_faults(place, _HINT):
        if why_not := _unfit(layout) or _no_room(layout, needed_bytes):
            return why_not
        place.mkdir(mode=0o700)
        _promised[place] = needed_bytes
    return ""


def erase(layout: Layout, name: InstanceName) -> None:
    """What the instance has in RAM, whole or by half. Nothing is touched in a directory that is not ours."""
    place = layout.memory_dir(name)
    if not layout.keeps_in_ram():
        return
    with file_faults(place, _HINT):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(place)
        _promised.pop(place, None)
        with _COMING_OR_GOING, contextlib.suppress(OSError):  # Of others something lies there.
            place.parent.rmdir()


def fault(layout: Layout) -> str:
    """Why nothing is kept in RAM, whatever its size; "" where it may be. Makes nothing."""
    top = layout.memories
    if not _is_tmpfs(top.parent):
        return f"{top.parent} is no tmpfs"
    return f"{top} is somebody else's, or open to others" if top.exists() and not layout.keeps_in_ram() else ""


def room_bytes(layout: Layout) -> int:
    """What there is of it: of the tmpfs, and of the memory that the host can spare."""
    with contextlib.suppress(OSError):
        found = os.statvfs(layout.shm)
        return max(0, min(found.f_bavail * found.f_frsize, _available_bytes() - LEFT_BYTES))
    return 0


def _unfit(layout: Layout) -> str:
    """Why nothing can be kept there, whatever its size. Makes the directory of all our memories."""
    top = layout.memories
    if not _is_tmpfs(top.parent):
        return f"{top.parent} is no tmpfs"
    try:
        top.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        return f"{top}: {error.strerror}"
    return "" if layout.keeps_in_ram() else f"{top} is somebody else's, or open to others"


def _no_room(layout: Layout, needed_bytes: int) -> str:
    """What is saved takes the host's memory, of which running guests need the rest. Pages of zeros take none."""
    found, others_bytes = os.statvfs(layout.memories), sum(map(_awaited_bytes, [*_promised]))
    if found.f_bavail * found.f_frsize < needed_bytes + others_bytes:
        return f"{layout.memories.parent} has no room for {needed_bytes // MIB} MiB"
    if _available_bytes() < needed_bytes + others_bytes + LEFT_BYTES:
        return f"the host has less than {(needed_bytes + LEFT_BYTES) // MIB} MiB of memory left"
    return ""


def _awaited_bytes(place: Path) -> int:
    """What is yet to be saved there: nothing where it has its name already, or the place is gone."""
    with contextlib.suppress(OSError):
        files = {path: path.stat() for path in place.iterdir()}
        if any(path.suffix == _SAVED for path in files):
            return 0
        return max(0, _promised.get(place, 0) - sum(512 * one.st_blocks for one in files.values()))
    return 0


def _available_bytes() -> int:
    lines = (line.split() for line in _MEMINFO.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def _is_tmpfs(path: Path) -> bool:
    try:
        device = path.stat().st_dev
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in _MOUNTS.read_text().splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0] == "tmpfs"
    return False
