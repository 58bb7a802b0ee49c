"""A service's private network as libvirt's XML, and back. Pure: no I/O, no libvirt.

What is decided here, and why:

- `forward mode='open'`: libvirt routes but adds no firewall rules; ours are complete, and two authors of one firewall
  end in surprises.
- DHCP knows reservations only: there is no range from which a stranger could be served.
- Each reservation names the guest, so a name that a guest claims in its DHCP request is not believed.
- dnsmasq goes by the card alone: the identifier that a client makes of its machine-id is the same in all copies of an
  image that somebody made by hand, and they would take each other's lease away.
- What the host's own file of names says is not told to guests: one of them may be called as a role is.
- By IPv6 guests are told of the network and of the router alone: each makes its address of its card. For names they
  ask by IPv4.
- The domain is local only, and plain names are not forwarded: what a service calls its instances stays on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from lxml import etree

from orchestrator.drivers.tools import untrusted_xml
from orchestrator.model import Instance, Service, service_of

NAMESPACE: Final = "https://vmrole.dev/network/1"  # of our metadata; a name, never fetched
_PREFIX: Final = "vmrole"
_DNSMASQ: Final = "http://libvirt.org/schemas/network/dnsmasq/1.0"
OPTIONS: Final = frozenset({"dhcp-ignore-clid", "no-hosts"})  # of dnsmasq, those that libvirt has no words for
OPTIONS6: Final = frozenset({"dhcp-option=option6:dns-server", "dhcp-option=option6:domain-search"})


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Reservation:
    """One instance's place: the address that its MAC gets, and the names under which it is found."""

    mac: str
    address: str
    hostname: str
    names: tuple[str, ...]

    def dhcp_xml(self) -> str:
        """As section VIR_NETWORK_SECTION_IP_DHCP_HOST takes it."""
        return etree.tostring(self._dhcp(), encoding="unicode")

    def dns_xml(self) -> str:
        """As section VIR_NETWORK_SECTION_DNS_HOST takes it."""
        return etree.tostring(self._dns(), encoding="unicode")

    def _dhcp(self) -> etree._Element:
        return etree.Element("host", {"mac": self.mac, "name": self.hostname, "ip": self.address})

    def _dns(self) -> etree._Element:
        host = etree.Element("host", {"ip": self.address})
        for name in self.names:
            etree.SubElement(host, "hostname").text = name
        return host


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a network's XML says of it. `service` is "" when it does not carry our metadata."""

    service: str
    bridge: str
    gateway: str
    mode: str
    dhcp: frozenset[tuple[str, str, str]]  # mac, address, host name
    dns: frozenset[tuple[str, tuple[str, ...]]]  # address, names
    options: frozenset[str]  # given to dnsmasq as they are
    gateway6: str = ""
    uuid: str = ""
    mac: str = ""  # the bridge's
    installation: str = ""  # whose it is; "" when a former version made it, which did not say so


def reservation(instance: Instance) -> Reservation:
    """`web-0` at its MAC and DIP, found as `web-0` and as `web-0.shop`.

    So in a second deployment as well, whose instances are called `web-0.shop--b`: what a file tells guests of each
    other means those of their own deployment in both.
    """
    names = (instance.hostname, f"{instance.hostname}.{service_of(instance.service)}", str(instance.name))
    return Reservation(instance.nic.mac, instance.nic.address, instance.hostname, tuple(dict.fromkeys(names)))


def render(
    service: Service,
    reservations: Sequence[Reservation],
    *,
    instead_of: Described | None = None,
    installation: str = "",
    names: Path | None = None,
) -> str:
    """The libvirt network of the service, marked with whose it is.

    `names`: the directory of the files with names of its roles, absolute.

    `instead_of` is the one of that name, if it shall be the same network.
    """
    network = service.network
    root = etree.Element("network")
    etree.SubElement(root, "name").text = network.name
    if instead_of is not None:
        etree.SubElement(root, "uuid").text = instead_of.uuid
        etree.SubElement(root, "mac", {"address": instead_of.mac})
    metadata = etree.SubElement(root, "metadata")
    ours = {"service": service.name} | ({"installation": installation} if installation else {})
    etree.SubElement(metadata, f"{{{NAMESPACE}}}network", ours, nsmap={_PREFIX: NAMESPACE})
    etree.SubElement(root, "forward", {"mode": "open"})
    etree.SubElement(root, "bridge", {"name": network.bridge, "stp": "off", "delay": "0"})
    etree.SubElement(root, "domain", {"name": service.name, "localOnly": "yes"})
    dns = etree.SubElement(root, "dns", {"forwardPlainNames": "no"})
    place = etree.SubElement(root, "ip", {"address": network.gateway, "prefix": str(network.prefix_length)})
    dhcp = etree.SubElement(place, "dhcp")
    for one in sorted(reservations):
        dns.append(one._dns())
        dhcp.append(one._dhcp())
    if network.subnet6:
        etree.SubElement(root, "ip", {"family": "ipv6", "address": network.gateway6, "prefix": "64"})
    options = etree.SubElement(root, f"{{{_DNSMASQ}}}options", nsmap={"dnsmasq": _DNSMASQ})
    options6 = OPTIONS6 if network.subnet6 else set()
    for option in sorted(OPTIONS | options6 | ({f"hostsdir={names}"} if names else set())):
        etree.SubElement(options, f"{{{_DNSMASQ}}}option", {"value": option})
    return etree.tostring(root, pretty_print=True, encoding="unicode")


def describe(xml: str) -> Described:
    """Reads a network's XML as libvirt returns it. Raises ValueError when it is not XML."""
    try:
        root = untrusted_xml.parsed(xml)
    except etree.XMLSyntaxError as error:
        raise ValueError(f"not a network: {error}") from error
    ours = root.find(f"metadata/{{{NAMESPACE}}}network")
    forward, bridge = root.find("forward"), root.find("bridge")
    places = {one.get("family") or "ipv4": f"{one.get('address')}/{_length(one)}" for one in root.iterfind("ip")}
    return Described(
        service="" if ours is None else ours.get("service", ""),
        installation="" if ours is None else ours.get("installation", ""),
        bridge="" if bridge is None else bridge.get("name", ""),
        gateway=places.get("ipv4", ""),
        gateway6=places.get("ipv6", ""),
        mode="" if forward is None else forward.get("mode", ""),
        dhcp=frozenset(_dhcp_hosts(root.iterfind("ip/dhcp/host"))),
        dns=frozenset(
            (host.get("ip", ""), tuple(name.text or "" for name in host.iterfind("hostname")))
            for host in root.iterfind("dns/host")
        ),
        options=frozenset(
            one.get("value", "") for one in root.iterfind(f"{{{_DNSMASQ}}}options/{{{_DNSMASQ}}}option")
        ),
        uuid=root.findtext("uuid", ""),
        mac="" if (mac := root.find("mac")) is None else mac.get("address", ""),
    )


def _length(place: etree._Element) -> str:
    return str(place.get("prefix") or place.get("netmask"))


def dhcp_host_xml(mac: str, address: str, hostname: str) -> str:
    """A reservation as `describe` read it, for taking it away."""
    return Reservation(mac, address, hostname, ()).dhcp_xml()


def dns_host_xml(address: str, names: tuple[str, ...]) -> str:
    """A name entry as `describe` read it, for taking it away."""
    return Reservation("", address, "", names).dns_xml()


def _dhcp_hosts(hosts: Iterable[etree._Element]) -> Iterable[tuple[str, str, str]]:
    for host in hosts:
        yield host.get("mac", ""), host.get("ip", ""), host.get("name", "")
