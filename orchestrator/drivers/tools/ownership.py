"""Whose a directory is: what the daemon keeps and reads must be nobody else's to change."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

WRITABLE: Final = "can be written by others"  # as distinct from a place that belongs to somebody


def others_hold(directory: Path) -> str:
    """Who besides root and our own user could change what is in the directory, in a few words; "" when nobody can.

    A directory above counts as well: who may write there can put another in this one's place, unless it has the
    sticky bit (/tmp). Raises OSError.
    """
    places = dict.fromkeys((directory, *directory.parents, directory.resolve(), *directory.resolve().parents))
    for place in places:
        found = place.stat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to uid {found.st_uid}"
        sticky = place != directory and found.st_mode & stat.S_ISVTX
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
            return f"{place} {WRITABLE}"
    return ""


def others_hold_within(directory: Path) -> str:
    """The same of all that lies in the directory; links are left to who reads what they lead to. Raises OSError."""
    for place in directory.rglob("*"):
        found = place.lstat()
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to uid {found.st_uid}"
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(found.st_mode):
            return f"{place} {WRITABLE}"
    return ""
