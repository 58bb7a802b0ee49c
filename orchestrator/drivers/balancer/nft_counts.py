"""What the kernel counts of its pools: bytes to and from each member, and what was refused at each place. Pure.

Elements of sets count, one for a member behind an endpoint, and each place of clients: so what a member has carried
stays while others come and go, and who asks names the elements that he wants to hear of, and no others are listed.

A member is known by the port of the VIP that clients have asked for, at whatever VIP: what is open goes on to be
counted when that has become another's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from orchestrator.drivers.balancer.nft_words import FAMILIES, Family, address_of, elements_of, port_of, protocol_of
from orchestrator.model import Carried, Frontend, InstanceName, Member, Traffic, total

REFUSED: Final = "refused"  # places: nobody there takes what reaches the host itself
_TO, _FROM = "received", "sent"
_RANGES: Final = "_ranges"  # where an endpoint has several ports
_LINE: Final = re.compile(r"([0-9a-f.:]+ \. [a-z]+ \. [0-9-]+) counter packets ([0-9]+) bytes ([0-9]+)")
_ASKED_AT_ONCE: Final = 500  # elements
_AFTER_DSTNAT: Final = -99

NAMES: Final = (REFUSED, *(f"{name}{ranges}" for name in (_TO, _FROM) for ranges in ("", _RANGES)))
HOOKS: Final[Mapping[str, str]] = {
    "arriving": f"type filter hook prerouting priority {_AFTER_DSTNAT};",
    "sent_here": f"type filter hook output priority {_AFTER_DSTNAT};",
    "input": "type filter hook input priority -10;",
}


def sets(family: Family) -> dict[str, str]:
    """Those that count, with their type."""
    return {name: f"{family.key};{' flags interval;' if name.endswith(_RANGES) else ''} counter;" for name in NAMES}


def _counted(family: Family, name: str, member: str) -> tuple[str, ...]:
    # nft has to be told of the protocol before it knows what a connection's port is.
    key = f"meta l4proto {{ tcp, udp }} {family.name} {member} . meta l4proto . ct original proto-dst"
    return f"{key} @{name} return", f"{key} @{name}{_RANGES}"


_EITHER_WAY: Final = (
    f"ct status dnat ct direction original goto {_TO}",
    f"ct status dnat ct direction reply goto {_FROM}",
)


def chains(family: Family) -> dict[str, tuple[str, ...]]:
    """Those that count, and that refuse."""
    return {
        "arriving": ('iif "lo" return', *_EITHER_WAY),
        "sent_here": _EITHER_WAY,  # by the host: it is a client, and may be a member
        _TO: _counted(family, _TO, "daddr"),
        _FROM: _counted(family, _FROM, "saddr"),
        "input": (
            "ct state established return",  # of another balancer that had the place: what is cut is known no more
            f"meta l4proto tcp {family.place} @{REFUSED} reject with tcp reset",
            f"{family.place} @{REFUSED} reject with {family.refusal} type port-unreachable",
        ),
    }


def elements(
    family: Family, frontends: Sequence[Frontend], members: Collection[tuple[str, str]]
) -> dict[str, dict[str, str]]:
    """What counts, by its set: all places, and members of those endpoints, by pool and address."""
    ends = {str(frontend.pool): frontend for frontend in frontends}
    counting: dict[str, dict[str, str]] = {name: {} for name in NAMES}
    for frontend in filter(family.carries, frontends):
        counting[REFUSED] |= dict.fromkeys(elements_of(frontend, frontend.ports), "")
    for pool, address in members:
        if pool in ends and not ends[pool].each and family.is_of(address):
            for name in (_TO, _FROM):
                counting[_set(name, ends[pool])][_element(ends[pool], address)] = ""
    return counting


def _set(name: str, frontend: Frontend) -> str:
    return name if frontend.range is None else f"{name}{_RANGES}"


def _element(frontend: Frontend, address: str) -> str:
    first, last = frontend.port, frontend.range.last if frontend.range is not None else frontend.port
    ports = f"{port_of(first)}" if first == last else f"{first}-{port_of(last)}"
    return f"{address_of(address)} . {protocol_of(frontend)} . {ports}"


def questions(frontends: Sequence[Frontend], members: Collection[Member]) -> Iterator[tuple[str, str]]:
    """What to ask nftables for what these endpoints and their members have carried: the set, and the command."""
    for family in FAMILIES:
        theirs = [(pool, address) for one in members for pool, _ in one.pools for address in one.addresses]
        counting = elements(family, frontends, theirs)
        for name, keys in counting.items():
            asked = list(keys)
            for begin in range(0, len(asked), _ASKED_AT_ONCE):
                some = ", ".join(asked[begin : begin + _ASKED_AT_ONCE])
                yield name, f"get element {family.at} {name} {{ {some} }}"


@dataclass(frozen=True, slots=True)
class Counts:
    """Packets and bytes by set and element; of what was not there when it was asked for nothing is known."""

    by_set: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def heard(cls, answers: Iterable[tuple[str, str]]) -> Counts:
        """Of what nftables has answered, by the name of the set that it was asked about."""
        by_set: dict[str, dict[str, tuple[int, int]]] = {}
        for name, answer in answers:
            counted = by_set.setdefault(name, {})
            counted |= {element: (int(packets), int(sizes)) for element, packets, sizes in _LINE.findall(answer)}
        return cls(by_set)

    def carried(self, frontend: Frontend, open_at: Mapping[InstanceName, tuple[Sequence[str], int]]) -> Carried:
        """Of one endpoint: `open_at` are its members' addresses, and how many connections each has open.

        Whoever was refused has met no member. A packet without an answer was one connection that was not begun.
        """
        members = {
            name: Traffic(
                open=connections,
                received_bytes=self._bytes(_TO, frontend, addresses),
                sent_bytes=self._bytes(_FROM, frontend, addresses),
            )
            for name, (addresses, connections) in open_at.items()
        }
        places = [self._of(REFUSED, place) for place in elements_of(frontend, frontend.ports)]
        known = [packets for packets, _ in (one for one in places if one is not None)]
        refusals = sum(known) if len(known) == len(places) else None
        return Carried(whole=replace(total(members.values()), refusals=refusals), members=members)

    def _bytes(self, name: str, frontend: Frontend, addresses: Sequence[str]) -> int | None:
        counts = [self._of(_set(name, frontend), _element(frontend, address)) for address in addresses]
        known = [counted[1] for counted in counts if counted is not None]
        return sum(known) if known else None

    def _of(self, name: str, element: str) -> tuple[int, int] | None:
        return self.by_set.get(name, {}).get(element)
