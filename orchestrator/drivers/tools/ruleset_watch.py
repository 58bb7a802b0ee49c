"""Tells at once when rules of ours are taken away: `nft flush ruleset` is how a host reloads its own firewall.

The kernel tells every change of nftables to a netlink group (linux/netfilter/nfnetlink.h, nf_tables.h). Here only the
removal of a table, a chain or a rule of ours matters; who did it does not, because laying what stands writes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from orchestrator.drivers.tools import netlink

_NETLINK_NETFILTER: Final = 12
_GROUP_NFTABLES: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_SUBSYSTEM_NFTABLES: Final = 10
_REMOVALS: Final = {2: "table", 5: "chain", 8: "rule"}  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_FAMILY_BYTES: Final = 4  # nfgenmsg


def ruleset_watch(table: str, wake: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
    """Calls `wake` with the reason on a thread of its own until the context ends; see `netlink.watch`."""
    return netlink.watch(
        _NETLINK_NETFILTER,
        _GROUP_NFTABLES,
        what="removed firewall rules",
        read=lambda data: removed(data, table),
        wake=wake,
    )


def removed(messages: bytes, table: str) -> str:
    """What the messages say was removed of the table, as a reason; "" when nothing."""
    for kind, body in netlink.messages(messages):
        subsystem, what = divmod(kind, 256)
        ours = subsystem == _SUBSYSTEM_NFTABLES and what in _REMOVALS
        if ours and netlink.text(body[_FAMILY_BYTES:], _TABLE_NAME) == table:
            return f"a {_REMOVALS[what]} of nft table {table} was removed"
    return ""
