"""Digests that are made while something else is waited for, and stand for as long as their file does.

A file that has been touched since it began to be read is read again: by its inode, its size and the times of its last
change, of which the kernel keeps one that nobody can set.
"""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.drivers.disks.checkpoint_files import digested
from orchestrator.model import Digested

_WITHIN_S: Final = 600.0  # A disk that gives nothing by then is asked by whoever wants to know.


class _State(NamedTuple):
    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


class Ahead:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[Path, tuple[_State, Future[Digested]]] = {}

    def begin(self, *paths: Path) -> None:
        """Reads them, each in a thread of its own; what is not there, or cannot be read, is left to who asks."""
        for path in paths:
            try:
                is_file, state = stat.S_ISREG(os.lstat(path).st_mode), _state(path)
            except OSError:
                continue
            if not is_file:
                continue
            future: Future[Digested] = Future()
            with self._lock:
                self._begun[path] = state, future
            threading.Thread(target=_read, args=(path, future), name="digest", daemon=True).start()

    def digested(self, path: Path) -> Digested:
        """The file by all its bytes, as it is now. Raises OSError."""
        with self._lock:
            begun = self._begun.pop(path, None)
        if begun is None:
            return digested(path)
        before, future = begun
        try:
            known = future.result(_WITHIN_S)
        except (OSError, TimeoutError):
            return digested(path)
        return known if _state(path) == before else digested(path)

    def forget(self, place: Path) -> None:
        """The files of that directory are gone."""
        with self._lock:
            for path in [each for each in self._begun if each.parent == place]:
                del self._begun[path]


def _read(path: Path, future: Future[Digested]) -> None:
    try:
        future.set_result(digested(path))
    except OSError as error:
        future.set_exception(error)


def _state(path: Path) -> _State:
    found = os.lstat(path)
    return _State(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
