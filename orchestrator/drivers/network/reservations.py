"""Addresses and names that dnsmasq gives the guests of a network, changed one at a time while it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import libvirt

from orchestrator.drivers.network import network_xml
from orchestrator.drivers.network.network_xml import Described

LIVE: Final = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
CONFIG: Final = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
_DHCP, _DNS = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, libvirt.VIR_NETWORK_SECTION_DNS_HOST
_ADD, _DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE


def change(network: libvirt.virNetwork, now: Described, wanted: Described, scope: int) -> None:
    """Makes reservations and names as wanted, one at a time; dnsmasq reads them again and nobody else notices."""
    for section, here, there, xml in (
        (_DHCP, now.dhcp, wanted.dhcp, network_xml.dhcp_host_xml),
        (_DNS, now.dns, wanted.dns, network_xml.dns_host_xml),
    ):
        _update(network, section, _DELETE, sorted(here - there), xml, scope)
        _update(network, section, _ADD, sorted(there - here), xml, scope)


def _update(
    network: libvirt.virNetwork,
    section: int,
    command: int,
    hosts: Sequence[tuple[object, ...]],
    xml: Callable[..., str],
    scope: int,
) -> None:
    for host in hosts:
        network.update(command, section, -1, xml(*host), scope)
