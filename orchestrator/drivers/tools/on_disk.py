"""Names that outlive a power failure."""

from __future__ import annotations

import os
from pathlib import Path


def on_disk(directory: Path) -> None:
    """Returns when what is in the directory is there after a power failure, too. Raises OSError."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
