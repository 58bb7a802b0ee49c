"""`network:` of a role: a card on a bridge of the host's, whom its guests ask for names, how long packets are."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

from vmrole_unattend.nocloud import PROXY

from orchestrator.errors import Problem
from orchestrator.model import BRIDGE_PREFIX, AnswerFormat, Carrier, Image, Road, Role, RoleNetwork
from orchestrator.model.lan import DHCP, LINK, MTU_LEAST, MTU_MOST
from orchestrator.servicefile.fields import PORT_LAST, Answer, integer, shape_of, shaped, text
from orchestrator.servicefile.reader import Reader, shown
from orchestrator.servicefile.tree import Map

_KEYS: Final = ("bridge", "addresses", "gateway", "dns", "search", "proxy", "mtu")
_SERVERS_MOST: Final = 3  # resolv.conf(5), MAXNS
_DOMAINS_MOST: Final = 6  # likewise, before glibc 2.26
_ADDRESSES_MOST: Final = 100  # instances of a role
_DOMAIN: Final = (
    r"^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
_IPV4: Final = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$"
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")  # RFC 1122: what a machine says that knows no address yet
_CIDR: Final = r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$"


def read_network(reader: Reader, node: Map, at: str) -> RoleNetwork:
    """What stands below `network` of the role `node`; faults are noted."""
    at = f"{at}.network"
    network = reader.keys(node.get("network", Map()), at, _KEYS)
    if network.get("addresses") == DHCP and "bridge" not in network:
        told = "there is no bridge whose DHCP server could be asked"
        reader.fault(f"{at}.addresses", told, "say bridge: NAME, too")
    return RoleNetwork(
        bridge=reader.take(network, at, "bridge", _bridge, ""),
        addresses=reader.take(network, at, "addresses", _addresses, ()),
        gateway=reader.take(network, at, "gateway", _gateway, ""),
        dns=reader.take(network, at, "dns", _list(_address, _SERVERS_MOST, _IPV4), ()),
        search=reader.take(network, at, "search", _list(_domain, _DOMAINS_MOST, _DOMAIN), ()),
        proxy=reader.take(network, at, "proxy", _proxy, ""),
        mtu=reader.take(network, at, "mtu", integer(MTU_LEAST, MTU_MOST), None),
    )


def check_network(reader: Reader, at: str, role: Role) -> None:
    """Notes what does not go together: of the network by itself, and with what else the role says."""
    network, key = role.network, f"{at}.network"
    if not network.bridge:
        for name in ("addresses", "gateway"):
            if getattr(network, name) and not _noted(reader, f"{key}.bridge"):
                reader.fault(f"{key}.{name}", "there is no bridge that it could be on", "say bridge: NAME, too")
        return
    number = len(network.addresses)
    if number and number < role.instances and not _noted(reader, f"{key}.addresses"):
        told = f"{role.instances} instances need an address each, and there are {number}"
        reader.fault(f"{key}.addresses", told, "write as many, or none for DHCP")
    _check_addresses(reader, f"{key}.addresses", network)
    if network.gateway and not _noted(reader, f"{key}.addresses"):
        _check_gateway(reader, f"{key}.gateway", network)
    if role.reimage is not Road.COLD:
        told = (
            f"what is on {network.bridge} is reached by others before it could be kept for a {role.reimage} reimage"
        )
        reader.fault(f"{at}.reimage", told, "leave it out, or leave network.bridge out")
    for end in role.endpoints:
        if end.carrier is Carrier.NFTABLES and not _noted(reader, f"{at}.endpoints.{end.name}"):
            told = "its instances would answer clients by the bridge, as somebody whom these did not ask"
            hint = "say balancer: haproxy, which asks them by the private network (tcp and http)"
            reader.fault(f"{at}.endpoints.{end.name}.balancer", told, hint)
    for own in role.instance_endpoints:
        told = "its instances would answer clients by the bridge, as somebody whom these did not ask"
        reader.fault(f"{at}.endpoints.{own.name}.type", told, "leave it out: clients reach each at its own address")


def check_told(reader: Reader, at: str, network: RoleNetwork, image: Image | None, reads: AnswerFormat) -> None:
    """Notes what nobody would tell a guest of the image."""
    if image is None or reads is AnswerFormat.NOCLOUD:
        return
    for name in ("addresses", "gateway", "dns", "search", "proxy"):
        if getattr(network, name):
            reader.fault(
                f"{at}.network.{name}",
                "only cloud-init is told of it, which this image does not have",
                "leave network out" if name == "addresses" else "leave it out",
            )


def _check_addresses(reader: Reader, key: str, network: RoleNetwork) -> None:
    seen: dict[ipaddress.IPv4Address, int] = {}
    first = ipaddress.IPv4Interface(network.addresses[0]).network if network.addresses else None
    for index, one in enumerate(network.addresses):
        own = ipaddress.IPv4Interface(one)
        if own.ip in seen:
            told = f"{own.ip} is that of index {seen[own.ip]} and of index {index}"
            reader.fault(key, told, "each instance has its own")
        elif own.network != first:
            reader.fault(
                key, f"{one} is not in {first}, as {network.addresses[0]} is", "one network for all of a role"
            )
        elif str(own.ip) == network.gateway:
            reader.fault(key, f"{own.ip} is the gateway as well", "each instance has its own")
        seen.setdefault(own.ip, index)


def _check_gateway(reader: Reader, key: str, network: RoleNetwork) -> None:
    if network.by_dhcp or network.gateway == DHCP:
        if network.by_dhcp and network.gateway != DHCP:
            told = "which network its addresses are in is not known beforehand"
            reader.fault(key, told, f"say gateway: {DHCP}, for the router that the server tells of")
        elif not network.by_dhcp:
            reader.fault(key, "the addresses are written down, and so nobody asks DHCP", "name the router itself")
        return
    subnet = ipaddress.IPv4Interface(network.addresses[0]).network
    gateway = ipaddress.IPv4Address(network.gateway)
    if gateway not in subnet or gateway in (subnet.network_address, subnet.broadcast_address):
        told = f"{gateway} is no address of a router in {subnet}, where the instances are"
        reader.fault(key, told, "name a router of that network, or leave it out")


def _noted(reader: Reader, key: str) -> bool:
    """Whether something is wrong with that already: what follows from it is not told as well."""
    return any(problem.key == key or problem.key.startswith(f"{key}.") for problem in reader.problems)


@shaped(type="string", pattern=LINK)
def _bridge(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(LINK, said):
        return Problem(f"{said[:60]!r} is no name of an interface", hint="one of: ip link show type bridge")
    if said.startswith(BRIDGE_PREFIX):
        hint = "every instance is in its private network anyway; name a bridge that you made"
        return Problem(f"{said} is vmrole's own", hint=hint)
    return said


@shaped(type="string", pattern=_IPV4)
def _address(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    try:
        address = ipaddress.IPv4Address(said)
    except ValueError:
        return Problem(f"{said[:60]!r} is no address of IPv4", hint="such as 192.0.2.1")
    if address in _THIS_NETWORK or address.is_multicast or address.is_loopback or address.is_reserved:
        return Problem(f"{address} is no address of one machine", hint="such as 192.0.2.1")
    return str(address)


def _cidr(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    hint = "an address of IPv4 and the length of its network, such as 192.0.2.10/24"
    address, slash, length = said.partition("/")
    known = _address(address)
    if (
        isinstance(known, Problem)
        or not slash
        or not re.fullmatch("[0-9]{1,2}", length)
        or not 1 <= int(length) <= 30
    ):
        return Problem(f"{said[:60]!r} is no address in CIDR", hint=hint)
    own = ipaddress.IPv4Interface(said)
    if own.ip in (own.network.network_address, own.network.broadcast_address):
        return Problem(f"{own.ip} is the first or last address of {own.network}, and of no machine in it", hint=hint)
    return str(own)


def _domain(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return said
    if not re.fullmatch(_DOMAIN, said):
        return Problem(f"{said[:60]!r} is no name of a domain", hint="such as corp.example")
    return said.lower()


@shaped(type="string", pattern=f"^{PROXY}/?$")
def _proxy(node: object) -> Answer[str]:
    said = text(node)
    if isinstance(said, Problem):
        return Problem("is not a string", hint=said.hint)
    found = re.fullmatch(f"{PROXY}/?", said)
    if found is None or not 1 <= int((found[2] or ":3128")[1:]) <= PORT_LAST:
        return Problem("is no URL of a proxy", hint="such as http://192.0.2.1:3128, without a user and a password")
    return said.removesuffix("/")


def _list(
    one: Callable[[object], Answer[str]], most: int, pattern: str
) -> Callable[[object], Answer[tuple[str, ...]]]:
    """A list of such values, with one at least."""

    @shaped(type="array", items={"type": "string", "pattern": pattern}, minItems=1, maxItems=most)
    def read(node: object) -> Answer[tuple[str, ...]]:
        if not isinstance(node, list) or not node:
            return Problem(f"{shown(node)} is not a list", hint="write [first, second]")
        if len(node) > most:
            return Problem(f"{len(node)} are too many", hint=f"use at most {most}")
        answers = [one(each) for each in node]
        faults = [answer for answer in answers if isinstance(answer, Problem)]
        return faults[0] if faults else tuple(answer for answer in answers if isinstance(answer, str))

    return read


_listed = _list(_cidr, _ADDRESSES_MOST, _CIDR)


@shaped(anyOf=[{"const": DHCP}, shape_of(_listed)])
def _addresses(node: object) -> Answer[tuple[str, ...]]:
    """None of them: a DHCP server gives them."""
    if isinstance(node, str):
        hint = f"write [first, second], each with the length of its network, or {DHCP}"
        return () if node == DHCP else Problem(f"{shown(node)} is not a list", hint=hint)
    return _listed(node)


@shaped(anyOf=[{"const": DHCP}, shape_of(_address)])
def _gateway(node: object) -> Answer[str]:
    return DHCP if node == DHCP else _address(node)
