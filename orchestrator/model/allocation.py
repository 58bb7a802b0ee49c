"""What we allocate for a service: its private network, its instances' cards."""

from __future__ import annotations

import dataclasses
import ipaddress

from orchestrator.model.naming import Slot, service_of
from orchestrator.model.template import ServiceSpec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNetwork:
    """The private network of one service. `subnet` in CIDR; the host is `gateway` on `bridge` (<= 15 chars).

    `subnet6`: its /64 of unique local addresses (RFC 4193); "" while it has had no use for one.
    """

    name: str  # libvirt network: "vmrole-shop"
    bridge: str
    subnet: str
    gateway: str
    subnet6: str = ""

    @property
    def gateway6(self) -> str:
        """The host's address of IPv6, the first of `subnet6`; "" without one."""
        return str(ipaddress.IPv6Network(self.subnet6)[1]) if self.subnet6 else ""

    @property
    def prefix_length(self) -> int:
        """Bits of the netmask, e.g. 24."""
        return ipaddress.ip_network(self.subnet).prefixlen


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Nic:
    """An instance's place in its service's network: allocated by us, never learned from the guest."""

    mac: str
    address: str  # the DIP
    tap: str  # host-side interface, <= 15 chars
    gateway: str = ""  # the host, which is the name server as well
    prefix_length: int = 24
    address6: str = ""  # in the network's `subnet6`, by the card: see `by_card`; "" while that has none

    @property
    def gateway6(self) -> str:
        """The host in the same network of IPv6; "" without one."""
        return str(ipaddress.IPv6Interface(f"{self.address6}/64").network[1]) if self.address6 else ""


def by_card(subnet6: str, mac: str) -> str:
    """The address of a card in a /64 of IPv6, as a guest makes it by itself of what the router says (RFC 4291, A)."""
    card = bytes.fromhex(mac.replace(":", ""))
    end = bytes([card[0] ^ 2]) + card[1:3] + b"\xff\xfe" + card[3:]
    return str(ipaddress.IPv6Network(subnet6).network_address + int.from_bytes(end, "big"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as recorded, or its second deployment, which has a network and instances of its own.

    The spec belongs to the API, so do `removing` and `slot`; the network is allocated once. `uid` is another when a
    service of the same name is deployed again.
    """

    spec: ServiceSpec  # its name is the deployment's
    network: ServiceNetwork
    removing: bool = False
    slot: Slot = Slot.PRODUCTION
    created_at_s: float = 0.0
    uid: str = ""  # "": an earlier version has recorded it, and nobody has applied it since
    file_revision: int = 0  # the number of the newest `Revision`, which is what the spec is; 0: none is kept yet
    revision: int = 0

    @property
    def name(self) -> str:
        """The name under which everything of the deployment is found, whichever slot it is in."""
        return self.spec.name

    @property
    def service(self) -> str:
        """The name that its user gave to the service."""
        return service_of(self.name)

    @property
    def address(self) -> str:
        """What the user calls it now: a service's name alone is what is in production."""
        return self.service if self.slot is Slot.PRODUCTION else f"{self.service}@{self.slot}"

    @property
    def vip(self) -> str:
        """The virtual address of its slot; "" when that has none: its pools stand, and no client reaches them."""
        return self.spec.vip if self.slot is Slot.PRODUCTION else self.spec.staging_vip
