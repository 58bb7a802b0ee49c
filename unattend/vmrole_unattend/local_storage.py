"""Local storage in a Windows: what its disks may be called, how large they may be, and the script that places them.

The script makes MBR partitions, whose first is the only one: a GPT begins with partitions of Windows' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vmrole_unattend.errors import AnswersInvalid
from vmrole_unattend.nocloud import guest_script

SIZE_MIB_MIN: Final = 16  # NTFS wants some of a disk for itself.
SIZE_MIB_MAX: Final = 2 * 1024 * 1024 - 1  # what an MBR can say
DEVICES: Final = frozenset(
    {"aux", "con", "nul", "prn", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))}
)


def check(name: str, size_mib: int) -> None:
    """Raises AnswersInvalid for what a Windows could not have at C:\\local\\NAME."""
    if name in DEVICES:
        raise AnswersInvalid(
            f"{name!r} is a device of Windows' own, and no directory", where="localStorage", hint="use another name"
        )
    if not SIZE_MIB_MIN <= size_mib <= SIZE_MIB_MAX:
        raise AnswersInvalid(
            f"{size_mib} MiB cannot be formatted by Windows as local storage",
            where="localStorage",
            hint=f"use at least {SIZE_MIB_MIN} MiB, and less than 2 TiB",
        )


def script(names: Sequence[str], blank: Sequence[str]) -> str:
    """PowerShell that gives each of these disks its place, and formats none but those in `blank`."""
    return f"$storages = {_words(names)}\n$blank = {_words(blank)}\n{guest_script('storage.ps1')}"


def _words(names: Sequence[str]) -> str:
    return "@(" + ", ".join(f"'{name}'" for name in names) + ")"
