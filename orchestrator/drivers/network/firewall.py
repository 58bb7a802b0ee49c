"""Who may say what, as elements of the sets of both tables, written in one transaction for each change."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from orchestrator.drivers.network import shared_vips, tables_given
from orchestrator.drivers.network.connection_limits import CROWDING_S
from orchestrator.drivers.network.tables import ASKED_S, BRIDGE, INET, inet
from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import Key, Set
from orchestrator.model import Given, Instance, Mode, Service, by_card, other_deployment
from orchestrator.ports import Clock

_ENDS: Final = {
    "vips": ("endpoints", "datagrams"),
    "vips6": ("endpoints6", "datagrams6"),
}  # where each has its endpoints
FACED: Final = frozenset(("inet", name) for vips, ends in _ENDS.items() for name in (vips, *ends))
_LINK_LOCAL: Final = "fe80::/64"
_AGAIN_S: Final = 5.0  # Between two looks at what packets have put into sets, for all services.
_Wanted = Mapping[tuple[str, str], frozenset[Key]]  # family, set -> elements


class Firewall:
    """Both tables. Thread-safe. Others' tables are never read nor written.

    What the kernel has is remembered with the generation of its rule set, and looked at again only when somebody has
    changed anything of it since; so an audit of what stands costs the same however many guests there are.
    """

    def __init__(self, clock: Clock, denied: Sequence[str] = ()) -> None:
        """`denied`: the networks that guests do not reach (CIDR), apart from each other."""
        self._clock = clock
        self._denied = denied
        self._for_others: frozenset[int] = frozenset({4, 6})
        self._tables = (inet(denied), BRIDGE)
        self._lock = threading.Lock()
        self._fixed: dict[str, str] = {}  # family -> what the kernel showed right after we wrote it
        self._seen: dict[str, nft.Found | None] = {}  # family -> the table
        self._generation = 0  # of what was seen; 0 when it is not known
        self._given: tuple[float, tuple[Given, ...]] = -math.inf, ()  # when looked at, what was there
        self._filled: dict[str, tuple[float, dict[str, float]]] = {}  # set -> when looked at, what is in it

    def route_for_others(self, versions: Collection[int]) -> None:
        """By which versions of IP the host forwards what is neither from nor to a guest, from the next `allow` on."""
        with self._lock:
            if (now := frozenset(versions)) != self._for_others:
                self._for_others = now
                self._tables = (inet(self._denied, for_others=now), BRIDGE)
                self._fixed.pop(INET.family, None)

    def allow(self, service: Service, instances: Sequence[Instance], beside: Service | None = None) -> list[str]:
        """Makes the service's elements exactly what it and its instances need; writes only what differs.

        `beside` is its other deployment. What clients reach of both changes together: a swap that gave one the VIP
        of the other, and the other's to nobody for a moment, would lose what is begun then.
        Returns in sentences what somebody else had changed of the tables.
        """
        wanted = _wanted(service, instances)
        twin, faced = other_deployment(service.name), _faced(beside) if beside is not None else {}
        with self._lock:
            commands: list[nft.Json] = []
            after: dict[str, nft.Found] = {}
            changes, remade = [], False
            for table, found in self._look():
                if found is None or self._fixed.get(table.family) != found.fixed:
                    if table.family in self._fixed:
                        done = "removed" if found is None else "changed"
                        changes.append(f"somebody {done} nft table {table.family} {table.name}: made anew")
                    commands += nft.remake(table, found)
                    remade = True
                now = found.elements if found is not None else {}
                elements = dict(now)
                for one in _ours(table):
                    there, place = now.get(one.name, {}), (table.family, one.name)
                    owners = [(service.name, wanted[place])]
                    if place in FACED:
                        owners.append((twin, faced.get(place, frozenset())))
                    for owner, want in owners:
                        for whose, elems in _owned(one, {**elements, one.name: there}, want, owner):
                            commands += nft.change(table, one.name, there, elems, whose)
                            there = nft.changed(there, elems, whose)
                    elements[one.name] = there
                if found is not None:
                    after[table.family] = dataclasses.replace(found, elements=elements)
            self._write(commands, {} if remade else after)
            if remade:
                self._fixed = {table.family: found.fixed for table, found in self._look() if found is not None}
            return changes

    def lacks(self, service: Service, instances: Sequence[Instance]) -> bool:
        """Whether a table is not as this process left it, or an element of the service is not there."""
        wanted = _wanted(service, instances)
        with self._lock:
            for table, found in self._look():
                if found is None or self._fixed.get(table.family, found.fixed) != found.fixed:
                    return True
                for one in _ours(table):
                    now = found.elements.get(one.name, {})
                    owned = _owned(one, found.elements, wanted[table.family, one.name], service.name)
                    if any(nft.change(table, one.name, now, want, owner) for owner, want in owned):
                        return True
        return False

    def forget(self, service_name: str) -> None:
        """Removes the service's elements, and both tables when no service is left."""
        with self._lock:
            seen = self._look()
            owners = {owner for _, found in seen if found is not None for owner in _owners(found)}
            commands: list[nft.Json] = []
            for table, found in seen:
                if found is None:
                    continue
                if owners <= {service_name}:
                    commands.append({"delete": {"table": {"family": table.family, "name": table.name}}})
                    self._fixed.pop(table.family, None)
                    continue
                for one in _ours(table):
                    there = found.elements.get(one.name, {})
                    for owner, want in _owned(one, found.elements, (), service_name):
                        commands += nft.change(table, one.name, there, want, owner)
                        there = nft.changed(there, want, owner)
            self._write(commands, {})

    def crowding(self) -> frozenset[str]:
        """The addresses of guests that have met a limit of connections lately, as it was some seconds ago."""
        return frozenset(one for name in ("crowding", "crowding6") for one in self._lately(INET, name, CROWDING_S))

    def asking(self) -> Mapping[str, float]:
        """When the MACs asked for an address last (seconds since the epoch) that have done so lately, without one."""
        return self._lately(BRIDGE, "asking", ASKED_S)

    def given(self) -> tuple[Given, ...]:
        """What DHCP servers of the host's bridges have given cards of ours lately, as it was a second ago or less."""
        looked_s, found = self._given
        if self._clock.monotonic_s() - looked_s > tables_given.AGAIN_S:
            found = tables_given.given(self._clock.now_s())  # nobody else waits for that
            self._given = self._clock.monotonic_s(), found
        return found

    def _lately(self, table: nft.Table, name: str, stays_s: int) -> Mapping[str, float]:
        with self._lock:
            looked_s, found = self._filled.get(name, (-math.inf, {}))
            if self._clock.monotonic_s() - looked_s > _AGAIN_S:
                began_s = self._clock.now_s() - stays_s
                found = {key: began_s + left_s for (key,), left_s in nft.elements(table, name).items()}
                self._filled[name] = self._clock.monotonic_s(), found
            return found

    def services(self) -> frozenset[str]:
        """Names of the services that own an element."""
        with self._lock:
            return frozenset(owner for _, found in self._found() if found is not None for owner in _owners(found))

    def taps(self, service_name: str) -> Mapping[str, str]:
        """The taps that the service's guards are for, by the MACs that they let through."""
        with self._lock:
            found = dict(self._found()).get(BRIDGE.family)
            there = found.elements.get("macs", {}) if found is not None else {}
            return {mac: tap for (tap, mac), owner in there.items() if owner == service_name}

    def drops(self) -> Mapping[str, int]:
        """Packets dropped so far, by reason; starts at 0 whenever the rules are made anew."""
        founds = [nft.look(table) for table in self._tables]
        return {why: count for found in founds if found is not None for why, count in found.drops.items()}

    def _found(self) -> list[tuple[str, nft.Found | None]]:
        return [(table.family, found) for table, found in self._look()]

    def _look(self) -> list[tuple[nft.Table, nft.Found | None]]:
        """The tables as they are, from memory where nobody has written anything since."""
        before = nft.generation()
        if not before or before != self._generation:
            self._seen = {table.family: nft.look(table) for table in self._tables}
            self._generation = before if before == nft.generation() else 0
        return [(table, self._seen[table.family]) for table in self._tables]

    def _write(self, commands: Sequence[nft.Json], after: Mapping[str, nft.Found]) -> None:
        """One transaction. `after`: the tables as it leaves them, where that is known without looking."""
        if not commands:
            return
        before, self._generation = self._generation, 0  # Whatever happens now, it has to be looked at.
        nft.apply(commands)
        if before and after.keys() == self._seen.keys() and nft.generation() == before + 1:
            self._seen, self._generation = dict(after), before + 1


