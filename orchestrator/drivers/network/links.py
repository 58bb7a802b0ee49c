"""The host's links as sysfs shows them: which tap is on which bridge, and whether it is up."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

NET: Final = Path("/sys/class/net")
_UP: Final = 1  # IFF_UP


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A network interface; `master` is the bridge that it is on, or ""."""

    name: str
    index: int
    up: bool
    master: str


def look(name: str) -> Link | None:
    """The link now; None when there is none."""
    place = NET / name
    try:
        index, flags = int((place / "ifindex").read_text()), int((place / "flags").read_text(), 16)
    except OSError:
        return None
    try:
        master = (place / "master").readlink().name
    except OSError:
        master = ""
    return Link(name=name, index=index, up=bool(flags & _UP), master=master)
