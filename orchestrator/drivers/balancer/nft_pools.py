"""Pools as tables of nftables, `ip vmrole_pools` and `ip6 vmrole_pools`: what each shall hold, as text for one
transaction. Pure.

Each endpoint is an element of a map that leads to its pool's chain; from there a map of the pool's own deals new
connections out to its members' chains, which translate the address (DNAT). What has begun is the kernel's to
remember, whatever the table says later. What reaches the host for an endpoint is for a pool without members, belongs
to a connection that was cut, comes from where no client may come from, or is beyond a limit: it is refused at once.

A member that comes or goes moves nobody but, where it leaves a gap, the last one into that: what a change has to say
does not grow with the number of the others, of the same pool or of any.

Limits are counted by conntrack in sets of the table, which stay while members come and go. A set is named after its
limit, too: what it holds of a client remembers the number that held when it came. A count is a walk through all that
it counts, so whoever has met a limit and knocks on is counted seldom, and refused without in between.

Names of chains and sets are digests: nothing that a user wrote stands in the text, only addresses and ports.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from orchestrator.drivers.balancer import nft_counts
from orchestrator.drivers.balancer.nft_words import (
    ADDRESSES_KNOWN,
    IPV4,
    Family,
    address_of,
    elements_of,
    port_of,
    protocol_of,
)
from orchestrator.model import Frontend, Mode, PoolName, ip

LEADS, NEIGHBOURS = "pools", "neighbours"  # maps that are always there
CLIENTS_KNOWN: Final = 65_536  # addresses that one member's affinity remembers, or whose connections are counted
# By TCP, from one address to an endpoint that says no number. The kernel has room for 262,144 of all, and looks at
# each that it counts when another is begun, though not more often than once a tick: for so many, for a millisecond.
CLIENT_CONNECTIONS: Final = 4_096
KNOCKS_PER_S: Final = 50  # for so many of those who are beyond a limit, it is looked whether there is room again
_FULL_S: Final = 5  # Whoever has been quiet for so long is counted as if he had never met the limit.
_DSTNAT, _BEFORE_SRCNAT = -100, 99
_NUMBERS: Final = 65_536  # by which a pool's members are told apart
_CLIENTS: Final = f"size {CLIENTS_KNOWN}; flags dynamic,timeout;"
_T = TypeVar("_T")


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
    """The chains, sets and maps of a table, apart from those that are always there."""

    chains: frozenset[str] = frozenset()
    sets: frozenset[str] = frozenset()
    maps: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Pools:
    """Chains with their rules, sets and maps with their type, and the elements of those that are ours to fill: what
    each leads to, "" in a set.
    """

    chains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, str] = field(default_factory=dict)
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    numbered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by map: who is dealt to, in its order
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by chain: whose clients each knows; "": free
    family: Family = IPV4

    @property
    def names(self) -> Names:
        """What a later transaction has to take away when it is no longer wanted."""
        return Names(frozenset(self.chains), frozenset(self.sets), frozenset(self.maps))


def pools(
    frontends: Sequence[Frontend],
    takers: Collection[Place],
    known: Collection[Place],
    before: Pools | None = None,
    family: Family = IPV4,
) -> Pools:
    """The content of a family's table, with the endpoints that are its own.

    `takers` get new connections; `known` are all members, also those that drain. Who was in the table `before` keeps
    his number there if he can.
    """
    made, known = _Made(family, before or Pools()), [one for one in known if family.is_of(one.address)]
    by_pool: dict[PoolName, list[Place]] = {}
    for one in takers:
        by_pool.setdefault(one.pool, []).append(one)
    for frontend in sorted(filter(family.carries, frontends), key=lambda frontend: frontend.pool):
        limits = _limits(family, frontend)
        for limit in limits:
            made.sets |= limit.sets()
        places = sorted(by_pool.get(frontend.pool, ()), key=lambda one: (one.index, one.address, one.port))
        if places:
            made.add(frontend, limits, places)
    made.chains |= _fixed(family)
    made.elements |= nft_counts.elements(family, frontends, [(one.pool, one.address) for one in known])
    for subnet in {_subnet(one.address, family.bits) for one in known}:
        # A member that reaches its own service would be answered by its neighbour directly, and from another address.
        chain = f"n{_digest(str(subnet))}"
        made.chains[chain] = (f"{family.name} daddr {subnet} masquerade",)
        made.elements[NEIGHBOURS][str(subnet.network_address)] = f"goto {chain}"
    return Pools(made.chains, made.sets, made.maps, made.elements, made.numbered, made.slots, family)


class _Made:
    """A table's content while it is put together."""

    def __init__(self, family: Family, before: Pools) -> None:
        self._family = family
        self._before = before
        self.chains: dict[str, tuple[str, ...]] = {}
        self.sets: dict[str, str] = {}
        self.maps: dict[str, str] = _maps(family)
        self.elements: dict[str, dict[str, str]] = {LEADS: {}, NEIGHBOURS: {}}
        self.numbered: dict[str, tuple[str, ...]] = {}
        self.slots: dict[str, tuple[str, ...]] = {}

    def add(self, frontend: Frontend, limits: Sequence[_Limit], places: Sequence[Place]) -> None:
        """An endpoint that has members."""
        pool = _digest(frontend.pool)
        rules = [*_allowed(self._family, frontend.allow), *(limit.refuse_unseen() for limit in limits)]
        rules += [rule for limit in limits for rule in limit.count()]
        for one in places:
            self.chains[_name("m", one)] = (_led(frontend, one),)
        if frontend.affinity_s is not None:
            self._remember(f"k{pool}", places, max(1, round(frontend.affinity_s)))
            rules.append(f"jump k{pool}")
        self.chains[f"p{pool}"] = (*rules, f"goto d{pool}")
        self._deal(frontend, pool, places)
        ports = [frontend.port + one.index for one in places] if frontend.each else frontend.ports
        self.elements[LEADS] |= dict.fromkeys(elements_of(frontend, ports), f"goto p{pool}")

    def _remember(self, chain: str, places: Sequence[Place], time_s: int) -> None:
        """A member puts his clients into a set of his own. Each is asked for in a chain of its own, which another
        member takes over later.
        """
        sets = {_name("m", one): f"{_name('a', one)}{time_s}" for one in places}
        for member, kept in sets.items():
            self.sets[kept] = f"type {self._family.type}; {_CLIENTS} timeout {time_s}s;"
            self.chains[member] = (f"update @{kept} {{ {self._family.name} saddr }}", *self.chains[member])
        slots = self.slots[chain] = _kept(self._before.slots.get(chain, ()), sets)
        names = [f"s{_digest(f'{chain} {number}')}" for number in range(len(slots))]
        for name, member in zip(names, slots, strict=True):
            self.chains[name] = (f"{self._family.name} saddr @{sets[member]} goto {member}",) if member else ()
        self.chains[chain] = tuple(f"jump {name}" for name in names)

    def _deal(self, frontend: Frontend, pool: str, places: Sequence[Place]) -> None:
        """To one after the other; to whose port it is, where each has its own."""
        dealt, members = f"{'e' if frontend.each else 'v'}{pool}", [_name("m", one) for one in places]
        if frontend.each:
            by, kind = f"{protocol_of(frontend)} dport", "type inet_service : verdict;"
            numbers = {str(port_of(frontend.port + one.index)): _name("m", one) for one in places}
        else:
            order = self.numbered[dealt] = _closed(_kept(self._before.numbered.get(dealt, ()), members))
            by, kind = f"numgen inc mod {len(order)}", f"typeof numgen inc mod {_NUMBERS} : verdict;"
            numbers = {str(number): one for number, one in enumerate(order)}
        self.maps[dealt] = kind
        self.elements[dealt] = {number: f"goto {one}" for number, one in numbers.items()}
        first = () if frontend.each else (f"numgen inc mod 1 vmap @{dealt}",)  # rules of before meet the map of now
        self.chains[f"d{pool}"] = (f"{by} vmap @{dealt}", *first)


