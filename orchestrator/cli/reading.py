"""Reading the files that a user names, within bounds; errors name the file."""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.errors import InvalidInput, NotFound

FILE_MAX_BYTES = 1 << 20  # What the API accepts; the largest public answer files have a tenth of it.


def read_bytes(file: str, *, hint: str) -> bytes:
    """The content of a file, or of stdin for `-`. `hint` is for one that cannot be what was meant.

    Raises NotFound, and InvalidInput when it cannot be read or is larger than FILE_MAX_BYTES: exit status 1 belongs
    to what verbs find in a file.
    """
    try:
        if file == "-":
            if sys.stdin is None:
                raise InvalidInput("stdin is closed", hint=hint)
            content = sys.stdin.buffer.read(FILE_MAX_BYTES + 1)
        else:
            with Path(file).open("rb") as source:
                content = source.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}", hint=hint) from error
    if len(content) > FILE_MAX_BYTES:
        raise InvalidInput(f"{file} is larger than {FILE_MAX_BYTES >> 20} MiB", hint=hint)
    return content


def read_text(file: str, *, hint: str) -> str:
    """As `read_bytes`; raises InvalidInput with the line of the first byte that is not UTF-8, too."""
    content = read_bytes(file, hint=hint)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{file}:{line}: byte {content[error.start]:#04x} is not UTF-8", hint=hint) from error
