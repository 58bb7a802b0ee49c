"""The memory of this host."""

from __future__ import annotations

import os


def memory_bytes() -> int:
    """All that the kernel has to give (sysconf(3)), whoever has it now."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
