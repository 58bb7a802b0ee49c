"""Interfaces, addresses and the firewall."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unattend.windows.checks.file import File
from unattend.windows.checks.place import Place, Report, short
from unattend.windows.checks.placeholder import is_placeholder

_INTERFACE = ("ipv4settings", "ipv6settings", "identifier", "unicastipaddresses", "routes")
_MAC_WITH_COLONS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def check(file: File, report: Report) -> None:
    """Everything about the network."""
    for home in file.named("TCPIP"):
        _interfaces(home.find("interfaces/interface"), report)
    for name in ("TCPIP", "DNS-Client", "NetBT"):
        for home in file.named(name):
            _identifiers(home.find("interfaces/interface/identifier"), report)
    for home in file.named("Networking-MPSSVC-Svc"):
        _firewall(home.find("firewallgroups/firewallgroup/group"), report)


def _interfaces(found: Iterable[Place], report: Report) -> None:
    for interface in found:
        order = [name for one in interface.children if (name := one.name.casefold()) in _INTERFACE]
        if order != sorted(order, key=_INTERFACE.index):
            message = "the settings of the interface are not in the order that the reference demands"
            mend = "Ipv4Settings, Ipv6Settings, Identifier, UnicastIpAddresses, Routes"
            report.doubt(interface, "interface-order", message, mend)


def _identifiers(found: Iterable[Place], report: Report) -> None:
    for identifier in found:
        if _MAC_WITH_COLONS.fullmatch(identifier.text):
            message = f"a MAC address is written with hyphens there: {short(identifier.text)}"
            report.doubt(identifier, "identifier", message, f"write {identifier.text.replace(':', '-')}")


def _firewall(found: Iterable[Place], report: Report) -> None:
    for group in found:
        if group.text and not group.text.startswith("@") and not is_placeholder(group.text):
            message = f"the firewall group {short(group.text)} has that name only in one language of Windows"
            mend = "write its resource, for example @FirewallAPI.dll,-28752 for Remote Desktop"
            report.warning(group, "firewall-group", message, mend)
