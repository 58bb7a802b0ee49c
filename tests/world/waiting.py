"""The one way in which tests wait for something that is to come true."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], bool], within_s: float = 15.0) -> None:
    """AssertionError when `true()` does not hold in time."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
