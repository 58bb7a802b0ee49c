"""The Network port: a libvirt network per service, and the firewall around it.

Order matters: guards stand before the network does, and fall after it. Routing between interfaces is switched on
by libvirt when the network starts (every network with a `forward` element does that); `lay` only puts it back.
Where it was off before, guards stand before that as well: the host goes on to forward nothing for others.

What was laid by this process and is not as it was, somebody else has changed: that is mended and told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import libvirt

from orchestrator.drivers.network import (
    bridge_frames,
    host_addresses,
    hosts_files,
    ipv6_host,
    laid_cards,
    lan_ports,
    libvirt_networks,
    links,
    name_server,
    network_xml,
    reservations,
    routing,
    tap_ports,
)
from orchestrator.drivers.network.connection_limits import FLOWS_MAX
from orchestrator.drivers.network.firewall import Firewall
from orchestrator.drivers.network.gateways import gateways, put_back
from orchestrator.drivers.network.given_watch import given_watch
from orchestrator.drivers.network.link_watch import link_watch
from orchestrator.drivers.network.network_xml import Described
from orchestrator.drivers.network.tables import QUESTIONS_MAX
from orchestrator.drivers.network.unanswered import Unanswered
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.errors import Foreign, Permanent, VmroleError
from orchestrator.model import (
    BRIDGE_PREFIX,
    TAP_PREFIX,
    Given,
    Instance,
    InstanceName,
    Missing,
    Nic,
    Notice,
    Part,
    Service,
)
from orchestrator.ports import Clock

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Laid:
    """What this process laid last for a service."""

    service: Service
    instances: tuple[Instance, ...]


class HostNetwork:
    """Networks of one libvirtd and one network namespace. Thread-safe: a service is laid once at a time."""

    def __init__(
        self,
        connection: LibvirtConnection,
        clock: Clock,
        installation: str = "",
        denied: Sequence[str] = (),
        before: Mapping[int, routing.Before] = MappingProxyType({}),
        names: Path | None = None,
        pool: str = "",
    ) -> None:
        """`denied`: the networks that guests do not reach (CIDR), apart from each other.

        `pool`: from which private networks are cut (CIDR); "" where nothing else is given away.

        `names`: where files with the names of roles are, which dnsmasq's user can get to; None: roles have no names.

        `before`: how the host routed before it had guests, by versions of IP, which holds on for others; by one that
        is not there it routes for whomever.
        """
        self._connection = connection
        self._installation = installation
        self._firewall = Firewall(clock, denied)
        self._before = before
        self._names = names
        self._pool = ipaddress.ip_network(pool) if pool else None
        self._firewall.route_for_others(self._for_others())
        self._ports = tap_ports.TapPorts(clock)
        self._lan_ports = lan_ports.LanPorts()
        self._laid: dict[str, _Laid] = {}
        self._unanswered = Unanswered(clock)
        self._crowding: set[InstanceName] = set()
        self._unwatched: set[str] = set()  # services whose names no name server can watch
        self._untold: dict[str, list[Notice]] = {}  # of a lay that failed in the end
        self._locks: dict[str, threading.Lock] = {}  # A service's guards wait for nothing of another service.

    def _describe(self, network: libvirt.virNetwork) -> Described:
        """What it is; one of another installation counts as one without our metadata."""
        described = libvirt_networks.describe(network)
        if self._installation and described.installation not in ("", self._installation):
            return dataclasses.replace(described, service="")
        return described

    def lay(
        self, service: Service, instances: Sequence[Instance], beside: Service | None = None
    ) -> tuple[Notice, ...]:
        """See ports.Network. Raises Foreign when the network or its bridge is somebody else's."""
        with self._locks.setdefault(service.name, threading.Lock()):
            before = self._laid.get(service.name)
            notices = self._untold.setdefault(service.name, [])
            self._refuse_foreign(service)
            if service.network.subnet6 and (why := ipv6_host.fault())[0]:
                raise Permanent(why[0], hint=why[1])
            for version in routing.versions(service.network):
                if version in self._before:
                    self._before[version].begin(service.name)
            self._firewall.route_for_others(self._for_others())
            notices += [Notice(service.name, said) for said in self._firewall.allow(service, instances, beside)]
            self._lay_network(service, instances, notices if before else [])
            bridge_frames.guard_all(service.network.bridge)
            notices += self._ports.mend(instances, service.network.bridge)
            notices += self._lan_ports.mend(instances)
            self._put_back(service, before, notices)
            notices += self._crowds(instances)
            with self._connection.use(f"leases of network {service.network.name}") as connection:
                network = connection.networkLookupByName(service.network.name)
                notices += self._unanswered.notices(instances, self._firewall.asking(), network)
            self._laid[service.name] = _Laid(service, tuple(instances))
            del self._untold[service.name]
        for one in notices:
            log.warning("%s: %s", one.subject, one.message)
        return tuple(notices)

    def _put_back(self, service: Service, before: _Laid | None, notices: list[Notice]) -> None:
        """The gateway's address and routing."""
        network = service.network
        for gateway, length in gateways(network):
            if host_addresses.lacks(network.bridge, gateway):
                put_back(network.bridge, gateway, length)
                notices.append(Notice(service.name, f"somebody removed {gateway} from {network.bridge}: put back"))
        for switch in routing.closed(network):
            routing.open_(switch)
            if before:
                notices.append(Notice(service.name, f"somebody switched {routing.name(switch)} off: on again"))

    def _crowds(self, instances: Sequence[Instance]) -> Iterator[Notice]:
        """Tells of each guest once that it has begun to meet a limit."""
        crowding = self._firewall.crowding()
        for instance in instances:
            if crowding.isdisjoint({instance.nic.address, instance.nic.address6}):
                self._crowding.discard(instance.name)
            elif instance.name not in self._crowding:
                self._crowding.add(instance.name)
                said = f"more than {FLOWS_MAX} connections at a time, or {QUESTIONS_MAX} to its name server: "
                yield Notice(instance.name, f"{said}the guest is let open no others until some are closed")

    def lift(self, service: Service) -> None:
        """See ports.Network."""
        with self._locks.setdefault(service.name, threading.Lock()):
            self._laid.pop(service.name, None)
            with self._connection.use(f"network {service.network.name}") as connection:
                network = libvirt_networks.find(connection, service.network.name)
                if network is not None and self._describe(network).service == service.name:
                    libvirt_networks.remove(network)
            for version, before in self._before.items():
                before.end(service.name, others=bool(self._routed_by(version) - {service.name}))
            self._firewall.forget(service.name)
            if self._names is not None:
                hosts_files.remove(self._names, service.name)

    def call(self, service: Service, ready: Mapping[str, Collection[str]]) -> None:
        """See ports.Network."""
        if self._names is not None:
            hosts_files.write(self._names, service, ready)

    def inventory(self) -> frozenset[str]:
        """See ports.Network."""
        named = frozenset(hosts_files.services(self._names)) if self._names is not None else frozenset()
        return frozenset(one.service for one in self._networks()) | self._firewall.services() | named

    def laid(self, service: Service) -> Mapping[InstanceName, Nic]:
        """See ports.Network. What this process has laid, else what libvirt and the tables have kept of another's."""
        known = self._laid.get(service.name)
        if known is not None:
            return {one.name: one.nic for one in known.instances}
        described = next((one for one in self._networks() if one.service == service.name), None)
        if described is None:
            return {}
        taps = self._firewall.taps(service.name)
        if any(mac not in taps for mac, _, _ in described.dhcp):  # Somebody has flushed the rules.
            taps = {**laid_cards.plugged(self._connection, service.network.name), **taps}
        return laid_cards.cards(service, described, taps)

    def _networks(self) -> list[Described]:
        with self._connection.use("networks") as connection:
            described = [self._describe(network) for network in connection.listAllNetworks()]
        return [one for one in described if one.service]

    def _routed_by(self, version: int) -> frozenset[str]:
        """The services for which the host has to route by that version of IP."""
        if version == 4:
            return self.inventory()
        return frozenset(one.service for one in self._networks() if one.gateway6)

    def _for_others(self) -> set[int]:
        """The versions of IP by which the host routes for whomever."""
        return {version for version in (4, 6) if version not in self._before or not self._before[version].was_off}

    def missing(self, service: Service, instances: Sequence[Instance]) -> tuple[Missing, ...]:
        """See ports.Network."""
        name, network = service.name, service.network
        found = [Missing(Part.NETWORK, name, why) for why in self._network_faults(service)]
        found += [Missing(Part.ROUTING, name, f"{routing.name(one)} is 0") for one in routing.closed(network)]
        if self._firewall.lacks(service, instances):
            found.append(Missing(Part.FIREWALL, name, "its rules are not as they were laid"))
        ports = ((one.name, tap_ports.fault(one, network.bridge) or tap_ports.absence(one)) for one in instances)
        found += [Missing(Part.PORT, whose, why) for whose, why in ports if why]
        return (*found, *lan_ports.missing(instances))

    def fault(self, instance: Instance) -> str:
        """See ports.Network."""
        laid = self._laid.get(instance.service)
        return tap_ports.fault(instance, laid.service.network.bridge if laid else "")

    def has_port(self, instance: Instance) -> bool:
        """See ports.Network."""
        return not tap_ports.absence(instance)

    @contextlib.contextmanager
    def watch(
        self, wake: Callable[[str, str], None], wake_instance: Callable[[InstanceName, str], None]
    ) -> Iterator[None]:
        """Until the context ends, `wake` is called with a service and a reason as soon as a link, an address or
        routing is not as this process laid it, and `wake_instance` when a port is there no more, or a DHCP server of
        a bridge's has given an address; on other threads.
        """

        def look(why: str) -> None:
            for laid in list(self._laid.values()):
                for instance in self._ports.vanished(laid.instances):
                    wake_instance(instance.name, "its port is gone")
            try:
                for service in self._broken():
                    wake(service, why)
            except VmroleError as error:  # The thread must go on; the audits look again as well.
                log.warning("what was laid could not be looked at: %s", error)

        with contextlib.ExitStack() as stack:
            stack.enter_context(link_watch(lambda link: link.startswith((BRIDGE_PREFIX, TAP_PREFIX)), look))
            stack.enter_context(given_watch(self.given, self._by_dhcp, wake_instance))
            yield

    def _by_dhcp(self) -> Mapping[str, InstanceName]:
        """Who has which card, of those whose address a DHCP server of a bridge's gives."""
        cards = ((one.lan, one.name) for laid in list(self._laid.values()) for one in laid.instances)
        return {lan.tap: name for lan, name in cards if lan is not None and lan.by_dhcp}

    def given(self) -> tuple[Given, ...]:
        """See ports.Network."""
        return self._firewall.given()

    def keeps(self, address: str) -> str:
        """See ports.Network."""
        if self._pool is not None and ipaddress.ip_address(address) in self._pool:
            return f"in {self._pool}, from which private networks are cut"
        return "this host's own address" if address in {one for _, one in host_addresses.all_of_them()} else ""

    def _broken(self) -> list[str]:
        """The services of which something is not there any more. Rules and libvirt's own part are not looked at.

        No lock: what is just being laid may be among them, and is looked at once more.
        """
        held = host_addresses.all_of_them()
        return [name for name, laid in list(self._laid.items()) if self._is_broken(laid, held)]

    def _is_broken(self, laid: _Laid, held: frozenset[tuple[str, str]]) -> bool:
        network = laid.service.network
        bridge = links.look(network.bridge)
        return (
            bridge is None
            or not bridge.up
            or any((network.bridge, gateway) not in held for gateway, _ in gateways(network))
            or bool(routing.closed(network))
            or self._ports.lost(laid.instances, network.bridge)
            or self._lan_ports.lost(laid.instances)
        )

    def _network_faults(self, service: Service) -> Iterator[str]:
        name, bridge = service.network.name, service.network.bridge
        with self._connection.use(f"network {name}") as connection:
            network = libvirt_networks.find(connection, name)
            running = network is not None and network.isActive()
            names = hosts_files.directory(self._names, service.name) if self._names is not None else None
            unread = running and names is not None and not names.is_dir()
        link = links.look(bridge)
        if not running:
            yield f"network {name} does not run"
        elif link is None or not link.up:
            yield f"bridge {bridge} is {'down' if link else 'not there'}"
        else:
            lost = [one for one, _ in gateways(service.network) if host_addresses.lacks(bridge, one)]
            yield from (f"{one} is not on {bridge}" for one in lost)
        if unread:
            yield f"{names}, with the names of its roles, is not there"

    def drops(self) -> dict[str, int]:
        """Packets that the firewall dropped, by reason."""
        return dict(self._firewall.drops())

    def _refuse_foreign(self, service: Service) -> None:
        name, bridge = service.network.name, service.network.bridge
        with self._connection.use(f"network {name}") as connection:
            network = libvirt_networks.find(connection, name)
            if network is None:
                if links.look(bridge) is not None:
                    raise Foreign(
                        f"there is an interface {bridge} that vmrole did not make",
                        hint=f"remove it: ip link del {bridge}",
                    )
            elif self._describe(network).service != service.name:
                raise Foreign(
                    f"libvirt network {name} is not vmrole's",
                    hint=f"rename it, or choose another name for {service.name}",
                )

    def _lay_network(self, service: Service, instances: Sequence[Instance], notices: list[Notice]) -> None:
        name, bridge = service.network.name, service.network.bridge
        places = [network_xml.reservation(one) for one in instances]
        names = hosts_files.directory(self._names, service.name) if self._names is not None else None
        if self._names is not None:
            hosts_files.make(self._names, service.name)
        render = functools.partial(network_xml.render, service, places, installation=self._installation, names=names)
        wanted = render()
        with self._connection.use(f"network {name}") as connection:
            network = libvirt_networks.find(connection, name)
            if network is not None and not libvirt_networks.runs_as(network, network_xml.describe(wanted)):
                libvirt_networks.remove(network)
                known = self._laid.get(service.name)
                gains = service.network.subnet6 and not (known and known.service.network.subnet6)
                why = f"network {name} has IPv6 now" if gains else f"somebody gave network {name} another shape"
                notices.append(Notice(service.name, f"{why}: made anew"))
                network = None
            if network is None:
                network = connection.networkDefineXML(wanted)
            elif changed := libvirt_networks.changes(network, self._describe(network), network_xml.describe(wanted)):
                now = network_xml.describe(network.XMLDesc(0))  # What runs goes on, with its guests.
                network = connection.networkDefineXML(render(instead_of=now))
                notices += [Notice(service.name, f"somebody {one}: as it was again") for one in changed if one]
            # libvirt would start it with the host, and switch routing on before any guard stands.
            by_libvirt = self._for_others().issuperset(routing.versions(service.network))
            if network.isPersistent() and bool(network.autostart()) != by_libvirt:
                network.setAutostart(by_libvirt)
            if network.isActive() and links.look(bridge) is None:
                network.destroy()  # Somebody removed the bridge, and libvirt has not noticed.
            begun = not network.isActive()
            if begun:
                name_server.start(network)
                log.info("started network %s on %s", name, bridge)
                notices.append(
                    Notice(service.name, f"somebody stopped network {name}, or removed {bridge}: started again")
                )
            if (link := links.look(bridge)) is not None and not link.up:
                run(["ip", "link", "set", "dev", bridge, "up"])
                notices.append(Notice(service.name, f"somebody switched {bridge} off: on again"))
            for scope, flags in ((reservations.CONFIG, libvirt.VIR_NETWORK_XML_INACTIVE), (reservations.LIVE, 0)):
                now = network_xml.describe(network.XMLDesc(flags))
                reservations.change(network, now, network_xml.describe(wanted), scope)
            if not name_server.answers(service.network.gateway):
                log.warning("nobody answers for names of network %s; libvirt is made to look", name)
                name_server.revive(network, network_xml.describe(wanted))
            elif names is not None and not begun and service.name not in self._unwatched:
                self._let_watch(network, service, names, network_xml.describe(wanted))

    def _let_watch(self, network: libvirt.virNetwork, service: Service, names: Path, wanted: Described) -> None:
        """Begins the name server anew where it does not watch the names; once, where it never can."""
        if not name_server.overlooks(network, names):
            return
        name_server.begin_anew(network, wanted)
        if name_server.answers_soon(service.network.gateway) and name_server.overlooks(network, names):
            self._unwatched.add(service.name)
            log.warning("the name server of network %s cannot watch %s", service.network.name, names)
            return  # One that is slow to begin is looked at again.
        self._untold[service.name].append(Notice(service.name, f"somebody removed {names}: put back"))
