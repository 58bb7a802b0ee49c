"""What a file system refuses, as an error of ours."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import NoSpace, Transient


@contextlib.contextmanager
def file_faults(path: Path, hint: str) -> Iterator[None]:
    """An OSError becomes NoSpace when the file system is full, and Transient with the hint otherwise."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(f"{path}: {error.strerror}", hint="make room on this file system") from error
        raise Transient(f"{path}: {error.strerror}", hint=hint) from error
