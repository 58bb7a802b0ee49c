"""Tells at once when rules of ours are taken away: `nft flush ruleset` is how a host reloads its own firewall.

The kernel tells every change of nftables to a netlink group (linux/netfilter/nfnetlink.h, nf_tables.h). Here only the
removal of a table, a chain or a rule of ours matters; who did it does not, because laying what stands writes nothing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Final

log = logging.getLogger(__name__)
WAKES_S = 1.0  # How long the end of the watch may take.
SETTLES_S = 0.05  # A flush is told rule by rule.
_NETLINK_NETFILTER: Final = 12
_GROUP_NFTABLES: Final = 1 << (7 - 1)  # NFNLGRP_NFTABLES
_SUBSYSTEM_NFTABLES: Final = 10
_REMOVALS: Final = {2: "table", 5: "chain", 8: "rule"}  # NFT_MSG_DELTABLE, DELCHAIN, DELRULE
_TABLE_NAME: Final = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr
_FAMILY_BYTES: Final = 4  # nfgenmsg
_ATTRIBUTE: Final = struct.Struct("=HH")  # nlattr
_MESSAGE_BYTES: Final = 1 << 18


@contextlib.contextmanager
def ruleset_watch(table: str, wake: Callable[[str], None]) -> Iterator[None]:
    """Calls `wake` with the reason on a thread of its own until the context ends.

    Without the right to listen (CAP_NET_ADMIN) nothing is told, as the log says; what is missing is found by the
    next audit then.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER) as ear:
        try:
            ear.bind((0, _GROUP_NFTABLES))
        except OSError as error:
            log.warning("removed firewall rules are noticed late: netlink: %s", error.strerror)
            yield
            return
        ending = threading.Event()
        thread = threading.Thread(target=_listen, args=(ear, table, wake, ending), name="ruleset", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(WAKES_S * 2)


def _listen(ear: socket.socket, table: str, wake: Callable[[str], None], ending: threading.Event) -> None:
    lost = ""
    while not ending.is_set():
        ear.settimeout(SETTLES_S if lost else WAKES_S)
        try:
            lost = removed(ear.recv(_MESSAGE_BYTES), table) or lost
        except TimeoutError:
            if lost:
                wake(lost)
            lost = ""
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                log.warning("removed firewall rules are noticed late from now on: netlink: %s", error.strerror)
                return
            lost = "changes of the firewall came faster than they were read"


def removed(messages: bytes, table: str) -> str:
    """What the messages say was removed of the table, as a reason; "" when nothing."""
    found = ""
    while len(messages) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(messages)
        if length < _HEADER.size:
            return found
        body, messages = messages[_HEADER.size + _FAMILY_BYTES : length], messages[(length + 3) & ~3 :]
        subsystem, what = divmod(kind, 256)
        if subsystem == _SUBSYSTEM_NFTABLES and what in _REMOVALS and _name(body) == table:
            found = found or f"a {_REMOVALS[what]} of nft table {table} was removed"
    return found


def _name(body: bytes) -> str:
    """The table that an object belongs to, or is."""
    while len(body) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body)
        if length < _ATTRIBUTE.size:
            break
        if kind == _TABLE_NAME:
            return body[_ATTRIBUTE.size : length].rstrip(b"\0").decode(errors="replace")
        body = body[(length + 3) & ~3 :]
    return ""
