"""Pools as one table of nftables, `ip vmrole_pools`: what it shall hold, as text for one transaction. Pure.

Each endpoint is an element of a map that leads to its pool's chain; that deals new connections out to its members'
chains, which translate the address (DNAT). What has begun is the kernel's to remember, whatever the table says later.
What reaches the host for an endpoint is for a pool without members, belongs to a connection that was cut, or is
beyond a limit: it is refused at once.

Limits are counted by conntrack in sets of the table, which stay while members come and go. A set is named after its
limit, too: what it holds of a client remembers the number that held when it came. A count is a walk through all that
it counts, so whoever has met a limit and knocks on is counted seldom, and refused without in between.

Names of chains and sets are digests: nothing that a user wrote stands in the text, only addresses and ports.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from orchestrator.errors import Permanent
from orchestrator.model import Frontend, Mode, PoolName

TABLE: Final = "vmrole_pools"
CLIENTS_KNOWN: Final = 65_536  # addresses that one member's affinity remembers, or whose connections are counted
# By TCP, from one address to an endpoint that says no number. The kernel has room for 262,144 of all, and looks at
# each that it counts when another is begun, though not more often than once a tick: for so many, for a millisecond.
CLIENT_CONNECTIONS: Final = 4_096
KNOCKS_PER_S: Final = 50  # for so many of those who are beyond a limit, it is looked whether there is room again
_FULL_S: Final = 5  # Whoever has been quiet for so long is counted as if he had never met the limit.
_BEFORE_FILTERS, _DSTNAT, _BEFORE_SRCNAT = -10, -100, 99
_SUBNET_BITS: Final = 24  # what a service's network has


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A member behind an endpoint; of one with several ports, `port` is what the first becomes.

    `index`: behind an endpoint each of whose ports is one member's, which of them is.
    """

    pool: PoolName
    address: str
    port: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Names:
    """The chains and sets of a table, apart from those that are always there."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pools:
    """Chains with their rules, sets with their type, and which endpoints lead where."""

    chains: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, str]
    served: tuple[str, ...]  # endpoints, as elements
    leads: tuple[str, ...]  # endpoints with members, as elements of the map

    @property
    def names(self) -> Names:
        """What a later transaction has to take away when it is no longer wanted."""
        return Names(frozenset(self.chains), frozenset(self.sets))


def pools(frontends: Sequence[Frontend], takers: Collection[Place], known: Collection[Place]) -> Pools:
    """The table's content. `takers` get new connections; `known` are all members, also those that drain."""
    chains: dict[str, tuple[str, ...]] = {}
    sets: dict[str, str] = {}
    served, leads = [], []
    for frontend in sorted(frontends, key=lambda frontend: frontend.pool):
        served += _elements(frontend, frontend.ports)
        limits = _limits(frontend)
        for limit in limits:
            sets |= limit.sets()
        places = sorted(
            (one for one in takers if one.pool == frontend.pool), key=lambda one: (one.index, one.address, one.port)
        )
        if not places:
            continue
        rules = [limit.refuse_unseen() for limit in limits]
        rules += [rule for limit in limits for rule in limit.count()]
        for one in places:
            own = [_led(frontend, one)]
            if frontend.affinity_s is not None:
                kept = _name("a", one)
                sets[kept] = (
                    f"type ipv4_addr; size {CLIENTS_KNOWN}; flags dynamic,timeout; "
                    f"timeout {max(1, round(frontend.affinity_s))}s;"
                )
                rules.append(f"ip saddr @{kept} goto {_name('m', one)}")
                own.insert(0, f"update @{kept} {{ ip saddr }}")
            chains[_name("m", one)] = tuple(own)
        chain = "p" + _digest(frontend.pool)
        chains[chain] = (*rules, _dealt(frontend, places))
        ports = [frontend.port + one.index for one in places] if frontend.each else frontend.ports
        leads += [f"{element} : goto {chain}" for element in _elements(frontend, ports)]
    chains |= _fixed({one.address for one in known})
    return Pools(chains, sets, tuple(served), tuple(leads))


def _led(frontend: Frontend, place: Place) -> str:
    """To the member. What the kernel is not told to change of a port it leaves as it is."""
    to = f"meta l4proto {_protocol(frontend)} dnat to {ipaddress.IPv4Address(place.address)}"
    first = _port(place.port)
    if frontend.each or frontend.range is None:
        return f"{to}:{first}"
    if first == frontend.port:
        return to
    moved = ", ".join(f"{_port(port)} : {_port(first + port - frontend.port)}" for port in frontend.range)
    return f"{to} : {_protocol(frontend)} dport map {{ {moved} }}"


def _dealt(frontend: Frontend, places: Sequence[Place]) -> str:
    """To one after the other; to whose port it is, where each has its own."""
    by = f"{_protocol(frontend)} dport" if frontend.each else f"numgen inc mod {len(places)}"
    numbers = [_port(frontend.port + one.index) if frontend.each else at for at, one in enumerate(places)]
    deal = ", ".join(f"{number} : goto {_name('m', one)}" for number, one in zip(numbers, places, strict=True))
    return f"{by} vmap {{ {deal} }}"


