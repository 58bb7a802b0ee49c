"""Tells at once when rules of ours are taken away: `nft flush ruleset` is how a host reloads its own firewall.

The kernel tells every change of nftables to a netlink group (linux/netfilter/nfnetlink.h, nf_tables.h). Who lays
what stands writes nothing, and so for him only the removal of a table, a chain or a rule of ours matters, whoever did
it. Who writes a part at a time counts the transactions that have touched his table (`Touches`): one that is not his
own is somebody else's.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final, Self

from orchestrator.drivers.tools import netlink

_NETLINK_NETFILTER: Final = 12
_GROUP_NFTABLES: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_SUBSYSTEM_NFTABLES: Final = 10
# NFT_MSG_*, from linux/netfilter/nf_tables.h.
_REMOVALS: Final = {2: "table", 5: "chain", 8: "rule"}
_NEW_GENERATION: Final = 15  # the end of a transaction
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE
_FAMILY_BYTES: Final = 4  # nfgenmsg
_MESSAGE_BYTES: Final = 1 << 18
_HEARD_BYTES: Final = 1 << 26  # as a limit: some 40,000 members. What finds no room is not known to be one's own.
_SO_RCVBUFFORCE: Final = 33


def ruleset_watch(
    table: str, wake: Callable[[str], None], *, whole: bool = False
) -> contextlib.AbstractContextManager[None]:
    """Calls `wake` with the reason on a thread of its own until the context ends; see `netlink.watch`.

    `whole`: whatever of the table is changed, and not only what is removed.
    """
    return netlink.watch(
        _NETLINK_NETFILTER,
        _GROUP_NFTABLES,
        what="changed firewall rules" if whole else "removed firewall rules",
        read=lambda data: changed(data, table) if whole else removed(data, table),
        wake=wake,
    )


def removed(messages: bytes, table: str) -> str:
    """What the messages say was removed of the table, as a reason; "" when nothing."""
    for kind, body in netlink.messages(messages):
        what = _of_nftables(kind)
        if what in _REMOVALS and _is_of(body, table):
            return f"a {_REMOVALS[what]} of nft table {table} was removed"
    return ""


def changed(messages: bytes, table: str) -> str:
    """What the messages say was done to the table, as a reason; "" when nothing."""
    of_it = any(_of_nftables(kind) != _NEW_GENERATION and _is_of(body, table) for kind, body in _told(messages))
    return f"nft table {table} was changed" if of_it else ""


class Touches:
    """Counts the transactions that have touched one table. `with` begins to listen. Not thread-safe.

    What packets put into sets is no transaction.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._ear: socket.socket | None = None
        self._begun = False  # whether what was heard last belongs to a transaction whose end is still to come

    def __enter__(self) -> Self:
        ear = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
        ear.setblocking(False)
        with contextlib.suppress(OSError):
            ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _HEARD_BYTES)
        try:
            ear.bind((0, _GROUP_NFTABLES))
        except OSError:  # Without the right, nothing is known.
            ear.close()
        else:
            self._ear = ear
        return self

    def __exit__(self, *_: object) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None

    def count(self) -> int | None:
        """So many since it was asked last; None when that is not known. The kernel tells of a transaction before it
        tells its author that it is done.
        """
        if self._ear is None:
            return None
        number: int | None = 0
        while True:
            try:
                heard = self._ear.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                return number
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                number, self._begun = None, False
                continue
            for kind, body in _told(heard):
                if _of_nftables(kind) != _NEW_GENERATION:
                    self._begun = self._begun or _is_of(body, self._table)
                elif self._begun:
                    number, self._begun = None if number is None else number + 1, False


def _told(messages: bytes) -> list[tuple[int, bytes]]:
    return [(kind, body) for kind, body in netlink.messages(messages) if _of_nftables(kind) >= 0]


def _of_nftables(kind: int) -> int:
    """Which of nftables' messages it is; -1: none."""
    subsystem, what = divmod(kind, 256)
    return what if subsystem == _SUBSYSTEM_NFTABLES else -1


def _is_of(body: bytes, table: str) -> bool:
    return netlink.text(body[_FAMILY_BYTES:], _TABLE_NAME) == table
