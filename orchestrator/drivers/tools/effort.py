"""What a piece of work takes of the processor, however long it had to wait for one."""

from __future__ import annotations

import time


def thread_s() -> float:
    """Seconds that this thread has had of a processor, the kernel's work for it included."""
    return time.thread_time()
