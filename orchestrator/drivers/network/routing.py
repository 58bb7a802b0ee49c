"""Whether the host routes, by IPv4 and by IPv6: switches below /proc/sys/net, sysctl's names for them, and how they
were before.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.tools.file_errors import file_faults
from orchestrator.model import ServiceNetwork

log = logging.getLogger(__name__)
_NET: Final = Path("/proc/sys/net")
_CONF: Final = {4: _NET / "ipv4" / "conf", 6: _NET / "ipv6" / "conf"}
_ALL: Final = {4: _NET / "ipv4" / "ip_forward", 6: _CONF[6] / "all" / "forwarding"}
_REDIRECTS: Final = {version: conf / "all" / "accept_redirects" for version, conf in _CONF.items()}


def versions(network: ServiceNetwork) -> tuple[int, ...]:
    """Of IP, by which the host routes for the service."""
    return (4, 6) if network.subnet6 else (4,)


def closed(network: ServiceNetwork) -> tuple[Path, ...]:
    """The switches that are off of those that the service needs; that of a bridge that is not there is none."""
    return tuple(one for version in versions(network) for one in _closed(version, network.bridge))


def _closed(version: int, bridge: str) -> Iterator[Path]:
    for switch in (_ALL[version], _CONF[version] / bridge / "forwarding"):
        try:
            if switch.read_text().strip() == "0":
                yield switch
        except FileNotFoundError:
            continue


def open_(switch: Path) -> None:
    """Switches it on; with that of all the kernel switches all the others on as well."""
    switch.write_text("1")


def name(switch: Path) -> str:
    """What sysctl calls it."""
    return "net." + ".".join(switch.relative_to(_NET).parts)


class Before:
    """That the host did not route before it was made to for guests, and for which services it does. Thread-safe.

    By one version of IP.

    Kept in a file over restarts of the host as well: libvirt switches routing on with the first network that it
    starts, and often does so before us.
    """

    def __init__(self, record: Path, version: int = 4) -> None:
        self._record = record
        self._version = version
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
            conf, switch = _CONF[self._version], _ALL[self._version]
            if _is_on(switch) or self.was_off or any(map(_is_on, conf.glob("*/forwarding"))):
                return
            with self._record.open("w") as record:
                record.write(_REDIRECTS[self._version].read_text())
                record.flush()
                os.fsync(record.fileno())
        log.info(
            "%s is 0: it is switched on for guests, and what is neither from nor to one is not forwarded, as before; "
            'forwarding = "all" in the configuration lets it pass',
            name(switch),
        )

    def end(self, service: str, *, others: bool) -> None:
        """No guest of the service needs routing any more: off again, if it was, and if there are no `others` by the
        host's own word, nor any that have begun meanwhile.
        """
        with self._lock, file_faults(self._record, "see that it can be removed"):
            self._services.discard(service)
            if self.was_off and not others and not self._services:
                redirects = self._record.read_text()
                _ALL[self._version].write_text("0")
                # The kernel takes them up with it, by IPv4.
                _REDIRECTS[self._version].write_text("0" if redirects.strip() == "0" else "1")
                self._record.unlink()
                log.info("%s is 0 again", name(_ALL[self._version]))


def befores(record: Path, record6: Path) -> dict[int, Before]:
    """By the version of IP."""
    return {4: Before(record, 4), 6: Before(record6, 6)}


def _is_on(switch: Path) -> bool:
    try:
        return switch.read_text().strip() != "0"
    except OSError:  # An interface that has just gone.
        return False
