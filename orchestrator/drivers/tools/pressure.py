"""What the kernel says of a host that is short of memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PRESSURE: Final = Path("/proc/pressure/memory")
STRAINED_PERCENT: Final = 10.0  # of a minute in which nobody could go on for want of memory
_FULL = re.compile(r"^full .*\bavg60=([0-9]{1,3}(?:\.[0-9]+)?)", re.MULTILINE)


def memory_strain(file: Path = PRESSURE) -> str:
    """Why the host is short of memory, in a few words; "" when it is not, or when the kernel does not say."""
    try:
        said = _FULL.search(file.read_text())
    except (OSError, UnicodeDecodeError):
        return ""
    if said is None or float(said[1]) < STRAINED_PERCENT:
        return ""
    return f"memory: for {float(said[1]):.0f} % of the last minute nothing could go on without it"
