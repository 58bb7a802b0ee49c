"""Reading an answer file that a user names. What is in it is not looked at here."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.errors import InvalidInput, NotFound


def read(file: str) -> bytes:
    """The file, but not much more of it than can be checked."""
    from unattend.windows.document import SOURCE_BYTES_MAX

    try:
        if file == "-":
            return sys.stdin.buffer.read(SOURCE_BYTES_MAX + 1)
        with Path(file).open("rb") as source:
            return source.read(SOURCE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", hint="name an answer file") from error
