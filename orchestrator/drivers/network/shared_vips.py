"""Whose a VIP is in the firewall's set, which has one owner for each, though several services may need it.

An address is a VIP as long as any service has an endpoint at it. So who comes leaves it to who has it, and who goes
hands it over: at no moment is there an endpoint whose address is not guarded. Pure.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable, Mapping

from orchestrator.drivers.tools.nft import Key


def owned(
    now: Mapping[Key, str], ends: Iterable[tuple[Key, str]], wanted: Collection[Key], owner: str
) -> list[tuple[str, frozenset[Key]]]:
    """What is to be whose, for `nft.change` of one after the other, when `owner` needs exactly `wanted`.

    `now` are the VIPs by who has them; `ends` the endpoints (address, port) by whose they are, as they will be.
    """
    others: dict[str, set[str]] = collections.defaultdict(set)
    for (address, *_), whose in ends:
        if whose != owner:
            others[address].add(whose)
    left = {key for key in wanted if now.get(key, owner) in others[key[0]]}
    handed: dict[str, set[Key]] = collections.defaultdict(set)
    for key, whose in now.items():
        if whose == owner and key not in wanted and others[key[0]]:
            handed[min(others[key[0]])].add(key)
    heirs = [
        (heir, frozenset(keys | {key for key, whose in now.items() if whose == heir}))
        for heir, keys in handed.items()
    ]
    return [*heirs, (owner, frozenset(wanted) - left)]
