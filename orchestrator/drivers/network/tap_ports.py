"""The ports of running VMs on their service's bridge: whether they stand, and back on it when somebody took them off.

libvirt makes a tap, puts it on the bridge, and only then switches it on (virNetDevTapCreateInBridgePort); one that it
is just making must be left to it, for it fails when the tap is on the bridge already. So a tap that is up and not on
its bridge was taken away; one that is down was, too, if it has stood before or is like that for some time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orchestrator.drivers.network import links
from orchestrator.drivers.network.links import Link
from orchestrator.drivers.tools.command import run
from orchestrator.model import BRIDGE_PREFIX, Instance, Notice
from orchestrator.ports import Clock

_MAKING_S: Final = 5.0  # libvirt needs some milliseconds.


class TapPorts:
    """Remembers which ports have stood. Thread-safe: what it writes, it writes by a single operation of a dict."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stood: dict[str, int] = {}  # tap -> number of the link, which the next VM's tap does not share
        self._down_since: dict[str, tuple[int, float]] = {}

    def mend(self, instances: Sequence[Instance], bridge: str) -> list[Notice]:
        """Puts back what was taken off the bridge or switched off; tells whose ports those were."""
        mended = []
        for instance in instances:
            link = links.look(instance.nic.tap)
            if link is None:
                continue
            if not self._stands(link, bridge) and self._was_taken(link):
                run(["ip", "link", "set", "dev", link.name, "master", bridge, "up"])
                said = f"somebody took its port off {bridge}, the service's bridge: put back"
                mended.append(Notice(instance.name, said))
        return mended

    def lost(self, instances: Sequence[Instance], bridge: str) -> bool:
        """Whether `mend` has something to do."""
        return any(
            self._was_taken(link)
            for link in map(links.look, (one.nic.tap for one in instances))
            if link is not None and not self._stands(link, bridge)
        )

    def vanished(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those whose ports have stood and are there no more: of each port that goes, once."""
        gone = [one for one in instances if one.nic.tap in self._stood and links.look(one.nic.tap) is None]
        return [one for one in gone if self._stood.pop(one.nic.tap, None) is not None]

    def _stands(self, link: Link, bridge: str) -> bool:
        stands = link.up and link.master == bridge
        if stands:
            self._stood[link.name] = link.index
        return stands

    def _was_taken(self, link: Link) -> bool:
        if link.up or self._stood.get(link.name) == link.index:
            return True
        index, since_s = self._down_since.get(link.name, (0, 0.0))
        if index != link.index:
            self._down_since[link.name] = (link.index, self._clock.monotonic_s())
            return False
        return self._clock.monotonic_s() - since_s > _MAKING_S


def fault(instance: Instance, bridge: str) -> str:
    """Why nothing gets through the instance's port, or "". `bridge` is "" where it is not known.

    An instance whose VM does not run has no port, and none that could be at fault.
    """
    link = links.look(instance.nic.tap)
    if link is None:
        return ""
    if not link.up:
        return f"its port {link.name} on the host is down"
    if link.master != bridge and (bridge or not link.master.startswith(BRIDGE_PREFIX)):
        return f"its port {link.name} on the host is not on bridge {bridge or BRIDGE_PREFIX + '*'}"
    above = links.look(link.master)
    return "" if above is None or above.up else f"bridge {link.master} on the host is down"


def absence(instance: Instance) -> str:
    """That the instance's port is not there, or ""; its VM runs."""
    gone = links.look(instance.nic.tap) is None
    return f"its port {instance.nic.tap} on the host is gone; it comes back with the VM's next start" if gone else ""
