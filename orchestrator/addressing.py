"""Addresses, decided: which network, DIP, MAC and interface names a service and its instances get. Pure.

What is decided here is recorded in the same commit as what it is for, so nothing is given out twice.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from orchestrator.errors import Conflict
from orchestrator.model import Nic, ServiceNetwork

SERVICE_PREFIX = 24
FIRST_HOST = 10  # .1 is the host itself; .2 to .9 stay free for what a service may once need
LAST_HOST = 254
BRIDGE_PREFIX = "vrb-"
TAP_PREFIX = "vrt-"
_MAC_PREFIX = "52:54:00"  # QEMU's own, locally administered


def allocate_network(service: str, pool: str, taken: Iterable[ServiceNetwork]) -> ServiceNetwork:
    """The first free /24 of `pool` (CIDR), with a bridge name of at most 15 characters. Raises Conflict when full."""
    networks = list(taken)
    used = {ipaddress.ip_network(one.subnet) for one in networks}
    names = {one.bridge for one in networks}
    for subnet in ipaddress.ip_network(pool).subnets(new_prefix=SERVICE_PREFIX):
        if not any(subnet.overlaps(other) for other in used):
            return ServiceNetwork(
                name=f"vmrole-{service}",
                bridge=_unique(BRIDGE_PREFIX, service, names),
                subnet=str(subnet),
                gateway=str(subnet.network_address + 1),
            )
    raise Conflict(
        f"no private network is left for service {service} in {pool}",
        hint="delete a service, or set a larger network_pool",
    )


def allocate_nic(network: ServiceNetwork, taken: Iterable[Nic], instance: str) -> Nic:
    """The lowest free DIP of the network, a MAC and a tap name that nobody has. Raises Conflict when full."""
    nics = list(taken)
    used = {one.address for one in nics}
    base = ipaddress.ip_network(network.subnet).network_address
    for number in range(FIRST_HOST, LAST_HOST + 1):
        address = str(base + number)
        if address not in used:
            tap = _unique(TAP_PREFIX, f"{network.subnet} {instance}", {one.tap for one in nics})
            return Nic(mac=_mac(network, instance, {one.mac for one in nics}), address=address, tap=tap)
    raise Conflict(
        f"no address is left for {instance} in {network.subnet}",
        hint=f"a service has room for {LAST_HOST - FIRST_HOST + 1} instances: scale down or use another service",
    )


def _unique(prefix: str, seed: str, taken: set[str]) -> str:
    """`prefix` and a hash of `seed`, at most 15 characters (IFNAMSIZ less its zero), not among `taken`."""
    for attempt in range(1000):
        name = prefix + hashlib.sha256(f"{seed} {attempt}".encode()).hexdigest()[:10]
        if name not in taken:
            return name
    raise Conflict(f"no interface name is left for {seed}")


def _mac(network: ServiceNetwork, instance: str, taken: set[str]) -> str:
    for attempt in range(1000):
        digest = hashlib.sha256(f"{network.subnet} {instance} {attempt}".encode()).hexdigest()
        mac = ":".join([_MAC_PREFIX, digest[:2], digest[2:4], digest[4:6]])
        if mac not in taken:
            return mac
    raise Conflict(f"no MAC address is left for {instance}")