def _kept(before: Sequence[str], now: Collection[str]) -> tuple[str, ...]:
    """`now` where they were; who is new takes what is free (""), and then a place at the end."""
    wanted, had = set(now), set(before)
    stay = [one if one in wanted else "" for one in before]
    fresh = [one for one in now if one not in had]
    for number, one in enumerate(stay):
        if not one and fresh:
            stay[number] = fresh.pop(0)
    return (*stay, *fresh)


def _closed(order: Sequence[str]) -> tuple[str, ...]:
    """Without gaps: the last one fills each."""
    left = list(order)
    for number in range(len(left) - 1, -1, -1):
        if not left[number]:
            left[number] = left[-1]
            left.pop()
    return tuple(left)


def _led(frontend: Frontend, place: Place) -> str:
    """To the member. What the kernel is not told to change of a port it leaves as it is."""
    address, first = address_of(place.address), port_of(place.port)
    to = f"meta l4proto {protocol_of(frontend)} dnat to {f'[{address}]' if ':' in address else address}"
    if frontend.each or frontend.range is None:
        return f"{to}:{first}"
    if first == frontend.port:
        return to
    moved = ", ".join(f"{port_of(port)} : {port_of(first + port - frontend.port)}" for port in frontend.range)
    return f"{to} : {protocol_of(frontend)} dport map {{ {moved} }}"