@dataclass(frozen=True, slots=True)
class _Limit:
    """So many connections at a time of whatever `key` tells apart."""

    name: str
    key: str
    most: int

    @property
    def _full(self) -> str:
        return f"{self.name}f"

    @property
    def _knocks(self) -> str:
        return f"{self.name}k"

    def sets(self) -> dict[str, str]:
        """What is counted, who has met the limit, and how often those knock."""
        kind = f"type ipv4_addr; size {CLIENTS_KNOWN};"
        fades = f"{kind} flags dynamic,timeout; timeout {_FULL_S}s;"
        return {self.name: f"{kind} flags dynamic;", self._full: fades, self._knocks: fades}

    def refuse_unseen(self) -> str:
        """Whoever has met the limit, without a count."""
        often = f"limit rate over {KNOCKS_PER_S}/second burst {KNOCKS_PER_S} packets"
        return f"{self.key} @{self._full} update @{self._knocks} {{ {self.key} {often} }} return"

    def count(self) -> tuple[str, str]:
        """Whoever is beyond the limit is refused; for whom there is room is as one that has never met it."""
        return (
            f"add @{self.name} {{ {self.key} ct count over {self.most} }} "
            f"update @{self._full} {{ {self.key} }} return",
            f"{self.key} @{self._full} delete @{self._full} {{ {self.key} }}",
        )


def _limits(frontend: Frontend) -> list[_Limit]:
    """A client's, and then all clients' together: whoever is beyond his own takes nothing of theirs."""
    most, of_a_client = frontend.connections_max, frontend.client_connections_max
    if of_a_client is None and most is not None:
        of_a_client = max(1, most // 2)
    if of_a_client is None and frontend.mode is not Mode.UDP:
        of_a_client = CLIENT_CONNECTIONS
    kinds = (("c", "ip saddr", of_a_client), ("e", "ip daddr", most))
    return [_Limit(kind + _digest(f"{frontend.pool} {number}"), key, number) for kind, key, number in kinds if number]


def _fixed(addresses: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The chains that are always there."""
    subnets = {str(ipaddress.IPv4Network(f"{one}/{_SUBNET_BITS}", strict=False)) for one in addresses}
    place = "ip daddr . meta l4proto . th dport"
    return {
        "prerouting": ("jump dispatch",),
        "output": ("jump dispatch",),
        # A packet in the middle of a connection that nobody knows begins none.
        "dispatch": ("tcp flags & (fin | syn | rst | ack) != syn return", f"{place} vmap @pools"),
        # A member that reaches its own service would be answered by its neighbour directly, and from another address.
        "postrouting": tuple(
            f"ct status dnat ip saddr {subnet} ip daddr {subnet} masquerade" for subnet in sorted(subnets)
        ),
        "input": (
            f"meta l4proto tcp {place} @served reject with tcp reset",
            f"{place} @served reject with icmp type port-unreachable",
        ),
    }


_HOOKS: Final = {
    "prerouting": f"type nat hook prerouting priority {_DSTNAT};",
    "output": f"type nat hook output priority {_DSTNAT};",
    "postrouting": f"type nat hook postrouting priority {_BEFORE_SRCNAT};",
    "input": f"type filter hook input priority {_BEFORE_FILTERS};",
}
_KEY: Final = "type ipv4_addr . inet_proto . inet_service"


def transaction(wanted: Pools, now: Names) -> str:
    """Makes the table what is wanted, all at once; what affinity remembers of members that stay is kept."""
    at = f"ip {TABLE}"
    lines = [
        f"add table {at}",
        f"add set {at} served {{ {_KEY}; }}",
        f"add map {at} pools {{ {_KEY} : verdict; }}",
        f"flush set {at} served",
        f"flush map {at} pools",
    ]
    lines += [f"flush chain {at} {chain}" for chain in sorted(now.chains)]
    lines += [f"delete chain {at} {chain}" for chain in sorted(now.chains - wanted.names.chains)]
    lines += [f"delete set {at} {name}" for name in sorted(now.sets - wanted.names.sets)]
    lines += [f"add set {at} {name} {{ {kind} }}" for name, kind in sorted(wanted.sets.items())]
    lines += [
        f"add chain {at} {chain} {{ {_HOOKS[chain]} }}" if chain in _HOOKS else f"add chain {at} {chain}"
        for chain in sorted(wanted.chains)
    ]
    lines += [f"add rule {at} {chain} {rule}" for chain, rules in sorted(wanted.chains.items()) for rule in rules]
    if wanted.served:
        lines.append(f"add element {at} served {{ {', '.join(wanted.served)} }}")
    if wanted.leads:
        lines.append(f"add element {at} pools {{ {', '.join(wanted.leads)} }}")
    return "\n".join(lines) + "\n"


def removal() -> str:
    """Takes the table away, if there is one."""
    return f"add table ip {TABLE}\ndelete table ip {TABLE}\n"


def _elements(frontend: Frontend, ports: Iterable[int]) -> list[str]:
    if not frontend.vip:
        return []
    place = f"{ipaddress.IPv4Address(frontend.vip)} . {_protocol(frontend)}"
    return [f"{place} . {_port(port)}" for port in ports]


def _protocol(frontend: Frontend) -> str:
    return "udp" if frontend.mode is Mode.UDP else "tcp"


def _port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise Permanent(f"{port} is not a port")
    return port


def _name(kind: str, place: Place) -> str:
    return kind + _digest(f"{place.pool} {place.address} {place.port}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
