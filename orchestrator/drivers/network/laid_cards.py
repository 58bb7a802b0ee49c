"""The cards that a network was laid for, told by what stands on the host: no record is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchestrator.drivers.network.network_xml import Described
from orchestrator.drivers.tools import untrusted_xml
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.model import TAP_PREFIX, InstanceName, Nic, Service, by_card


def cards(service: Service, there: Described, taps: Mapping[str, str]) -> dict[InstanceName, Nic]:
    """By the names under which reservations are found; `taps` are those of guards, and of VMs, by MAC. Whoever lacks
    one is left out: without a guard nothing was let through.
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


def plugged(connection: LibvirtConnection, network: str) -> dict[str, str]:
    """The taps of VMs that are in the network, or will be when they are started, by their MACs."""
    with connection.use("cards of VMs") as libvirtd:
        described = [domain.XMLDesc(0) for domain in libvirtd.listAllDomains()]
    return {mac: tap for xml in described for mac, tap in cards_of(xml, network)}


def cards_of(domain_xml: str, network: str) -> Iterator[tuple[str, str]]:
    """MAC and tap of each card that a VM has in the network, by libvirt's XML of it."""
    root = untrusted_xml.parsed(domain_xml)
    for card in root.iterfind("devices/interface"):
        mac, source, target = (card.find(name) for name in ("mac", "source", "target"))
        if mac is None or source is None or target is None or source.get("network") != network:
            continue
        tap = target.get("dev", "")
        if tap.startswith(TAP_PREFIX):
            yield mac.get("address", ""), tap
