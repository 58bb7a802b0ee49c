"""Who is at the other end of a socket of this host."""

from __future__ import annotations

import socket
import struct


def peer_pid(connection: socket.socket) -> int:
    """The process that connected, as the kernel has it; unix(7)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, _, _ = struct.unpack("3i", credentials)
    return int(pid)
