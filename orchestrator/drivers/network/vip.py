"""The VIPs on the host's interface. Ours are known by their label, `eth0:vr`, those of IPv6 by their protocol; any
other is never touched.

An address is announced when it is added (RFC 5227 section 2.3, RFC 4861 section 7.2.6), after two probes that nobody
on the wire may answer (section 2.1.1, RFC 4862 section 5.4, both shortened: a service's VIP is chosen by an operator,
not by chance).
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import math
import socket
import threading
from collections.abc import Callable, Collection
from typing import Final

from orchestrator.drivers.network import host_addresses, ipv6_addresses, neighbours
from orchestrator.drivers.network.host_addresses import Address
from orchestrator.drivers.network.link_watch import link_watch
from orchestrator.drivers.tools.command import run
from orchestrator.errors import Foreign, Permanent, VmroleError
from orchestrator.ports import Clock, Held

log = logging.getLogger(__name__)
_SUFFIX: Final = ":vr"
_LABEL_MAX = 15  # IFNAMSIZ less its zero
REFUSED_FOR_S: Final = 5.0  # So long a refusal is believed: who mends it waits no longer.


class VipAddresses:
    """See ports.Vips. On one interface; thread-safe. Needs CAP_NET_ADMIN, and CAP_NET_RAW for the announcement."""

    def __init__(self, interface: str, clock: Clock) -> None:
        self._clock = clock
        self.interface = interface
        self._label = interface + _SUFFIX
        self._lock = threading.Lock()
        self._wanted: frozenset[str] = frozenset()  # of this process, as it held them last
        self._refused: dict[str, tuple[float, VmroleError]] = {}  # when it was refused last, and why

    def hold(self, vips: Collection[str]) -> Held:
        """See ports.Vips. Refused: Foreign when this host or a neighbour has the address already, Permanent when the
        configuration names no usable interface; such a one is looked at again after some seconds.
        """
        with self._lock:
            before, self._wanted = self._wanted, frozenset(vips)
            self._refused = {vip: seen for vip, seen in self._refused.items() if vip in vips}
            ours = [one for one in _look() if _is_ours(one)]
            there = {one.address for one in ours if one.interface == self.interface}
            added, refused = set(), {}
            for vip in sorted(self._wanted - there):
                try:
                    self._add_unless_refused(vip)
                    added.add(vip)
                except VmroleError as error:
                    refused[vip] = error
            for one in ours:
                if one.address not in self._wanted:
                    _remove(one)
            self._wanted -= refused.keys()
            return Held(put_back=frozenset(added & before), refused=refused)

    def held(self) -> frozenset[str]:
        """See ports.Vips."""
        return frozenset(one.address for one in _look() if self._holds(one))

    def watch(self, wake: Callable[[str, str], None]) -> contextlib.AbstractContextManager[None]:
        """Until the context ends, `wake` is called with an address and a reason when one that this process holds is
        there no more; on another thread.
        """

        def look(why: str) -> None:
            try:
                for vip in sorted(self._wanted - self.held()):
                    wake(vip, why)
            except VmroleError as error:  # The thread must go on; the audits look again as well.
                log.warning("the VIPs could not be looked at: %s", error)

        return link_watch(lambda link: link == self.interface, look)

    def _holds(self, one: Address) -> bool:
        return one.interface == self.interface and _is_ours(one)

    def _add_unless_refused(self, vip: str) -> None:
        """Who claims an address is asked for some tenths of a second, and every service's turn waits for that."""
        since_s, why = self._refused.pop(vip, (-math.inf, None))
        if why is not None and self._clock.monotonic_s() - since_s < REFUSED_FOR_S:
            self._refused[vip] = since_s, why
            raise why
        try:
            self._add(vip)
        except VmroleError as error:
            self._refused[vip] = self._clock.monotonic_s(), error
            raise

    def _add(self, vip: str) -> None:
        self._check_interface(vip)
        for one in _look():
            if one.address == vip and _is_ours(one):
                _remove(one)  # The configuration names another interface now.
            elif one.address == vip:
                raise Foreign(
                    f"{vip} is already an address of {one.interface} on this host, and not by vmrole",
                    hint="choose another vip in the service file, or remove that address",
                )
        self._refuse_unfit(vip)
        self._refuse_taken(vip)
        if _is_ipv6(vip):
            ipv6_addresses.add(self.interface, vip)
        else:
            run(["ip", "address", "add", f"{vip}/32", "dev", self.interface, "label", self._label])
        log.info("added %s to %s", vip, self.interface)
        neighbours.announce(self.interface, vip)

    def _check_interface(self, vip: str) -> None:
        if not self.interface:
            raise Permanent(
                "no interface for VIPs is configured", hint="set vip_interface in /etc/vmrole/vmrole.toml"
            )
        if len(self._label) > _LABEL_MAX and not _is_ipv6(vip):
            raise Permanent(
                f"the name of interface {self.interface} is too long to mark a VIP on it as ours",
                hint=f"give it a name of at most {_LABEL_MAX - len(_SUFFIX)} characters, or choose another",
            )
        if self.interface not in {name for _, name in socket.if_nameindex()}:
            raise Permanent(
                f"there is no interface {self.interface} on this host", hint="set vip_interface to one of: ip link"
            )

    def _refuse_unfit(self, vip: str) -> None:
        for subnet in _subnets(self.interface):
            ends = [subnet.network_address]  # With IPv6 that of all its routers, and the last is any machine's.
            ends += [subnet.broadcast_address] if subnet.version == 4 else []
            if subnet.num_addresses > 2 and vip in map(str, ends):
                raise Foreign(
                    f"{vip} is the first or last address of {subnet} on {self.interface}, and of no machine in it",
                    hint="choose another vip in the service file",
                )

    def _refuse_taken(self, vip: str) -> None:
        mac = neighbours.who_has(self.interface, vip)
        if mac:
            raise Foreign(
                f"{vip} is in use by {mac} in the network of {self.interface}",
                hint="choose another vip in the service file, or turn that machine's address off",
            )


def _remove(one: Address) -> None:
    if _is_ipv6(one.address):
        ipv6_addresses.remove(one.interface, one.address)
    else:
        run(["ip", "address", "del", f"{one.address}/32", "dev", one.interface])
    log.info("removed %s from %s", one.address, one.interface)


def _look() -> list[Address]:
    return [*host_addresses.look(), *ipv6_addresses.look(_SUFFIX)]


def _is_ipv6(vip: str) -> bool:
    return ":" in vip


def _is_ours(one: Address) -> bool:
    return one.label.endswith(_SUFFIX)


def own() -> frozenset[str]:
    """The addresses of this host that are no VIPs of ours."""
    return frozenset(str(ipaddress.ip_address(one.address)) for one in _look() if not _is_ours(one))


def networks(interface: str) -> tuple[str, ...]:
    """Those that the interface's own addresses lie in; ours are no network's but their own."""
    own = [one for one in _look() if one.interface == interface and not _is_ours(one)]
    subnets = {ipaddress.ip_interface(f"{one.address}/{one.prefix_length}").network for one in own}
    ordered = sorted(subnets, key=lambda one: (one.version, one.network_address.packed, one.prefixlen))
    return tuple(str(one) for one in ordered if one.num_addresses > 1)


def _subnets(interface: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """What the interface's own addresses lie in."""
    return [
        ipaddress.ip_interface(f"{one.address}/{one.prefix_length}").network
        for one in _look()
        if one.interface == interface
    ]