def _ours(table: nft.Table) -> tuple[Set, ...]:
    """The sets that we fill."""
    return tuple(one for one in table.sets if not one.filled)


def _owned(
    one: Set, elements: Mapping[str, Mapping[Key, str]], want: Collection[Key], owner: str
) -> list[tuple[str, frozenset[Key]]]:
    """Which elements of the set are to be whose, when the owner wants these; all but VIPs are one service's alone."""
    if one.name not in _ENDS:
        return [(owner, frozenset(want))]
    ends = [end for name in _ENDS[one.name] for end in elements.get(name, {}).items()]
    return shared_vips.owned(elements.get(one.name, {}), ends, want, owner)


def _marks(last_bytes: bytes) -> tuple[str, str]:
    return str(int.from_bytes(last_bytes, "big")), str(int.from_bytes(last_bytes, "little"))


def _owners(found: nft.Found) -> frozenset[str]:
    return frozenset(owner for elements in found.elements.values() for owner in elements.values() if owner)


def _between_roles(service: Service, instances: Sequence[Instance]) -> _Wanted:
    """Who reaches whom of a service's instances; nothing where no role says so: all reach all then."""
    inner = {role.name: role.internal_endpoints for role in service.spec.roles}
    said = instances if any(inner.values()) else ()
    names = dict.fromkeys([*inner, *(one.role_name for one in said)])  # of a role that goes there are some, too
    number = {name: str(at) for at, name in enumerate(names, 1)}
    peers = {(number[one.role_name], one.nic.tap) for one in said}
    ports: dict[Mode, set[Key]] = {Mode.TCP: set(), Mode.UDP: set()}
    for one in said:
        for end in inner.get(one.role_name, ()):
            for caller in end.callers or inner:
                place = number[caller], one.nic.tap
                if end.ports is None:
                    peers.add(place)
                    continue
                for mode in ports if end.mode is None else (end.mode,):
                    ports[mode].add((*place, str(end.ports)))
    return {
        ("bridge", "callers"): frozenset((one.nic.tap, number[one.role_name]) for one in said),
        ("bridge", "peers"): frozenset(peers),
        ("bridge", "connections"): frozenset(ports[Mode.TCP]),
        ("bridge", "datagrams"): frozenset(ports[Mode.UDP]),
        ("bridge", "inner"): frozenset((one.nic.address,) for one in said),
    }


