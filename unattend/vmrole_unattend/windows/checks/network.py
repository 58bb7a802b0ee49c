"""Interfaces, addresses and the firewall."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping

from vmrole_unattend.windows.checks.file import TRUE, File
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
                        several = place.name.casefold() == "ipaddress" and re.search(r"[,;\s]", place.text)
                        mend = f"write an <{place.name}> for each" if several else f"such as {example}"
                        report.doubt(place, "address", f"{short(place.text)} is no {what}", mend)
    for home in file.named("TCPIP"):
        _addresses(home, report)
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
    for interface in home.find("interfaces/interface"):
        if interface.children and interface.child("identifier") is None and interface.mark("action") != "remove":
            message = "the interface is not named, so Windows does not know which one is meant"
            report.doubt(interface, "identifier", message, "add <Identifier> with its MAC address")
    seen: dict[str, Place] = {}
    for identifier in home.find("interfaces/interface/identifier"):
        if not identifier.text or report.awaits(identifier, identifier.text):
            continue
        digits = re.sub("[^0-9A-Fa-f]", "", identifier.text)
        if _MAC.fullmatch(identifier.text):
            right = "-".join(digits[at : at + 2] for at in range(0, 12, 2))
            message = f"a MAC address is written with hyphens there: {short(identifier.text)}"
            report.doubt(identifier, "identifier", message, f"write {right}")
        _mac(identifier, report)
        key = digits.casefold() if len(digits) == 12 else identifier.text.casefold()
        if key in seen:
            message = f"the interface {short(identifier.text)} is there twice, first on line {seen[key].line}"
            report.doubt(identifier, "identifier", message, "put all of it into one <Interface>")
        seen.setdefault(key, identifier)


def _mac(identifier: Place, report: Report) -> None:
    """What is written as the address of a card, and is none."""
    if re.fullmatch(r"[0-9A-Za-z]{2}([-:.][0-9A-Za-z]{2}){4,7}", identifier.text) is None:
        return
    octets = re.split("[-:.]", identifier.text)
    message = ""
    if len(octets) != 6 or not all(re.fullmatch("[0-9A-Fa-f]{2}", one) for one in octets):
        message = f"{short(identifier.text)} is no MAC address: six pairs of 0 to 9 and A to F"
    elif int(octets[0], 16) & 1 or not any(int(one, 16) for one in octets):
        message = f"no card has the address {short(identifier.text)}: it is a group's, or nobody's"
    if message:
        report.doubt(identifier, "identifier", message, "such as 52-54-00-12-34-56")


_Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


def _addresses(home: Home, report: Report) -> None:
    """Addresses of the right shape that no interface can have, and gateways that it cannot reach."""
    seen: dict[str, Place] = {}
    for interface in home.find("interfaces/interface"):
        group = interface.child("unicastipaddresses")
        own: list[_Interface] = []
        for place in group.children if group is not None else []:
            if not _is_unicast(place.text):
                continue
            address = ipaddress.ip_interface(place.text)
            own.append(address)
            why = _unfit(address)
            if why:
                report.doubt(place, "address", f"{short(place.text)} is {why}", "write the interface's own address")
            elif str(address.ip) in seen:
                message = f"the address {address.ip} is there twice, first on line {seen[str(address.ip)].line}"
                report.doubt(place, "address", message, "keep one")
            seen.setdefault(str(address.ip), place)
        settings = interface.child("ipv4settings")
        dhcp = settings.child("dhcpenabled") if settings is not None else None
        if dhcp is not None and dhcp.text.casefold() in TRUE and any(one.version == 4 for one in own):
            message = "DhcpEnabled is true, and an address of its own is there"
            report.doubt(dhcp, "address", message, "write false, or remove UnicastIpAddresses")
        _routes(interface, own, report)


def _unfit(address: _Interface) -> str:
    """Why no interface has that address; "" for one that it may have."""
    network, ip = address.network, address.ip
    if ip.is_unspecified or ip.is_loopback or ip.is_multicast:
        return "no address of a card"
    if address.version == 4 and network.prefixlen < 31:
        if ip == network.network_address:
            return "the network itself"
        if ip == network.broadcast_address:
            return "everybody in the network"
    return ""


def _routes(interface: Place, own: list[_Interface], report: Report) -> None:
    group = interface.child("routes")
    seen: set[str] = set()
    for route in group.children if group is not None else []:
        number, hop, prefix = (route.child(one) for one in ("identifier", "nexthopaddress", "prefix"))
        if number is not None and number.text and number.text in seen:
            report.doubt(number, "order", f"the route {short(number.text)} is there twice", "number them all")
        seen.add(number.text if number is not None else "")
        if hop is None or not _is_address(hop.text):
            continue
        gateway = ipaddress.ip_address(hop.text)
        same = [one for one in own if one.version == gateway.version]
        network = prefix.text if prefix is not None and "/" in prefix.text and _is_prefix(prefix.text) else ""
        if network and ipaddress.ip_network(network).version != gateway.version:
            message = f"the gateway {gateway} and the network {short(network)} are of two kinds"
            report.doubt(hop, "address", message, "write an IPv4 gateway for an IPv4 network, IPv6 for IPv6")
        elif any(one.ip == gateway for one in same):
            report.doubt(hop, "address", f"the gateway {gateway} is the interface itself", "write the router's")
        elif same and not gateway.is_link_local and not any(gateway in one.network for one in same):
            message = f"the gateway {gateway} is in no network of the interface, so it is not reached"
            report.doubt(hop, "address", message, "write one in the network, or a wider prefix")


def _firewall(found: Iterable[Place], report: Report) -> None:
    numbers = {name.casefold(): (name, f"@FirewallAPI.dll,{number}") for name, number in GROUPS.items()}
    for group in found:
        if not group.text or report.awaits(group, group.text):
            continue
        if (bare := re.fullmatch(r"(@[^.,;\\/]+)(,\s*-?\d+)", group.text)) is not None:
            message = f"{short(group.text)} names no file that holds a resource, so no group is called so"
            report.warning(group, "firewall-group", message, f"write {bare[1][:40]}.dll{bare[2][:12]}")
            continue
        if group.text.startswith("@"):
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
    return re.search(r"%(?!\d{1,9}$)", text) is None and _parses(ipaddress.ip_address, text)  # fe80::1%12: a card


def _is_unicast(text: str) -> bool:
    """An address with the length of its network, as Setup wants it."""
    return re.fullmatch(r"[^%]+/\d{1,3}", text) is not None and _parses(ipaddress.ip_interface, text)


def _is_domain(text: str) -> bool:
    return len(text) < 256 and re.fullmatch(r"[\w]([\w-]{0,61}\w)?(\.\w([\w-]{0,61}\w)?)*\.?", text) is not None


def _is_prefix(text: str) -> bool:
    """A network, whose address is zero behind its length; a number alone is a length to NextHopAddress."""
    if text.isdecimal():
        return int(text[:4]) <= 128
    return re.fullmatch(r"[^%]+/\d{1,3}", text) is not None and _parses(ipaddress.ip_network, text)


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
    "dnsdomain": (_is_domain, "DNS domain", "example.com"),
    "interfaces/interface/dnsdomain": (_is_domain, "DNS domain", "example.com"),
    "dnssuffixsearchorder/domainname": (_is_domain, "DNS domain", "example.com"),
    "interfaces/interface/routes/route/prefix": (_is_prefix, "network", "0.0.0.0/0, which is every address"),
}
