"""How long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable


def timed(do: Callable[[], object]) -> float:
    """In seconds."""
    began = time.monotonic()
    do()
    return time.monotonic() - began
