"""How many connections a guest may have at a time, by IPv4 and by IPv6: the host's table of them is one for all."""

from __future__ import annotations

from typing import Final

from orchestrator.drivers.tools import nft
from orchestrator.drivers.tools.nft import Set, drop, field, match, oftener, over, remember

FLOWS_MAX: Final = 8192  # connections of a guest; the kernel has room for 262,144 on all but small hosts
# Each new connection of a guest that has so many costs a walk through all of them; so one that is told no is counted
# anew only so often. Else it takes a processor, at a tenth of the packets that cost nothing now (measured).
KNOCKS_PER_S: Final = 50
FULL_S: Final = 5
CROWDING_S: Final = 180  # for how long a guest that met a limit is known as such, longer than between two audits


def counting(kind: str, suffix: str) -> tuple[Set, ...]:
    """What is known of guests' connections, by their addresses."""
    return (
        Set(name=f"flows{suffix}", type=(kind,), filled=True),
        Set(name=f"full{suffix}", type=(kind,), filled=True, timeout_s=FULL_S),
        Set(name=f"knocks{suffix}", type=(kind,), filled=True, timeout_s=FULL_S),
        Set(name=f"crowding{suffix}", type=(kind,), filled=True, timeout_s=CROWDING_S),
    )


def limits(protocol: str, suffix: str, whose: str) -> tuple[tuple[nft.Json, ...], ...]:
    """Rules for a packet of such a guest that begins a connection."""
    sender = field(protocol, "saddr")
    return (
        (
            match(sender, f"@full{suffix}"),
            oftener(KNOCKS_PER_S, sender, f"knocks{suffix}"),
            *drop(f"too many connections of {whose}, again"),
        ),
        (
            over(FLOWS_MAX, sender, f"flows{suffix}"),
            remember(sender, f"full{suffix}"),
            remember(sender, f"crowding{suffix}"),
            *drop(f"too many connections of {whose}"),
        ),
    )
