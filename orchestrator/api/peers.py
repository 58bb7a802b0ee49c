"""Who asks, and what he may do. At a unix socket the kernel says who it is: nothing that a client sends counts."""

from __future__ import annotations

import dataclasses
import os
import socket
import struct
from collections.abc import Callable
from typing import Protocol

from starlette.requests import HTTPConnection

from orchestrator.errors import Unreachable
from orchestrator.model.right import Right

_UCRED = struct.Struct("3i")  # pid, uid, gid; unix(7), SO_PEERCRED
_SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)  # Linux 4.13; Python has no name for it yet
_GROUPS_BYTES = 1024  # 256 groups; the most that Python's getsockopt can fetch


class PeerSocket(Protocol):
    """What we need of a socket, asyncio's own wrapper included."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
        """See socket(2)."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The process that connected: its ids at that moment."""

    pid: int
    uid: int
    groups: frozenset[int]  # the primary one included


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and what he may do at the door that he came by."""

    party: str  # as which he takes places: "uid 1000"
    whence: str  # with the party, how the log names him: "pid 4711"
    right: Right | None  # None: he may do nothing here
    uid: int | None = None  # None: he comes from the network, and is no user of this host
    stands: Callable[[], bool] = dataclasses.field(
        default=lambda: True, repr=False, compare=False
    )  # his right, still

    def __str__(self) -> str:
        return f"{self.party} ({self.whence})"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who may do what at one listener: root, the daemon's own user and members of `group` (None: nobody else) are
    admins, or viewers where the listener is `for_looking`; members of `readers` (None: nobody) are viewers.
    """

    group: int | None = None
    readers: int | None = None
    for_looking: bool = False

    def caller(self, peer: Peer) -> Caller:
        """The peer, and what he may do."""
        if is_owner(peer.uid) or self.group in peer.groups:
            return local(peer, Right.VIEWER if self.for_looking else Right.ADMIN)
        return local(peer, Right.VIEWER if self.readers in peer.groups else None)


def is_owner(uid: int | None) -> bool:
    """Whether it is root's, or the user's that the daemon runs as: whose its records are."""
    return uid in (0, os.geteuid())


def local(peer: Peer, right: Right | None) -> Caller:
    """A process of this host with that right."""
    return Caller(party=f"uid {peer.uid}", whence=f"pid {peer.pid}", right=right, uid=peer.uid)


def caller_of(request: HTTPConnection) -> Caller:
    """Whose request it is; the guard lets none pass without one."""
    caller: Caller = request.state.caller
    return caller


def peer_of(connection: PeerSocket) -> Peer:
    """The process at the other end of a connected unix socket; raises Unreachable when it is already gone."""
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError as error:
        raise Unreachable(f"the peer of a connection cannot be known: {error}") from error
    try:
        groups = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:  # In more groups than fit: then only the primary one counts.
        groups = b""
    pid, uid, gid = _UCRED.unpack(credentials)
    return Peer(pid=pid, uid=uid, groups=frozenset((gid, *memoryview(groups).cast("I"))))
