"""The one way in which tests wait for something that is to come true."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_S = 0.02
SELDOM_S = 0.2  # What takes long is not asked for all the time: asking is work, too.


def until(true: Callable[[], bool], within_s: float = 120.0, *, what: str = "it") -> None:
    """AssertionError, which names `what`, when `true()` does not hold in time. Looks often at first, then seldom."""
    assert comes_true(true, within_s, SELDOM_S), f"waited {within_s:g} s in vain for {what}"


def comes_true(true: Callable[[], bool], within_s: float, look_s: float = LOOK_S) -> bool:
    """Whether `true()` holds before the time is over. Looks every `look_s` seconds, more often in the first ones, and
    once at the end.
    """
    began_s = time.monotonic()
    while (waited_s := time.monotonic() - began_s) < within_s:
        if true():
            return True
        time.sleep(min(look_s, LOOK_S + waited_s / 10))
    return true()
