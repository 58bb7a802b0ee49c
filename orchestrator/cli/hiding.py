"""Takes secrets out of texts that leave the host: those that its owner keeps for service files, and URIs' passwords.

What the daemon tells and logs has none; this holds where a guest or another program has repeated one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.cli import render
from orchestrator.host.config import Config, masked

HIDDEN: Final = "***"
_SHORTEST: Final = 4  # characters; less than this is in every text
_FILE_MAX_BYTES: Final = 1 << 16


def secrets_of(config: Config) -> frozenset[str]:
    """The values of this host's secrets, and their lines, as far as the caller may read them."""
    values = [os.environ.get(name, "") for name in config.secrets_env]
    values += _files(config.secrets_dir)
    pieces = {piece.strip() for value in values for piece in (value, *value.splitlines())}
    return frozenset(piece for piece in pieces if len(piece) >= _SHORTEST)


def hide(text: str, secrets: frozenset[str]) -> str:
    """The text with each secret, also as JSON writes it, and each password in a URI replaced. Pure."""
    forms = secrets | {json.dumps(secret)[1:-1] for secret in secrets}
    forms |= {json.dumps(secret, ensure_ascii=False)[1:-1] for secret in secrets}
    forms |= {render.as_json(secret)[1:-1] for secret in secrets}
    for form in sorted(forms, key=lambda each: (-len(each), each)):  # the whole before its lines
        text = text.replace(form, HIDDEN)
    return masked(text)


def _files(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        try:
            if path.is_file():
                with path.open("rb") as file:
                    yield file.read(_FILE_MAX_BYTES).decode(errors="replace")
        except OSError:
            continue  # Who may not read it cannot have it in a text of his own either.
