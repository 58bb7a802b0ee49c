"""Who is on the other end of the socket, as the kernel says, and who may be. Nothing a client sends counts."""

from __future__ import annotations

import dataclasses
import enum
import os
import socket
import struct
from typing import Protocol

from starlette.requests import HTTPConnection

from orchestrator.errors import Unreachable

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


class Access(enum.Enum):
    """What a caller may do."""

    NOTHING = "nothing"
    LOOK = "look"  # GET what holds no secret; see `guard`
    ALL = "all"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, and what he may do at the listener that he came by."""

    peer: Peer
    access: Access


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who may do what at one listener: root, the daemon's own user and members of `group` (None: nobody else) may do
    everything, or only look where the listener is `for_looking`; members of `readers` (None: nobody) may look.
    """

    group: int | None = None
    readers: int | None = None
    for_looking: bool = False

    def caller(self, peer: Peer) -> Caller:
        """The peer, and what he may do."""
        if peer.uid in (0, os.geteuid()) or self.group in peer.groups:
            return Caller(peer=peer, access=Access.LOOK if self.for_looking else Access.ALL)
        return Caller(peer=peer, access=Access.LOOK if self.readers in peer.groups else Access.NOTHING)


def uid_of(request: HTTPConnection) -> int:
    """Whose request it is; the guard lets none pass without a caller."""
    caller: Caller = request.state.caller
    return caller.peer.uid


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
