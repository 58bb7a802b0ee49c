"""The cards that a network was laid for, told by what stands on the host: no record is asked. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.drivers.network.network_xml import Described
from orchestrator.model import InstanceName, Nic, Service, by_card


def cards(service: Service, there: Described, taps: Mapping[str, str]) -> dict[InstanceName, Nic]:
    """By the names under which reservations are found; `taps` are those of guards, by MAC. Whoever lacks one is left
    out: without a guard nothing was let through.
    """
    network, macs = service.network, {address: mac for mac, address, _ in there.dhcp}
    found: dict[InstanceName, Nic] = {}
    for address, names in there.dns:
        mac = macs.get(address, "")
        tap = taps.get(mac, "")
        for name in names if tap else ():
            if name.endswith(f".{service.name}"):
                found[InstanceName(name)] = Nic(
                    mac=mac,
                    address=address,
                    tap=tap,
                    gateway=network.gateway,
                    prefix_length=network.prefix_length,
                    address6=by_card(network.subnet6, mac) if network.subnet6 else "",
                )
    return found
