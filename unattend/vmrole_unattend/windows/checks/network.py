"""Interfaces, addresses and the firewall."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

from vmrole_unattend.windows.checks.file import File
from vmrole_unattend.windows.checks.place import Home, Place, Report, short

_ORDERS = {
    "interfaces/interface": ("Ipv4Settings", "Ipv6Settings", "Identifier", "UnicastIpAddresses", "Routes"),
    "interfaces/interface/routes/route": ("Identifier", "Metric", "NextHopAddress", "Prefix"),
}
"""Groups whose settings the reference wants in this order."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(\.[0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{12}")
"""How a card's address is written elsewhere."""

GROUPS: Mapping[str, str] = {
    "Remote Desktop": "-28752",
    "Windows Remote Management": "-30267",
    "File and Printer Sharing": "-28502",
    "Network Discovery": "-32752",
    "Remote Administration": "-29752",
    "Remote Event Log Management": "-29252",
    "Remote Service Management": "-29502",
    "Remote Scheduled Tasks Management": "-33252",
    "Remote Volume Management": "-34501",
    "Windows Firewall Remote Management": "-30002",
    "Windows Management Instrumentation (WMI)": "-34251",
    "Core Networking": "-25000",
}
"""Groups of Windows' firewall as an English one calls them, and their numbers in FirewallAPI.dll."""


def check(file: File, report: Report) -> None:
    """Everything about the network."""
    for home in file.named("TCPIP"):
        for key, names in _ORDERS.items():
            _order(home.find(key), names, report)
    for name in ("TCPIP", "DNS-Client", "NetBT"):
        for home in file.named(name):
            _identifiers(home, report)
            for key, (shape, what, example) in _SHAPES.items():
                for place in home.find(key):
                    if place.text and not shape(place.text) and not report.awaits(place, place.text):
                        report.doubt(place, "address", f"{short(place.text)} is no {what}", f"such as {example}")
    for home in file.named("Networking-MPSSVC-Svc"):
        _firewall(home.find("firewallgroups/firewallgroup/group"), report)


def _order(found: Iterable[Place], names: tuple[str, ...], report: Report) -> None:
    places = {name.casefold(): at for at, name in enumerate(names)}
    for group in found:
        order = [places[name] for one in group.children if (name := one.name.casefold()) in places]
        if order != sorted(order):
            message = f"the settings of the {group.name.lower()} are not in the order that the reference demands"
            report.doubt(group, "interface-order", message, ", ".join(names))


def _identifiers(home: Home, report: Report) -> None:
    seen: dict[str, Place] = {}
    for identifier in home.find("interfaces/interface/identifier"):
        if not identifier.text or report.awaits(identifier, identifier.text):
            continue
        digits = re.sub("[^0-9A-Fa-f]", "", identifier.text)
        if _MAC.fullmatch(identifier.text):
            right = "-".join(digits[at : at + 2] for at in range(0, 12, 2))
            message = f"a MAC address is written with hyphens there: {short(identifier.text)}"
            report.doubt(identifier, "identifier", message, f"write {right}")
        key = digits.casefold() if len(digits) == 12 else identifier.text.casefold()
        if key in seen:
            message = f"the interface {short(identifier.text)} is there twice, first on line {seen[key].line}"
            report.doubt(identifier, "identifier", message, "put all of it into one <Interface>")
        seen.setdefault(key, identifier)


def _firewall(found: Iterable[Place], report: Report) -> None:
    numbers = {name.casefold(): (name, f"@FirewallAPI.dll,{number}") for name, number in GROUPS.items()}
    for group in found:
        if not group.text or group.text.startswith("@") or report.awaits(group, group.text):
            continue
        if re.fullmatch(r".*\.dll,\s*-?\d+", group.text, re.IGNORECASE):
            message = f"the @ is missing before the resource {short(group.text)}, so no group is called so"
            report.warning(group, "firewall-group", message, f"write @{group.text[:80]}")
            continue
        name, resource = numbers.get(group.text.casefold(), ("Remote Desktop", "@FirewallAPI.dll,-28752"))
        message = f"the firewall group {short(group.text)} has that name only in one language of Windows"
        example = "" if group.text.casefold() in numbers else f"for example, for {name}: "
        report.warning(group, "firewall-group", message, f"write its resource, {example}{resource}")


# Addresses ----------------------------------------------------------------------------------------------------


def _is_address(text: str) -> bool:
    return _parses(ipaddress.ip_address, text)


def _is_unicast(text: str) -> bool:
    """An address with the length of its network, as Setup wants it."""
    return re.fullmatch(r".+/\d{1,3}", text) is not None and _parses(ipaddress.ip_interface, text)


def _is_prefix(text: str) -> bool:
    """A network, whose address is zero behind its length; a number alone is a length to NextHopAddress."""
    if text.isdecimal():
        return int(text[:4]) <= 128
    return re.fullmatch(r".+/\d{1,3}", text) is not None and _parses(ipaddress.ip_network, text)


def _parses(parse: Callable[[str], object], text: str) -> bool:
    try:
        parse(text)
    except ValueError:
        return False
    return True


_SHAPES: Mapping[str, tuple[Callable[[str], bool], str, str]] = {
    "interfaces/interface/dnsserversearchorder/ipaddress": (_is_address, "address of a DNS server", "192.0.2.53"),
    "interfaces/interface/nameserverlist/ipaddress": (_is_address, "address of a name server", "192.0.2.53"),
    "interfaces/interface/unicastipaddresses/ipaddress": (_is_unicast, "address in CIDR", "192.0.2.10/24"),
    "interfaces/interface/routes/route/nexthopaddress": (_is_address, "address of a gateway", "192.0.2.1"),
    "interfaces/interface/routes/route/prefix": (_is_prefix, "network", "0.0.0.0/0, which is every address"),
}
