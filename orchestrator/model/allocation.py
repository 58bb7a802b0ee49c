"""What we allocate for a service: its private network, its instances' cards."""

from __future__ import annotations

import dataclasses
import ipaddress

from orchestrator.model.template import ServiceSpec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceNetwork:
    """The private network of one service. `subnet` in CIDR; the host is `gateway` on `bridge` (<= 15 chars)."""

    name: str  # libvirt network: "vmrole-shop"
    bridge: str
    subnet: str
    gateway: str

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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service as recorded: the spec belongs to the API, so does `removing`; the network is allocated once.

    `uid` is another when a service of the same name is deployed again.
    """

    spec: ServiceSpec
    network: ServiceNetwork
    removing: bool = False
    created_at_s: float = 0.0
    uid: str = ""  # "": an earlier version has recorded it, and nobody has applied it since
    file_revision: int = 0  # the number of the newest `Revision`, which is what the spec is; 0: none is kept yet
    revision: int = 0

    @property
    def name(self) -> str:
        """The name under which everything of the service is found."""
        return self.spec.name
