"""What is given out over all services, by one at a time: addresses, memory, drives."""

from __future__ import annotations

import threading


class Custody:
    """The lock of who gives something out, and the drives that are nobody's to have for now."""

    def __init__(self) -> None:
        self.giving = threading.Lock()
        self.busy: set[str] = set()  # being copied, changed or removed; under the lock
