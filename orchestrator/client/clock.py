"""The clock of whoever asks: the user's side knows no port, and its waits are a person's."""

from __future__ import annotations

import time


def now_s() -> float:
    """Seconds since the epoch."""
    return time.time()


def monotonic_s() -> float:
    """Seconds since some moment, which only go forwards: for what is due."""
    return time.monotonic()


def pause(seconds: float) -> None:
    """Lets so much time pass between two looks."""
    time.sleep(seconds)
