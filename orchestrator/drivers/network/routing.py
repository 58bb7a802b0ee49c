"""Whether the host routes: switches below /proc/sys/net/ipv4, sysctl's names for them, and how they were before."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.file_errors import file_faults

log = logging.getLogger(__name__)
_IPV4: Final = Path("/proc/sys/net/ipv4")
_ALL: Final = _IPV4 / "ip_forward"


def closed(bridge: str) -> tuple[Path, ...]:
    """The switches that are off; that of a bridge that is not there is none."""
    return tuple(_closed(bridge))


def _closed(bridge: str) -> Iterator[Path]:
    for switch in (_ALL, _IPV4 / "conf" / bridge / "forwarding"):
        try:
            if switch.read_text().strip() == "0":
                yield switch
        except FileNotFoundError:
            continue


def open_(switch: Path) -> None:
    """Switches it on; with `ip_forward` the kernel switches all the others on as well."""
    switch.write_text("1")


def name(switch: Path) -> str:
    """What sysctl calls it."""
    return "net.ipv4." + ".".join(switch.relative_to(_IPV4).parts)


class Before:
    """That the host did not route before it was made to for guests. Thread-safe.

    Kept in a file over restarts of the host as well: libvirt switches routing on with the first network that it
    starts, and often does so before us.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._lock = threading.Lock()

    @property
    def was_off(self) -> bool:
        """Whether it did not."""
        return self._record.exists()

    def note(self) -> bool:
        """To be called before anything switches routing on; returns whether it is off, which was not noted before."""
        with self._lock, file_faults(self._record, "see that it can be written"):
            if _ALL.read_text().strip() != "0" or self.was_off:
                return False
            with self._record.open("w") as record:
                record.write("0\n")
                record.flush()
                os.fsync(record.fileno())
        log.info(
            "%s is 0: it is switched on for guests, and what is neither from nor to one is not forwarded, as before; "
            'forwarding = "all" in the configuration lets it pass',
            name(_ALL),
        )
        return True

    def restore(self) -> None:
        """No guest needs routing any more: off again, if it was."""
        with self._lock, file_faults(self._record, "see that it can be removed"):
            if self.was_off:
                _ALL.write_text("0")
                self._record.unlink()
                log.info("%s is 0 again", name(_ALL))
