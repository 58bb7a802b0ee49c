"""Addresses, decided: which network, DIP, MAC and interface names a service and its instances get. Pure.

What is decided here is recorded in the same commit as what it is for, so nothing is given out twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Sequence

from orchestrator.errors import Conflict, InvalidInput, Problem
from orchestrator.model import (
    BRIDGE_PREFIX,
    MAC_PREFIX,
    TAP_PREFIX,
    Carrier,
    InstanceName,
    Nic,
    ServiceNetwork,
    ServiceSpec,
    by_card,
    instance_name,
    ip,
)

SERVICE_PREFIX = 24
FIRST_HOST = 10  # .1 is the host itself; .2 to .9 stay free for what a service may once need
LAST_HOST = 254
_SUBNETS6 = 1 << 16  # of a /48
_THIS_NETWORK = ipaddress.IPv4Network("0.0.0.0/8")


def network_name(service: str) -> str:
    """What libvirt calls the network of a service."""
    return f"vmrole-{service}"


def allocate_network(
    service: str, pool: str, taken: Iterable[ServiceNetwork], routed: Iterable[str] = ()
) -> ServiceNetwork:
    """The first free /24 of `pool` (CIDR), with a bridge name of at most 15 characters. Raises Conflict when full.

    `routed` are networks (CIDR) that the host has already, by a VPN, a bridge or instances: none is cut into.
    """
    networks = list(taken)
    used = {ipaddress.ip_network(one.subnet) for one in networks}
    odd = [one for one in used if one.prefixlen != SERVICE_PREFIX]  # from before the pool was cut as it is now
    odd += [ipaddress.ip_network(one) for one in routed]
    names = {one.bridge for one in networks}
    for subnet in ipaddress.ip_network(pool).subnets(new_prefix=SERVICE_PREFIX):
        if subnet not in used and not any(subnet.overlaps(other) for other in odd):
            return ServiceNetwork(
                name=network_name(service),
                bridge=_unique(BRIDGE_PREFIX, service, names),
                subnet=str(subnet),
                gateway=str(subnet.network_address + 1),
            )
    raise Conflict(
        f"no private network is left for service {service} in {pool}",
        hint="delete a service, or set a network_pool that is larger or that no route of the host leads into",
    )


def needs_ipv6(spec: ServiceSpec) -> bool:
    """Whether the kernel sends clients of an IPv6 VIP on to instances: it changes no packet into one of IPv4."""
    by_kernel = any(
        role.instance_endpoints or any(end.carrier is Carrier.NFTABLES for end in role.endpoints)
        for role in spec.roles
    )
    return by_kernel and any(":" in vip for vip in (spec.vip, spec.staging_vip))


def with_ipv6(network: ServiceNetwork, prefix: str, taken: Iterable[ServiceNetwork]) -> ServiceNetwork:
    """The network with a /64 of the installation's /48 that no other has. One that has one keeps it."""
    if network.subnet6:
        return network
    used = {one.subnet6 for one in taken}
    space = ipaddress.IPv6Network(prefix)
    first = int(ipaddress.ip_network(network.subnet).network_address) >> 8  # differs as the /24 of IPv4 does
    for attempt in range(_SUBNETS6):
        number = (first + attempt) % _SUBNETS6
        subnet6 = str(ipaddress.IPv6Network((int(space.network_address) + (number << 64), 64)))
        if subnet6 not in used:
            return dataclasses.replace(network, subnet6=subnet6)
    raise Conflict(f"no network of IPv6 is left in {prefix}", hint="delete a service")


def nic_with_ipv6(nic: Nic, network: ServiceNetwork) -> Nic:
    """The card with its address in the network's `subnet6`, if that has one."""
    return dataclasses.replace(nic, address6=by_card(network.subnet6, nic.mac) if network.subnet6 else "")


def networks_beside(nics: Iterable[Nic]) -> list[str]:
    """The networks (CIDR) that these cards are in, whatever is known of their service."""
    return sorted({str(ipaddress.ip_interface(f"{one.address}/{one.prefix_length}").network) for one in nics})


def check_room(spec: ServiceSpec, present: Collection[InstanceName]) -> None:
    """Raises Conflict when the service's network has not an address for each: those that leave have theirs still."""
    wanted = {instance_name(spec.name, role.name, index) for role in spec.roles for index in range(role.instances)}
    number, room = len(wanted.union(present)), LAST_HOST - FIRST_HOST + 1
    if number > room:
        raise Conflict(
            f"no address is left for {number} instances of service {spec.name}",
            hint=f"a service has room for {room} instances: scale down or use another service",
        )