def _faced(service: Service) -> _Wanted:
    """What clients reach of it: IPv4's and IPv6's are elements of sets of their own."""
    vip, faces = service.vip, [end for role in service.spec.roles for end in role.faces]
    streams = frozenset((vip, str(port)) for end in faces if end.mode is not Mode.UDP for port in end.ports)
    datagrams = frozenset((vip, str(port)) for end in faces if end.mode is Mode.UDP for port in end.ports)
    held, nothing = frozenset({(vip,)}), frozenset[Key]()
    ipv4, ipv6 = vip != "" and ":" not in vip, ":" in vip
    return {
        ("inet", "endpoints"): streams if ipv4 else nothing,
        ("inet", "datagrams"): datagrams if ipv4 else nothing,
        ("inet", "vips"): held if ipv4 else nothing,
        ("inet", "endpoints6"): streams if ipv6 else nothing,
        ("inet", "datagrams6"): datagrams if ipv6 else nothing,
        ("inet", "vips6"): held if ipv6 else nothing,
    }


def _wanted(service: Service, instances: Sequence[Instance]) -> _Wanted:
    network = service.network
    cards = [(one.nic.tap, one.nic.mac, one.nic.address) for one in instances]
    cards += [(one.lan.tap, one.lan.mac, one.lan.ip) for one in instances if one.lan is not None]
    bridge = frozenset({(network.bridge,)})
    speaking = [one for one in instances if one.nic.address6]  # IPv6
    return {
        **_faced(service),
        ("inet", "bridges"): bridge,
        ("inet", "same"): frozenset({(network.bridge, network.bridge)}),
        ("inet", "gateways"): frozenset({(network.bridge, network.gateway)}),
        ("inet", "subnets"): frozenset({(network.subnet,)}),
        ("inet", "subnets6"): frozenset({(network.subnet6,)} if network.subnet6 else ()),
        ("bridge", "macs"): frozenset((tap, mac) for tap, mac, _ in cards),
        ("bridge", "cards"): frozenset(
            (tap, mark) for tap, mac, _ in cards for mark in _marks(bytes.fromhex(mac.replace(":", ""))[2:])
        ),
        ("bridge", "guests"): frozenset(card for card in cards if card[2]),  # by DHCP, it may have none yet
        ("bridge", "outside"): frozenset((one.lan.tap,) for one in instances if one.lan is not None),
        ("bridge", "guests6"): frozenset(
            (one.nic.tap, one.nic.mac, address)
            for one in speaking
            for address in (one.nic.address6, by_card(_LINK_LOCAL, one.nic.mac))
        ),
        ("bridge", "ends6"): frozenset(
            (one.nic.tap, mark)
            for one in speaking
            for mark in _marks(ipaddress.IPv6Address(one.nic.address6).packed[12:])
        ),
        **_between_roles(service, instances),
    }
