"""An answer file as all checks see it, with what is known about the image that it is for."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from lxml import etree

from vmrole_unattend.windows.answers import Architecture, Edition, Windows
from vmrole_unattend.windows.checks.place import Home

TRUE = ("true", "1")


class Deployment(enum.StrEnum):
    """What the file is for."""

    GENERALIZED = "generalized"  # the first start of a sysprepped image
    INSTALL = "install"  # Windows' own Setup, from its media
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """The file and its use; None where nobody knows."""

    root: etree._Element
    homes: list[Home]
    use: Deployment
    windows: Windows | None
    edition: Edition | None
    architecture: Architecture | None

    def named(self, name: str) -> Iterator[Home]:
        """The components of that name, with or without "Microsoft-Windows-"."""
        wanted = name.casefold()
        return (home for home in self.homes if home.name.casefold().removeprefix("microsoft-windows-") == wanted)
