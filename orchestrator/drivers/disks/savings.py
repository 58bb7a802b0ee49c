"""The room on disk that memories under way have yet to take: each is given it before it begins, beside all others."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.room import Room
from orchestrator.model import InstanceName

_PART: Final = ".part"  # while it is being saved, see `hypervisor.saved_memory`


class Savings:
    """Those of this process: what a daemon before has begun is over, or has taken its room by now."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._lock = threading.Lock()
        self._awaited: dict[InstanceName, tuple[Path, int]] = {}

    def promise(self, name: InstanceName, memory: Path, count: int, what: str) -> None:
        """`count` bytes, 0 for none, for what is saved there. Raises NoSpace where they do not fit beside what others
        have yet to save.
        """
        with self._lock:
            self._awaited.pop(name, None)
            others = sum(_yet_to_come(path, whole) for path, whole in self._awaited.values()) if count else 0
            self._room.require(count + others, f"{what} and of {len(self._awaited)} others" if others else what)
            if count:
                self._awaited[name] = memory, count

    def end(self, name: InstanceName) -> None:
        """It is saved, or is not to be."""
        with self._lock:
            self._awaited.pop(name, None)


def _yet_to_come(memory: Path, whole: int) -> int:
    """Bytes; nothing of one that has its name already."""
    if memory.exists():
        return 0
    with contextlib.suppress(OSError):
        return max(0, whole - 512 * memory.with_name(memory.name + _PART).stat().st_blocks)
    return whole
