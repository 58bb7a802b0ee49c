"""Whose an image is: ours, because whoever owns a file can make it writable."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from orchestrator.drivers.tools.file_errors import file_faults

log = logging.getLogger(__name__)


def take_back(path: Path) -> None:
    """Makes the image ours again if libvirt has given it to QEMU, as it did for former versions, and says so.

    Raises Transient when it cannot be done.
    """
    found = path.lstat()
    if found.st_uid == os.geteuid() or not stat.S_ISREG(found.st_mode):
        return
    with file_faults(path, "make it root's, mode 0444"):
        os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)
        path.chmod(0o444)
    told = "%s belonged to uid %d, who could have changed it, and is ours again; to be sure: vmrole image verify"
    log.warning(told, path, found.st_uid)
