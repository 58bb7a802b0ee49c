"""The IPv6 addresses of this host, by netlink: they have no label that says whose they are, but a protocol.

Formats: linux/if_addr.h and rtnetlink(7). iproute2 before 6.3 neither writes nor shows the protocol (IFA_PROTO), and
Linux before 5.18 does not keep it.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.drivers.network.host_addresses import Address
from orchestrator.drivers.tools import netlink
from orchestrator.errors import Permanent, Unreachable

ANSWER_S: Final = 5.0
OURS: Final = 0x76  # the protocol of our addresses; the kernel's own are 1 to 3
_NEW, _DELETE, _GET = 20, 21, 22  # RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP, _EXCLUSIVE, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ADDRESS, _LOCAL, _CACHE, _FLAGS, _PROTOCOL = 1, 2, 6, 8, 11  # IFA_*
_NO_DAD, _NO_ROUTE = 0x02, 0x200  # IFA_F_NODAD, IFA_F_NOPREFIXROUTE
_FOREVER: Final = 0xFFFFFFFF
_BODY: Final = struct.Struct("=BBBBI")  # ifaddrmsg
_LINKS: Final = Path("/proc/sys/net/ipv6/conf")


def look(label: str) -> list[Address]:
    """All but link-local ones. Ours have the label of `label` that IPv4's have: INTERFACE and that."""
    if not _LINKS.exists():  # The host speaks no IPv6 at all.
        return []
    names = dict(socket.if_nameindex())
    return [
        Address(names[index], address, names[index] + label if ours else "", length)
        for index, address, length, ours in _addresses()
        if index in names
    ]


def add(interface: str, address: str) -> None:
    """Adds one of ours, /128, that nothing begins a connection from by itself; whether it is free is known already.

    Raises Permanent where the host cannot have it.
    """
    if not _speaks(interface):
        raise Permanent(
            f"{interface} has no IPv6, and cannot have {address}",
            hint=f"sysctl -w net.ipv6.conf.{interface}.disable_ipv6=0, or choose an IPv4 address for the VIP",
        )
    packed, index = ipaddress.IPv6Address(address).packed, socket.if_nametoindex(interface)
    body = _BODY.pack(socket.AF_INET6, 128, 0, 0, index)
    for kind, value in (
        (_LOCAL, packed),
        (_ADDRESS, packed),
        (_CACHE, struct.pack("=IIII", 0, _FOREVER, 0, 0)),  # preferred for no time, valid for ever
        (_FLAGS, struct.pack("=I", _NO_DAD | _NO_ROUTE)),
        (_PROTOCOL, bytes([OURS])),
    ):
        body += netlink.attribute(kind, value)
    _asked(_NEW, _REQUEST | _ACK | _CREATE | _EXCLUSIVE, body)
    if (index, address, 128, True) not in set(_addresses()):
        remove(interface, address)
        raise Permanent(
            f"this kernel ({os.uname().release}) does not remember that an IPv6 address is vmrole's",
            hint="use Linux 5.18 or later, or an IPv4 address for the VIP",
        )


def remove(interface: str, address: str) -> None:
    """Takes one off; one that is not there is fine."""
    packed = ipaddress.IPv6Address(address).packed
    body = _BODY.pack(socket.AF_INET6, 128, 0, 0, socket.if_nametoindex(interface))
    body += netlink.attribute(_LOCAL, packed)
    _asked(_DELETE, _REQUEST | _ACK, body, absent_is_fine=True)


def _speaks(interface: str) -> bool:
    try:
        return (_LINKS / interface / "disable_ipv6").read_text().strip() == "0"
    except OSError:
        return False


def _addresses() -> Iterator[tuple[int, str, int, bool]]:
    """Index of the interface, address, length of its prefix, whether it is ours."""
    for body in _asked(_GET, _REQUEST | _DUMP, _BODY.pack(socket.AF_INET6, 0, 0, 0, 0)):
        _, length, _, _, index = _BODY.unpack_from(body)
        parts = netlink.attributes(body[_BODY.size :])
        packed = parts.get(_LOCAL, parts.get(_ADDRESS, b""))
        if len(packed) != 16 or (address := ipaddress.IPv6Address(packed)).is_link_local:
            continue
        yield index, str(address), length, parts.get(_PROTOCOL, b"\0")[0] == OURS


def _asked(what: int, flags: int, body: bytes, *, absent_is_fine: bool = False) -> list[bytes]:
    """The bodies of the kernel's answers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(ANSWER_S)
        asking.send(netlink.message(what, flags, body))
        answers: list[bytes] = []
        while True:
            try:
                data = asking.recv(1 << 18)
            except OSError as error:
                raise Unreachable(
                    f"the kernel does not tell its addresses: {error}", hint="it is asked again"
                ) from error
            for kind, answer in netlink.messages(data):
                if kind == _DONE:
                    return answers
                if kind == _ERROR:
                    number = -struct.unpack_from("=i", answer)[0]
                    if number == 0 or (absent_is_fine and number == errno.EADDRNOTAVAIL):
                        return answers
                    raise _refusal(number)
                answers.append(answer)


def _refusal(number: int) -> Permanent:
    if number in (errno.EPERM, errno.EACCES):
        return Permanent("no right to change addresses of this host", hint="run the daemon as root")
    return Permanent(f"the kernel refuses an IPv6 address: {os.strerror(number)}", hint="see: ip -6 address")
