"""Directories of the host that guests of a role read."""

from __future__ import annotations

import dataclasses
from typing import Final

SOURCE: Final = "^(/[A-Za-z0-9_][A-Za-z0-9._-]{0,63}){1,16}$"  # no comma, which begins another option of virtiofsd's
SHARES_MOST: Final = 8  # of one role: each has a server of its own beside each VM


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A directory of the host, which a guest has read-only."""

    name: str  # by which the guest's kernel knows it, too: a tag of virtiofs
    source: str  # on the host, by its real path
    mount: str = ""  # where the guest has it; "": nobody mounts it
