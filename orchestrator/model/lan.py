"""What a role says of its instances' network, and the card that one has on a bridge of the host's."""

from __future__ import annotations

import dataclasses
import hashlib
import ipaddress
from typing import Final

from orchestrator.model.naming import MAC_PREFIX, TAP_PREFIX

LINK: Final = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$"  # IFNAMSIZ less its zero
MTU_LEAST: Final = 1280  # below it Linux has no IPv6
MTU_MOST: Final = 9000
DHCP: Final = "dhcp"  # as a gateway: the one that a DHCP server of the bridge's network tells of


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoleNetwork:
    """What a role's instances have beside, and other than, what every private network gives."""

    bridge: str = ""  # of the host, which others have made; "": the private network alone
    addresses: tuple[
        str, ...
    ] = ()  # on it, IPv4 in CIDR: the first is that of index 0; (): its DHCP server gives them
    gateway: str = ""  # the way to everywhere, by the bridge, or DHCP; "": by the private network
    dns: tuple[str, ...] = ()  # whom they ask for names; (): the private network's own name server
    search: tuple[str, ...] = ()  # domains in which they look for names
    proxy: str = ""  # a URL, that what installs packages asks; "": none
    mtu: int | None = None  # bytes, of the card on the bridge, or without one of the private card; None: as usual

    @property
    def by_dhcp(self) -> bool:
        """Whether a DHCP server of the bridge's network gives the addresses on it."""
        return bool(self.bridge) and not self.addresses

    @property
    def is_static(self) -> bool:
        """Whether the guest has its place in the private network written down: DHCP would say something else."""
        return bool(self.gateway or self.dns or self.search)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LanNic:
    """An instance's card on a bridge of the host's: told by the records alone, never learned from the guest."""

    mac: str
    tap: str  # host-side interface, <= 15 chars
    bridge: str
    address: str  # in CIDR; "": a DHCP server gives it one
    given: str = ""  # which that has given it; "": none, as far as is known
    gateway: str = ""
    mtu: int | None = None  # bytes; None: the bridge's

    @property
    def ip(self) -> str:
        """Its address without the length of the network's; "" while it has none."""
        return str(ipaddress.ip_interface(self.address).ip) if self.address else self.given

    @property
    def by_dhcp(self) -> bool:
        """Whether a DHCP server gives it its address."""
        return not self.address


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """That a DHCP server on a bridge of the host's has given a card of ours an address, by its own word."""

    tap: str  # the card's host-side interface
    address: str
    at_s: float  # seconds since the epoch, to a second or so


def lan_nic(network: RoleNetwork, index: int, uid: str, other_mac: str, given: str = "") -> LanNic | None:
    """The card of the instance of that index; None where its role names no bridge, or addresses and none for it.

    `given`: the address that it has by DHCP.

    Its MAC is made of the instance's uid: no other host's instance in the same network has it, as it might have one
    that is made of a private address. It stays through reimages. `other_mac` is that of its private card.
    """
    if not network.bridge or (network.addresses and index >= len(network.addresses)):
        return None
    found = hashlib.sha256(f"lan {uid}".encode()).digest()
    macs = (f"{MAC_PREFIX}:{found[at : at + 3].hex(':')}" for at in range(2))
    return LanNic(
        mac=next(one for one in macs if one != other_mac),
        tap=TAP_PREFIX + found.hex()[:10],
        bridge=network.bridge,
        address=network.addresses[index] if network.addresses else "",
        given=given if network.by_dhcp else "",
        gateway=network.gateway,
        mtu=network.mtu,
    )
