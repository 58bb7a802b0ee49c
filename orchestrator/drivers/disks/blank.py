"""Whether anything has ever been written to a disk that we made."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def is_blank(disk: Path) -> bool:
    """Whether the sparse file is one hole, as it was made. One that is not there has nothing to be formatted."""
    try:
        with disk.open("rb") as file:
            os.lseek(file.fileno(), 0, os.SEEK_DATA)
            return os.fstat(file.fileno()).st_blocks == 0  # Some file systems know no holes, and call all of it data.
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno == errno.ENXIO:  # lseek(2): no data after the offset
            return True
        raise
