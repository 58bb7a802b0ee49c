"""The kernel's table of connections, as far as it sends them to members: listed and cut, by netlink.

Formats: linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h. Only what was sent on to another address (DNAT) is
seen.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Self

from orchestrator.drivers.tools import netlink
from orchestrator.errors import Permanent, Unreachable

ANSWER_S: Final = 5.0
_NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 1 << 8  # NFNL_SUBSYS_CTNETLINK
_GET, _DELETE = 1, 2  # IPCTNL_MSG_CT_GET, IPCTNL_MSG_CT_DELETE
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _ID, _STATUS_MASK = 1, 2, 3, 4, 12, 26
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_ENDS: Final = {socket.AF_INET: (1, 2), socket.AF_INET6: (3, 4)}  # source and target within _TUPLE_IP
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_DST_NAT: Final = 1 << 5  # IPS_DST_NAT
_OVER: Final = (6, 7, 8)  # TCP_CONNTRACK_LAST_ACK, TIME_WAIT, CLOSE
_FAMILY: Final = struct.Struct("=BBH")  # nfgenmsg
# Hosts have many times as many that were not: the kernel leaves those out. One that does not know how lists all.
_SENT_ON: Final = b"".join(netlink.attribute(kind, struct.pack("!I", _DST_NAT)) for kind in (_STATUS, _STATUS_MASK))


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A connection that was sent on: from whom, to which address and port, and who answers. `open`: not over yet."""

    protocol: int
    client: str
    client_port: int
    vip: str
    port: int
    member: str
    open: bool
    key: bytes  # what names it to the kernel
    family: int = socket.AF_INET


class Ear:
    """What the kernel is asked by: `with` keeps it for many questions, without there is one for each. Thread-safe.

    Whoever closes a socket of netfilter's waits until the kernel has disposed of what the last transactions of
    nftables took away, some 10 to 30 ms after each.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._kept = False

    def __enter__(self) -> Self:
        self._kept = True
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._kept = False
            self._close()

    def ask(self, message: bytes, *, absent_is_fine: bool = False) -> list[bytes]:
        """The bodies of all that the kernel answers. Unreachable when it does not."""
        with self._lock:
            if self._socket is None:
                self._socket = _open()
            whole = False
            try:
                self._socket.send(message)
                answers = list(_answers(self._socket, absent_is_fine=absent_is_fine))
                whole = True
            finally:
                if not (whole and self._kept):  # What is left of an answer would be taken for the next one's.
                    self._close()
        return answers

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def flows(ear: Ear | None = None) -> list[Flow]:
    """All that were sent on to another address. Unreachable when the kernel does not answer."""
    with contextlib.nullcontext(ear) if ear is not None else Ear() as asked:
        answers = asked.ask(_message(_GET, _REQUEST | _DUMP, _SENT_ON))
    return [flow for flow in map(_flow, answers) if flow is not None]


def cut(which: Callable[[Flow], bool], ear: Ear | None = None) -> int:
    """Makes the kernel forget those connections; their next packet belongs to none. Returns how many there were."""
    with contextlib.nullcontext(ear) if ear is not None else Ear() as asked:
        gone = [flow for flow in flows(asked) if which(flow)]
        for flow in gone:
            asked.ask(_message(_DELETE, _REQUEST | _ACK, flow.key, flow.family), absent_is_fine=True)
    return len(gone)


def _open() -> socket.socket:
    ear = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    ear.settimeout(ANSWER_S)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    return ear


def _message(what: int, flags: int, body: bytes, family: int = socket.AF_UNSPEC) -> bytes:
    return netlink.message(_SUBSYSTEM | what, flags, _FAMILY.pack(family, 0, 0) + body)


def _answers(ear: socket.socket, *, absent_is_fine: bool = False) -> Iterator[bytes]:
    """The bodies of all messages until the kernel says that there are no more."""
    while True:
        try:
            data = ear.recv(1 << 18)
        except OSError as error:
            raise Unreachable(
                f"the kernel does not list its connections: {error}", hint="it is asked again"
            ) from error
        for kind, body in netlink.messages(data):
            if kind == _DONE:
                return
            if kind == _ERROR:
                number = -struct.unpack_from("=i", body)[0]
                if number in (0, errno.ENOENT if absent_is_fine else 0):
                    return
                if number in (errno.EPERM, errno.EACCES):
                    raise Permanent("no right to see the kernel's connections", hint="run the daemon as root")
                raise Unreachable(
                    f"the kernel does not list its connections: error {number}", hint="it is asked again"
                )
            yield body[_FAMILY.size :]


def _flow(body: bytes) -> Flow | None:
    parts = netlink.attributes(body)
    status = struct.unpack("!I", parts.get(_STATUS, bytes(4)))[0]
    if not status & _DST_NAT or _TUPLE_ORIG not in parts or _TUPLE_REPLY not in parts:
        return None
    begun, answered = netlink.attributes(parts[_TUPLE_ORIG]), netlink.attributes(parts[_TUPLE_REPLY])
    ends, protocol = netlink.attributes(begun[_TUPLE_IP]), netlink.attributes(begun[_TUPLE_PROTO])
    number = protocol[_PROTO_NUM][0]
    family = next((family for family, (source, _) in _ENDS.items() if source in ends), None)
    if _PROTO_DST_PORT not in protocol or family is None:
        return None
    source, target = _ENDS[family]
    tcp = netlink.attributes(parts.get(_PROTOINFO, b"")).get(_PROTOINFO_TCP, b"")
    state = netlink.attributes(tcp).get(_TCP_STATE, b"\0")[0]
    key = netlink.attribute(_TUPLE_ORIG | 0x8000, parts[_TUPLE_ORIG])  # NLA_F_NESTED
    if _ID in parts:
        key += netlink.attribute(_ID, parts[_ID])
    return Flow(
        protocol=number,
        client=str(ipaddress.ip_address(ends[source])),
        client_port=struct.unpack("!H", protocol[_PROTO_SRC_PORT])[0],
        vip=str(ipaddress.ip_address(ends[target])),
        port=struct.unpack("!H", protocol[_PROTO_DST_PORT])[0],
        member=str(ipaddress.ip_address(netlink.attributes(answered[_TUPLE_IP])[source])),
        open=not (number == socket.IPPROTO_TCP and state in _OVER),
        key=key,
        family=family,
    )
