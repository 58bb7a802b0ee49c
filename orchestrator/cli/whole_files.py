"""New files of secrets' kind: their owner's alone, and there whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import InvalidInput


@contextlib.contextmanager
def whole_or_none(file: Path) -> Iterator[BinaryIO]:
    """A new file, mode 0600, that takes the name when the block ends well, and is on the disk then.

    Raises InvalidInput where it cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "w+b") as target:
                yield target
                target.flush()
                os.fsync(target.fileno())
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"{file}: {error.strerror}", hint="give a place that can be written, with room") from error
