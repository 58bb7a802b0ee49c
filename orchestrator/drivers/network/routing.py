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
_REDIRECTS: Final = _IPV4 / "conf" / "all" / "accept_redirects"


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
    """That the host did not route before it was made to for guests, and for which services it does. Thread-safe.

    Kept in a file over restarts of the host as well: libvirt switches routing on with the first network that it
    starts, and often does so before us.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._lock = threading.Lock()
        self._services: set[str] = set()  # that this process has begun to route for

    @property
    def was_off(self) -> bool:
        """Whether it did not."""
        return self._record.exists()

    def begin(self, service: str) -> None:
        """To be called before anything switches routing on for a service: notes that it is off. A host that routes by
        the switches of single interfaces is a router.
        """
        with self._lock, file_faults(self._record, "see that it can be written"):
            self._services.add(service)
            if _is_on(_ALL) or self.was_off or any(map(_is_on, (_IPV4 / "conf").glob("*/forwarding"))):
                return
            with self._record.open("w") as record:
                record.write(_REDIRECTS.read_text())
                record.flush()
                os.fsync(record.fileno())
        log.info(
            "%s is 0: it is switched on for guests, and what is neither from nor to one is not forwarded, as before; "
            'forwarding = "all" in the configuration lets it pass',
            name(_ALL),
        )

    def end(self, service: str, *, others: bool) -> None:
        """No guest of the service needs routing any more: off again, if it was, and if there are no `others` by the
        host's own word, nor any that have begun meanwhile.
        """
        with self._lock, file_faults(self._record, "see that it can be removed"):
            self._services.discard(service)
            if self.was_off and not others and not self._services:
                redirects = self._record.read_text()
                _ALL.write_text("0")
                _REDIRECTS.write_text("0" if redirects.strip() == "0" else "1")  # The kernel takes them up with it.
                self._record.unlink()
                log.info("%s is 0 again", name(_ALL))


def _is_on(switch: Path) -> bool:
    try:
        return switch.read_text().strip() != "0"
    except OSError:  # An interface that has just gone.
        return False