class TakenNics:
    """What the cards of all instances have already; grows with each that is added."""

    def __init__(self, nics: Iterable[Nic] = ()) -> None:
        self.addresses: set[str] = set()
        self.macs: set[str] = set()
        self.taps: set[str] = set()
        for nic in nics:
            self.add(nic)

    def add(self, nic: Nic) -> None:
        """Another card has these now."""
        self.addresses.add(nic.address)
        self.macs.add(nic.mac)
        self.taps.add(nic.tap)

    def claim(self, words: Iterable[str]) -> None:
        """Whatever of these is an address or a name: somebody has it who cannot be read."""
        for taken in (self.addresses, self.macs, self.taps):
            taken.update(words)


def allocate_nic(network: ServiceNetwork, nics: Iterable[Nic] | TakenNics, instance: str) -> Nic:
    """The lowest free DIP of the network, a MAC and a tap name that nobody has. Raises Conflict when full."""
    taken = nics if isinstance(nics, TakenNics) else TakenNics(nics)
    base = ipaddress.ip_network(network.subnet).network_address
    for number in range(FIRST_HOST, LAST_HOST + 1):
        address = str(base + number)
        if address not in taken.addresses:
            tap = _unique(TAP_PREFIX, f"{network.subnet} {instance}", taken.taps)
            nic = Nic(
                mac=_mac(address, taken.macs),
                address=address,
                tap=tap,
                gateway=network.gateway,
                prefix_length=network.prefix_length,
            )
            return nic_with_ipv6(nic, network)
    raise Conflict(
        f"no address is left for {instance} in {network.subnet}",
        hint=f"a service has room for {LAST_HOST - FIRST_HOST + 1} instances: scale down or use another service",
    )


def refuse_own(vip: str, own: Collection[str], *, key: str = "vip") -> None:
    """Raises InvalidInput for an address that the host has for itself: whatever is asked there would go to a pool."""
    if vip in own:
        hint = "choose a free one of the same network: what is asked at this one is asked of the host, ssh included"
        raise _unfit(key, f"{vip} is this host's own address", hint)


def check_vip(vip: str, pool: str, vip_pool: Sequence[str] | None = None, *, key: str = "vip") -> str:
    """`vip` when it can be a service's virtual address beside the private networks of `pool` (CIDR).

    `key` is what it stands under in the service's file; `vip_pool` are the networks (CIDR) that VIPs are taken from,
    None for any.

    Raises InvalidInput. Whether somebody else has the address is for the host to find out.
    """
    try:
        address = ip.address(vip)
    except ValueError as error:
        raise _unfit(key, f"{vip[:40]!r} is no IP address", "such as 203.0.113.10 or 2001:db8::10") from error
    # RFC 6890: 0.0.0.0/8 and 240.0.0.0/4 (with the broadcast address) name no host anywhere.
    for unfit, why in (
        (address in ipaddress.ip_network(pool), f"lies in {pool}, from which private networks are cut"),
        (address in _THIS_NETWORK, "means 'this network'"),
        (address.is_loopback, "is a loopback address"),
        (address.is_link_local, "is a link-local address"),
        (address.is_multicast, "is a multicast address"),
        (address.is_unspecified, "is no address of anybody"),
        (address.is_reserved, "is reserved"),
    ):
        if unfit:
            raise _unfit(key, f"{vip} {why}", "choose an address of the network that clients are in")
    if vip_pool is not None and not any(address in ipaddress.ip_network(one) for one in vip_pool):
        among = ", ".join(vip_pool) or "none, for vip_interface is in no network"
        raise _unfit(
            key,
            f"{vip} is not among the addresses for services ({among})",
            "choose one of them, or set vip_pool in the configuration of the daemon",
        )
    return str(address)


def _unfit(key: str, fault: str, hint: str) -> InvalidInput:
    fault = f"{key} {fault}"
    return InvalidInput(fault, problems=(Problem(fault, key=key, hint=hint),))


def _unique(prefix: str, seed: str, taken: set[str]) -> str:
    """`prefix` and a hash of `seed`, at most 15 characters (IFNAMSIZ less its zero), not among `taken`."""
    for attempt in range(1000):
        name = prefix + hashlib.sha256(f"{seed} {attempt}".encode()).hexdigest()[:10]
        if name not in taken:
            return name
    raise Conflict(f"no interface name is left for {seed}")


def _mac(address: str, taken: set[str]) -> str:
    """The MAC that goes with a DIP, whoever has it: for an hour dnsmasq refuses an address to any other card.

    Another one only where a network of another pool has it.
    """
    tail = ipaddress.IPv4Address(address).packed[1:]
    for attempt in range(1000):
        mac = f"{MAC_PREFIX}:{tail.hex(':')}"
        if mac not in taken:
            return mac
        tail = hashlib.sha256(f"{address} {attempt}".encode()).digest()[:3]
    raise Conflict(f"no MAC address is left for {address}")
