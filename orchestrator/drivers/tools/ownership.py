"""Whose a directory is: what the daemon keeps and reads must be nobody else's to change."""

from __future__ import annotations

import os
import stat
from pathlib import Path


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
            return f"{place} can be written by others"
    return ""
