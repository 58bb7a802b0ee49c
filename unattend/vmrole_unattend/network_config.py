"""The network of a guest with one interface: asked of DHCP, or written down; in the words of cloud-init or OpenStack.

Which disc the result stands on is not known here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable
from typing import TypeVar

from vmrole_unattend.errors import AnswersInvalid

ENTRY = "eth{}"  # what our entries are called: a guest's interfaces keep the names that its system gives them

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
# Python would take a mask for a prefix length, and any text at all as the zone of an IPv6 address.
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}(/[0-9]{1,3})?")
_WORSE = 4096  # than what any renderer gives a way by itself (1024 is networkd's)
_DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One interface, known by its `mac` (52:54:00:… in lower case). `address` in CIDR; DHCP gives one when empty.

    `address6` in CIDR and `gateway6` come besides, whatever routers say. Of what DHCP tells, `routes` and `names` say
    whether the ways to other networks, and the servers for names, are taken.
    """

    mac: str
    address: str = ""
    gateway: str = ""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    address6: str = ""
    gateway6: str = ""
    routes: bool = True
    names: bool = True


def check(network: Network) -> None:
    """Raises AnswersInvalid, naming the field, for what cannot be an interface's."""
    if not _MAC.fullmatch(network.mac):
        raise AnswersInvalid(
            f"{network.mac[:80]!r} cannot be used",
            where="mac",
            hint="use six bytes in lower case, like 52:54:00:12:34:56",
        )
    _check6(network)
    if not network.address:
        for where, given in (("gateway", network.gateway), ("dns", network.dns), ("search", network.search)):
            if given:
                raise AnswersInvalid(
                    "means nothing without an address: DHCP tells it", where=where, hint="give the address, too"
                )
        return
    own = _parsed(ipaddress.ip_interface, network.address, "address", "an address in CIDR, like 192.0.2.10/24")
    if "/" not in network.address or (own.ip == own.network.network_address and own.network.num_addresses > 2):
        raise AnswersInvalid(
            f"{network.address!r} is no address of one machine",
            where="address",
            hint="use an address in CIDR, like 192.0.2.10/24",
        )
    if network.gateway:
        gateway = _parsed(ipaddress.ip_address, network.gateway, "gateway", "an address, like 192.0.2.1")
        if gateway not in own.network or gateway == own.ip:
            raise AnswersInvalid(
                f"{gateway} cannot be reached from {own}",
                where="gateway",
                hint=f"use another address of {own.network}",
            )
    for domain in network.search:
        if not _DOMAIN.fullmatch(domain):
            raise AnswersInvalid(
                f"{domain[:80]!r} cannot be used", where="search", hint="use domains, like corp.example"
            )
    for server in network.dns:
        _parsed(ipaddress.ip_address, server, "dns", "addresses, like 192.0.2.53")


def _check6(network: Network) -> None:
    """Both or none, of one network."""
    if not network.address6 and not network.gateway6:
        return
    right = "an address in CIDR, like fd12:3456:789a::10/64"
    own = _parsed(ipaddress.IPv6Interface, network.address6, "address6", right)
    gateway = _parsed(ipaddress.IPv6Address, network.gateway6, "gateway6", "an address, like fd12:3456:789a::1")
    if gateway not in own.network or gateway == own.ip:
        hint = f"use another address of {own.network}"
        raise AnswersInvalid(f"{gateway} cannot be reached from {own}", where="gateway6", hint=hint)


def version_2(*networks: Network) -> dict[str, object]:
    """cloud-init's network-config, version 2, as netplan has it.

    The interface is found by its MAC and keeps its name: to give it another one fails where something has used it
    before cloud-init (an initramfs that asked DHCP), and what is configured then by a name that nobody has is no
    network. cloud-init itself tells renderers that go by names which one has that MAC. By DHCP a guest is known by
    its card: what networkd makes of the machine-id is the same in copies of an image that kept one. The route to
    everywhere is in numbers, because not every renderer knows the word `default`.
    """
    return {"version": 2, "ethernets": {ENTRY.format(at): _entry(one) for at, one in enumerate(networks)}}


def _entry(network: Network) -> dict[str, object]:
    interface: dict[str, object] = {"match": {"macaddress": network.mac}}
    addresses, routes = [], []
    if not network.address:
        interface |= {"dhcp4": True, "dhcp-identifier": "mac", **_overrides(network)}
    else:
        addresses.append(network.address)
        if network.gateway:
            routes.append({"to": str(_everywhere(network)), "via": network.gateway})
    if network.address6:
        addresses.append(network.address6)
        routes.append({"to": "::/0", "via": network.gateway6})
    if addresses:
        interface["addresses"] = addresses
    if routes:
        interface["routes"] = routes
    if network.address and network.dns:
        searched = {"search": list(network.search)} if network.search else {}
        interface["nameservers"] = {"addresses": list(network.dns), **searched}
    return interface


def _overrides(network: Network) -> dict[str, object]:
    """What is not taken of DHCP. A renderer that cannot leave ways out (ifupdown, sysconfig) has them be worse."""
    ways = {} if network.routes else {"use-routes": False, "route-metric": _WORSE}
    names = {} if network.names else {"use-dns": False}
    return {"dhcp4-overrides": {**ways, **names}} if ways or names else {}


def network_data(network: Network, link: str) -> dict[str, object]:
    """OpenStack's network_data.json; Windows calls the interface `link`. Masks are written out, as nova does."""
    entry: dict[str, object] = {"id": "network0", "link": link, "network_id": "network0"}
    servers = [{"type": "dns", "address": server} for server in network.dns]
    if not network.address:
        entry["type"] = "ipv4_dhcp"
    else:
        own, everywhere = ipaddress.ip_interface(network.address), _everywhere(network)
        entry |= {"type": f"ipv{own.version}", "ip_address": str(own.ip), "netmask": str(own.netmask)}
        entry["routes"] = (
            [
                {
                    "network": str(everywhere.network_address),
                    "netmask": str(everywhere.netmask),
                    "gateway": network.gateway,
                }
            ]
            if network.gateway
            else []
        )
        entry["services"] = servers
    links = [{"id": link, "type": "phy", "ethernet_mac_address": network.mac}]
    return {"links": links, "networks": [entry, *_entries6(network, link)], "services": servers}


def _entries6(network: Network, link: str) -> list[dict[str, object]]:
    if not network.address6:
        return []
    own = ipaddress.IPv6Interface(network.address6)
    entry: dict[str, object] = {"id": "network1", "link": link, "network_id": "network1", "type": "ipv6"}
    entry |= {"ip_address": str(own.ip), "netmask": str(own.netmask), "services": []}
    return [{**entry, "routes": [{"network": "::", "netmask": "::", "gateway": network.gateway6}]}]


def _everywhere(network: Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network("0.0.0.0/0" if ipaddress.ip_interface(network.address).version == 4 else "::/0")


def _parsed(parse: Callable[[str], _T], text: str, where: str, right: str) -> _T:
    unusable = AnswersInvalid(f"{text[:80]!r} cannot be used", where=where, hint=f"use {right}")
    if not _ADDRESS.fullmatch(text):
        raise unusable
    try:
        return parse(text)
    except ValueError as error:
        raise unusable from error
