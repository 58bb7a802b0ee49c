"""Guests that ask for an address by DHCP and get no answer: something on the host stands between them and dnsmasq."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import libvirt

from orchestrator.model import Instance, InstanceName, Notice
from orchestrator.ports import Clock

_LEASE_S: Final = 3600.0  # what libvirt has dnsmasq give
_INEXACT_S: Final = 2.0  # both times are told in whole seconds
_PATIENCE_S: Final = 10.0  # dnsmasq answers in some milliseconds; a guest asks again after some seconds
_TOLD: Final = (
    "it asks for an address by DHCP, and no request of it is answered: "
    "does a firewall of the host drop them? vmrole doctor finds out"
)


class Unanswered:
    """Remembers since when a guest is unanswered, and of whom that was told. Thread-safe: dicts and sets are."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: dict[InstanceName, float] = {}
        self._told: set[InstanceName] = set()
        self._answered_s: dict[str, float] = {}  # by MAC

    def notices(
        self, instances: Sequence[Instance], asking: Mapping[str, float], network: libvirt.virNetwork
    ) -> Iterator[Notice]:
        """Tells of each guest once that it is not answered. `asking` has the MACs and when they asked."""
        macs = asking.keys() & {one.nic.mac for one in instances}
        return self.among(instances, asking, _answered(network) if macs else {})

    def among(
        self, instances: Sequence[Instance], asking: Mapping[str, float], answered: Mapping[str, float]
    ) -> Iterator[Notice]:
        """The same, of what the leases say now: when each MAC that has one was answered (seconds since the epoch).

        Most guests give their lease back as they go down, soon after they asked maybe: that they were answered is
        remembered for as long as that they asked.
        """
        for instance in instances:
            mac = instance.nic.mac
            if mac not in asking:
                self._answered_s.pop(mac, None)
            elif mac in answered:
                self._answered_s[mac] = answered[mac]
            if mac not in asking or self._answered_s.get(mac, 0.0) > asking[mac] - _INEXACT_S:
                self._since_s.pop(instance.name, None)
                self._told.discard(instance.name)
                continue
            since_s = self._since_s.setdefault(instance.name, self._clock.monotonic_s())
            if self._clock.monotonic_s() - since_s > _PATIENCE_S and instance.name not in self._told:
                self._told.add(instance.name)
                yield Notice(instance.name, _TOLD)


def _answered(network: libvirt.virNetwork) -> Mapping[str, float]:
    """When each MAC was answered last, in seconds since the epoch: a lease runs from then."""
    return {str(lease["mac"]): float(lease["expirytime"]) - _LEASE_S for lease in network.DHCPLeases()}