def _allowed(family: Family, networks: Collection[str]) -> list[str]:
    """Who comes from elsewhere is refused before he counts as anybody's client."""
    ours = [one for one in map(ip.network, networks) if one.version == family.version]
    apart = list(ipaddress.collapse_addresses(ours))  # type: ignore[type-var]  # They are of one version.
    if not networks or any(one.prefixlen == 0 for one in apart):
        return []
    return [f"{family.name} saddr != {{ {', '.join(map(str, apart))} }} return" if apart else "return"]


@dataclass(frozen=True, slots=True)
class _Limit:
    """So many connections at a time of whatever `key` tells apart."""

    name: str
    key: str
    most: int
    type: str

    @property
    def _full(self) -> str:
        return f"{self.name}f"

    @property
    def _knocks(self) -> str:
        return f"{self.name}k"

    def sets(self) -> dict[str, str]:
        """What is counted, who has met the limit, and how often those knock."""
        kind = f"type {self.type}; size {CLIENTS_KNOWN};"
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


def _limits(family: Family, frontend: Frontend) -> list[_Limit]:
    """A client's, and then all clients' together: whoever is beyond his own takes nothing of theirs."""
    most, of_a_client = frontend.connections_max, frontend.client_connections_max
    if of_a_client is None and most is not None:
        of_a_client = max(1, most // 2)
    if of_a_client is None and frontend.mode is not Mode.UDP:
        of_a_client = CLIENT_CONNECTIONS
    # Who has one address of IPv6 has all of its network's.
    client = f"{family.name} saddr" if family.version == 4 else f"{family.name} saddr & {family.mask}"
    kinds = (("c", client, of_a_client), ("e", f"{family.name} daddr", most))
    names = [(kind + _digest(f"{frontend.pool} {number}"), key, number) for kind, key, number in kinds if number]
    return [_Limit(name, key, number, family.type) for name, key, number in names]


_HOOKS: Final = {
    "prerouting": f"type nat hook prerouting priority {_DSTNAT};",
    "output": f"type nat hook output priority {_DSTNAT};",
    "postrouting": f"type nat hook postrouting priority {_BEFORE_SRCNAT};",
    **nft_counts.HOOKS,
}


def _maps(family: Family) -> dict[str, str]:
    return {LEADS: f"{family.key} : verdict;", NEIGHBOURS: f"type {family.type} : verdict;"}


def _fixed(family: Family) -> dict[str, tuple[str, ...]]:
    return {
        "prerouting": ("jump dispatch",),
        "output": ("jump dispatch",),
        # A packet in the middle of a connection that nobody knows begins none.
        "dispatch": ("tcp flags & (fin | syn | rst | ack) != syn return", f"{family.place} vmap @{LEADS}"),
        "postrouting": (f"ct status dnat {family.name} saddr & {family.mask} vmap @{NEIGHBOURS}",),
        **nft_counts.chains(family),
    }


def transaction(wanted: Pools, now: Names) -> str:
    """Makes the table what is wanted, all at once, from whatever it holds; what affinity remembers of members that
    stay is kept.
    """
    family = wanted.family
    filled = [f"flush map {family.at} {name}" for name in sorted({*now.maps, *wanted.maps})]
    rules = {chain: rules for chain, rules in wanted.chains.items() if rules}
    return _text(
        [f"add table {family.at}"],
        _sets(family, wanted.maps, {**nft_counts.sets(family), **wanted.sets}),
        [*(f"flush set {family.at} {name}" for name in nft_counts.NAMES), *filled],
        [f"flush chain {family.at} {chain}" for chain in sorted(now.chains)],
        _gone(family, now, wanted.names),
        _chains(family, wanted.chains),
        _rules(family, rules),
        _filled(family, wanted.elements),
    )


def change(before: Pools, wanted: Pools) -> str:
    """Makes the table what is wanted, all at once, where it holds what it held `before`. Says only what differs."""
    family = wanted.family
    was, gone = before.names, before.chains.keys() - wanted.chains.keys()
    longer, other = {}, {}
    for chain, rules in wanted.chains.items():
        had = before.chains.get(chain, ())
        if rules[: len(had)] == had:
            longer[chain] = rules[len(had) :]
        else:
            other[chain] = rules
    fresh, stale = {}, {}
    for name, now in wanted.elements.items():
        then = before.elements.get(name, {})
        fresh[name] = {key: to for key, to in now.items() if then.get(key) != to}
        stale[name] = {key: "" for key, to in then.items() if now.get(key) != to}
    return _text(
        _sets(family, _fresh(wanted.maps, before.maps), _fresh(wanted.sets, before.sets)),
        [f"flush map {family.at} {name}" for name in sorted(before.maps.keys() - wanted.maps.keys())],
        _filled(family, stale, "delete"),
        [f"flush chain {family.at} {chain}" for chain in sorted(gone | other.keys())],
        _gone(family, was, wanted.names),
        _chains(family, _fresh(wanted.chains, before.chains)),
        _rules(family, longer | other),
        _filled(family, fresh),
    )


def _fresh(wanted: Mapping[str, _T], before: Collection[str]) -> dict[str, _T]:
    return {name: value for name, value in wanted.items() if name not in before}


def _text(*parts: Iterable[str]) -> str:
    return "".join(f"{line}\n" for part in parts for line in part)


def _sets(family: Family, maps: Mapping[str, str], sets: Mapping[str, str]) -> list[str]:
    return [
        *(f"add map {family.at} {name} {{ {kind} }}" for name, kind in sorted(maps.items())),
        *(f"add set {family.at} {name} {{ {kind} }}" for name, kind in sorted(sets.items())),
    ]


def _gone(family: Family, now: Names, wanted: Names) -> list[str]:
    kinds = (("chain", now.chains - wanted.chains), ("map", now.maps - wanted.maps), ("set", now.sets - wanted.sets))
    return [f"delete {kind} {family.at} {name}" for kind, names in kinds for name in sorted(names)]


def _chains(family: Family, names: Iterable[str]) -> list[str]:
    hooks = {name: f" {{ {_HOOKS[name]} }}" if name in _HOOKS else "" for name in names}
    return [f"add chain {family.at} {name}{hook}" for name, hook in sorted(hooks.items())]


def _rules(family: Family, chains: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"add rule {family.at} {chain} {rule}" for chain, rules in sorted(chains.items()) for rule in rules]


def _filled(family: Family, elements: Mapping[str, Mapping[str, str]], verb: str = "add") -> list[str]:
    listed = {
        name: ", ".join(f"{key} : {to}" if to else key for key, to in some.items()) for name, some in elements.items()
    }
    return [f"{verb} element {family.at} {name} {{ {some} }}" for name, some in sorted(listed.items()) if some]


def removal(family: Family = IPV4) -> str:
    """Takes the table away, if there is one."""
    return f"add table {family.at}\ndelete table {family.at}\n"


@functools.lru_cache(maxsize=ADDRESSES_KNOWN)
def _subnet(address: str, bits: int) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(f"{address}/{bits}", strict=False)


def _name(kind: str, place: Place) -> str:
    return kind + _digest(f"{place.pool} {place.address} {place.port}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
