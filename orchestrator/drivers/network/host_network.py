"""The Network port: a libvirt network per service, the firewall around it, and its VIP on the host.

Order matters: guards stand before the network does, and fall after it. Routing between interfaces is switched on
by libvirt when the network starts (every network with a `forward` element does that); `lay` only puts it back.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import libvirt

from orchestrator.drivers.hypervisor.libvirt_connection import LibvirtConnection
from orchestrator.drivers.network import network_xml
from orchestrator.drivers.network.firewall import Firewall
from orchestrator.drivers.network.network_xml import Described
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.errors import Foreign, Permanent
from orchestrator.model import Instance, Service

log = logging.getLogger(__name__)
_DNS_PORT = 53
_DNSMASQ_S = 1.0
_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")
_NET: Final = Path("/sys/class/net")
_ALL_GROUPS: Final = 0xFFF8  # all but the three that the kernel refuses, BR_GROUPFWD_RESTRICTED
_DHCP, _DNS = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, libvirt.VIR_NETWORK_SECTION_DNS_HOST
_ADD, _DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE
_LIVE, _CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG


class HostNetwork:
    """Networks of one libvirtd and one network namespace. Thread-safe: one service is laid at a time."""

    def __init__(self, connection: LibvirtConnection, vip_interface: str) -> None:
        self._connection = connection
        self._vips = VipAddresses(vip_interface)
        self._firewall = Firewall()
        self._lock = threading.Lock()

    def lay(self, service: Service, instances: Sequence[Instance]) -> None:
        """See ports.Network. Raises Foreign when the network, its bridge or the VIP is somebody else's."""
        with self._lock:
            self._refuse_foreign(service)
            for former in self._firewall.vips(service.name) - {service.spec.vip}:
                self._vips.remove(former)
            self._firewall.allow(service, instances)
            self._lay_network(service, instances)
            _guard_all_frames(service.network.bridge)
            _allow_forwarding()
            if service.spec.vip:
                self._vips.add(service.spec.vip)

    def lift(self, service: Service) -> None:
        """See ports.Network."""
        with self._lock:
            for one in {service.spec.vip, *self._firewall.vips(service.name)}:
                self._vips.remove(one)
            with self._connection.use(f"network {service.network.name}") as connection:
                network = _find(connection, service.network.name)
                if network is not None and _describe(network).service == service.name:
                    _remove(network)
            self._firewall.forget(service.name)

    def inventory(self) -> frozenset[str]:
        """See ports.Network."""
        with self._connection.use("networks") as connection:
            described = [_describe(network) for network in connection.listAllNetworks()]
        return frozenset(one.service for one in described if one.service) | self._firewall.services()

    def drops(self) -> dict[str, int]:
        """Packets that the firewall dropped, by reason."""
        return dict(self._firewall.drops())

    def _refuse_foreign(self, service: Service) -> None:
        name, bridge = service.network.name, service.network.bridge
        with self._connection.use(f"network {name}") as connection:
            network = _find(connection, name)
            if network is None:
                if (_NET / bridge).exists():
                    raise Foreign(
                        f"there is an interface {bridge} that vmrole did not make",
                        hint=f"remove it: ip link del {bridge}",
                    )
            elif _describe(network).service != service.name:
                raise Foreign(
                    f"libvirt network {name} is not vmrole's",
                    hint=f"rename it, or choose another name for {service.name}",
                )

    def _lay_network(self, service: Service, instances: Sequence[Instance]) -> None:
        name = service.network.name
        reservations = [network_xml.reservation(one) for one in instances]
        wanted = network_xml.render(service, reservations)
        with self._connection.use(f"network {name}") as connection:
            network = _find(connection, name)
            if network is not None and not _same_frame(_describe(network), network_xml.describe(wanted)):
                _refuse_in_use(service)
                log.warning("network %s is of another shape; made anew", name)
                _remove(network)
                network = None
            if network is None:
                network = connection.networkDefineXML(wanted)
                network.setAutostart(True)
            if not network.isActive():
                network.create()
                log.info("started network %s on %s", name, service.network.bridge)
            for scope, flags in ((_CONFIG, libvirt.VIR_NETWORK_XML_INACTIVE), (_LIVE, 0)):
                now = network_xml.describe(network.XMLDesc(flags))
                _change_hosts(network, now, network_xml.describe(wanted), scope)
            if not _names_answer(service.network.gateway):
                log.warning("nobody answers for names of network %s; libvirt is made to look", name)
                _revive_names(network, network_xml.describe(wanted))


def _find(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork | None:
    try:
        return connection.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise


def _describe(network: libvirt.virNetwork) -> Described:
    return network_xml.describe(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))


def _same_frame(one: Described, other: Described) -> bool:
    return (one.bridge, one.gateway, one.mode) == (other.bridge, other.gateway, other.mode)


def _refuse_in_use(service: Service) -> None:
    ports = _NET / service.network.bridge / "brif"
    if ports.exists() and any(ports.iterdir()):
        raise Permanent(
            f"network {service.network.name} is not as recorded, and VMs run on it",
            hint=f"delete service {service.name} and apply it again",
        )


def _remove(network: libvirt.virNetwork) -> None:
    if network.isActive():
        network.destroy()
    if network.isPersistent():
        network.undefine()


def _change_hosts(network: libvirt.virNetwork, now: Described, wanted: Described, scope: int) -> None:
    """Makes reservations and names as wanted, one at a time; dnsmasq reads them again and nobody else notices."""
    for section, here, there, xml in (
        (_DHCP, now.dhcp, wanted.dhcp, network_xml.dhcp_host_xml),
        (_DNS, now.dns, wanted.dns, network_xml.dns_host_xml),
    ):
        _update(network, section, _DELETE, sorted(here - there), xml, scope)
        _update(network, section, _ADD, sorted(there - here), xml, scope)


def _names_answer(gateway: str) -> bool:
    """Whether dnsmasq listens; asked of the host itself, so the answer comes at once."""
    with contextlib.suppress(OSError), socket.create_connection((gateway, _DNS_PORT), timeout=_DNSMASQ_S):
        return True
    return False


def _revive_names(network: libvirt.virNetwork, wanted: Described) -> None:
    """A change of a name makes libvirt start a dnsmasq that has died; a network without names needs none."""
    for address, names in sorted(wanted.dns)[:1]:
        host = network_xml.dns_host_xml(address, names)
        network.update(_DELETE, _DNS, -1, host, _LIVE)
        network.update(_ADD, _DNS, -1, host, _LIVE)


def _update(
    network: libvirt.virNetwork,
    section: int,
    command: int,
    hosts: Sequence[tuple[object, ...]],
    xml: Callable[..., str],
    scope: int,
) -> None:
    for host in hosts:
        network.update(command, section, -1, xml(*host), scope)


def _guard_all_frames(bridge: str) -> None:
    """Sends frames for the bridge's own group addresses (01:80:c2:00:00:03 to :0f) through our guard as well.

    The kernel otherwise learns the sender of an LLDP frame without asking netfilter (br_handle_frame), and a guest
    could draw its neighbour's traffic to itself. Frames to :00 and :02 do pass our chains.
    """
    mask = _NET / bridge / "bridge" / "group_fwd_mask"
    if int(mask.read_text(), 16) != _ALL_GROUPS:
        mask.write_text(hex(_ALL_GROUPS))


def _allow_forwarding() -> None:
    """Puts routing back on if somebody switched it off after libvirt had switched it on."""
    if _FORWARDING.read_text().strip() == "0":
        log.warning("net.ipv4.ip_forward was 0; guests could not reach the outside; set to 1")
        _FORWARDING.write_text("1")
