"""The VIPs on the host's interface. Ours are known by their label, `eth0:vr`; any other is never touched.

An address is announced by a gratuitous ARP request when it is added (RFC 5227 section 2.3), after two probes that
nobody on the wire may answer (section 2.1.1, shortened: a service's VIP is chosen by an operator, not by chance).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import math
import socket
import struct
import threading
from collections.abc import Callable, Collection
from typing import Final

from orchestrator.drivers.network import host_addresses
from orchestrator.drivers.network.host_addresses import Address
from orchestrator.drivers.network.link_watch import link_watch
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.deadline import Deadline
from orchestrator.errors import Foreign, Permanent, VmroleError
from orchestrator.ports import Clock, Held

log = logging.getLogger(__name__)
_SUFFIX: Final = ":vr"
_LABEL_MAX = 15  # IFNAMSIZ less its zero
_PROBES = 2
_PROBE_S = 0.2  # A neighbour answers ARP in well under a millisecond; a busy one in some tens.
REFUSED_FOR_S: Final = 5.0  # So long a refusal is believed: who mends it waits no longer.
_ARP: Final = 0x0806
_BROADCAST: Final = b"\xff" * 6
_REQUEST: Final = 1


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
            ours = [one for one in host_addresses.look() if _is_ours(one)]
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
        return frozenset(one.address for one in host_addresses.look() if self._holds(one))

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
        self._check_interface()
        for one in host_addresses.look():
            if one.address == vip and _is_ours(one):
                _remove(one)  # The configuration names another interface now.
            elif one.address == vip:
                raise Foreign(
                    f"{vip} is already an address of {one.interface} on this host, and not by vmrole",
                    hint="choose another vip in the service file, or remove that address",
                )
        self._refuse_unfit(vip)
        self._refuse_taken(vip)
        run(["ip", "address", "add", f"{vip}/32", "dev", self.interface, "label", self._label])
        log.info("added %s to %s", vip, self.interface)
        _announce(self.interface, vip)

    def _check_interface(self) -> None:
        if not self.interface:
            raise Permanent(
                "no interface for VIPs is configured", hint="set vip_interface in /etc/vmrole/vmrole.toml"
            )
        if len(self._label) > _LABEL_MAX:
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
            if subnet.prefixlen < 31 and vip in (str(subnet.network_address), str(subnet.broadcast_address)):
                raise Foreign(
                    f"{vip} is the first or last address of {subnet} on {self.interface}, and of no machine in it",
                    hint="choose another vip in the service file",
                )

    def _refuse_taken(self, vip: str) -> None:
        mac = _who_has(self.interface, vip)
        if mac:
            raise Foreign(
                f"{vip} is in use by {mac} in the network of {self.interface}",
                hint="choose another vip in the service file, or turn that machine's address off",
            )


def _remove(one: Address) -> None:
    run(["ip", "address", "del", f"{one.address}/32", "dev", one.interface])
    log.info("removed %s from %s", one.address, one.interface)


def _is_ours(one: Address) -> bool:
    return one.label.endswith(_SUFFIX)


def networks(interface: str) -> tuple[str, ...]:
    """Those that the interface's own addresses lie in; ours are no network's but their own."""
    own = [one for one in host_addresses.look() if one.interface == interface and not _is_ours(one)]
    subnets = {ipaddress.IPv4Interface(f"{one.address}/{one.prefix_length}").network for one in own}
    return tuple(str(one) for one in sorted(subnets) if one.prefixlen < 32)


def _subnets(interface: str) -> list[ipaddress.IPv4Network]:
    """What the interface's own addresses lie in."""
    return [
        ipaddress.IPv4Interface(f"{one.address}/{one.prefix_length}").network
        for one in host_addresses.look()
        if one.interface == interface
    ]


# ARP (RFC 826), and not by arping(8): its probes are a whole second apart, and all VIPs wait meanwhile. ---------


def _frame(mac: bytes, sender: str, target: str) -> bytes:
    """An ARP request by broadcast; a gratuitous one has the same sender and target."""
    header = _BROADCAST + mac + struct.pack("!H", _ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST)
    return header + body + mac + _packed(sender) + bytes(6) + _packed(target)


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _open(interface: str) -> socket.socket | None:
    """A raw socket on an interface that speaks ARP; None for those that do not, such as lo or a tunnel."""
    flags = run(["ip", "-j", "link", "show", "dev", interface])
    link = json.loads(flags)[0]
    if link.get("link_type") != "ether" or "NOARP" in link["flags"] or "UP" not in link["flags"]:
        return None
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP))
    raw.bind((interface, _ARP))
    return raw


def _announce(interface: str, vip: str) -> None:
    raw = _open(interface)
    if raw is None:
        return
    with raw:
        raw.send(_frame(raw.getsockname()[4], vip, vip))


def _who_has(interface: str, vip: str) -> str:
    """The MAC of a neighbour that claims the address, or ""."""
    raw = _open(interface)
    if raw is None:
        return ""
    with raw:
        own = raw.getsockname()[4]
        for _ in range(_PROBES):
            raw.send(_frame(own, "0.0.0.0", vip))  # noqa: S104 - the sender of an ARP probe, not a socket's address
            deadline = Deadline(_PROBE_S)
            while (left_s := deadline.left_s) > 0:
                raw.settimeout(left_s)
                try:
                    frame = raw.recv(64)
                except TimeoutError:
                    break
                if len(frame) >= 42 and frame[28:32] == _packed(vip) and frame[22:28] != own:
                    return ":".join(f"{byte:02x}" for byte in frame[22:28])
    return ""
