"""Room of the records' own on a disk that others fill: guests, images, logs.

A file that is given up when the disk is full would be a guest's before it is ours. So the room is where nobody else
can take it: blocks behind the database's end, which it grows into, and a journal as long as a commit's may be, which
is written over in place. What the database has grown into is made up for as soon as the disk has room again.
"""

from __future__ import annotations

import ctypes
import logging
import os
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

AHEAD_BYTES: Final = 2 << 20  # thousands of turns: a record that is written again takes no more than it had
JOURNAL_BYTES: Final = 2 << 20  # a commit has at most 1 MiB, and keeps each page that it changes
_PLENTY: Final = 8  # so many times what is wanted must be free: who has little needs it more
_KEEP_SIZE: Final = 1  # FALLOC_FL_KEEP_SIZE, fallocate(2)
_BLOCK_BYTES: Final = 512  # of st_blocks, stat(2)


class Room:
    """The room of one database. Opened before SQLite opens the file and closed after it has let go of it.

    A process that closes a file loses all its locks on it, whichever descriptor they were taken by.
    """

    def __init__(self, path: Path) -> None:
        self._directory = path.parent
        self._database = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._journal = path.with_name(f"{path.name}-journal")
        self._is_told = False

    def keep(self) -> None:
        """Makes the room whole where it has fallen below half; costs two looks when it has not. Raises nothing."""
        try:
            found = os.fstat(self._database)
            if found.st_blocks * _BLOCK_BYTES < found.st_size + AHEAD_BYTES // 2:
                self._take(self._database, found.st_size + AHEAD_BYTES)
            if _blocks_bytes(self._journal) < JOURNAL_BYTES:
                self._keep_journal()
        except OSError as error:
            log.log(
                logging.DEBUG if self._is_told else logging.WARNING,
                "the records have no room of their own: %s",
                error,
            )
            self._is_told = True

    def close(self) -> None:
        """Ends it; the room stays."""
        os.close(self._database)

    def _keep_journal(self) -> None:
        """SQLite begins at its front and leaves the rest as it is; zeros are no journal that it would play back."""
        journal = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._take(journal, JOURNAL_BYTES)
        finally:
            os.close(journal)

    def _take(self, descriptor: int, count: int) -> None:
        """Gives the file blocks for its first `count` bytes; its size and its content stay. Raises OSError."""
        found = os.statvfs(self._directory)
        if found.f_bavail * found.f_frsize < _PLENTY * AHEAD_BYTES:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        of_file = (ctypes.c_int(descriptor), ctypes.c_int(_KEEP_SIZE), ctypes.c_int64(0), ctypes.c_int64(count))
        if libc.fallocate(*of_file) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _blocks_bytes(path: Path) -> int:
    try:
        return path.stat().st_blocks * _BLOCK_BYTES
    except FileNotFoundError:
        return 0
