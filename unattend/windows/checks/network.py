"""Interfaces, addresses and the firewall."""

from __future__ import annotations

import re
from collections.abc import Iterable

from unattend.windows.checks.file import File
from unattend.windows.checks.place import Place, Report, short

_ORDERS = {
    "interfaces/interface": ("Ipv4Settings", "Ipv6Settings", "Identifier", "UnicastIpAddresses", "Routes"),
    "interfaces/interface/routes/route": ("Identifier", "Metric", "NextHopAddress", "Prefix"),
}
"""Groups whose settings the reference wants in this order."""

_MAC_WITH_COLONS = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def check(file: File, report: Report) -> None:
    """Everything about the network."""
    for home in file.named("TCPIP"):
        for key, names in _ORDERS.items():
            _order(home.find(key), names, report)
    for name in ("TCPIP", "DNS-Client", "NetBT"):
        for home in file.named(name):
            _identifiers(home.find("interfaces/interface/identifier"), report)
    for home in file.named("Networking-MPSSVC-Svc"):
        _firewall(home.find("firewallgroups/firewallgroup/group"), report)


def _order(found: Iterable[Place], names: tuple[str, ...], report: Report) -> None:
    places = {name.casefold(): at for at, name in enumerate(names)}
    for group in found:
        order = [places[name] for one in group.children if (name := one.name.casefold()) in places]
        if order != sorted(order):
            message = f"the settings of the {group.name.lower()} are not in the order that the reference demands"
            report.doubt(group, "interface-order", message, ", ".join(names))


def _identifiers(found: Iterable[Place], report: Report) -> None:
    for identifier in found:
        if _MAC_WITH_COLONS.fullmatch(identifier.text):
            message = f"a MAC address is written with hyphens there: {short(identifier.text)}"
            report.doubt(identifier, "identifier", message, f"write {identifier.text.replace(':', '-')}")


def _firewall(found: Iterable[Place], report: Report) -> None:
    for group in found:
        if group.text and not group.text.startswith("@") and not report.awaits(group, group.text):
            message = f"the firewall group {short(group.text)} has that name only in one language of Windows"
            mend = "write its resource, for example @FirewallAPI.dll,-28752 for Remote Desktop"
            report.warning(group, "firewall-group", message, mend)
