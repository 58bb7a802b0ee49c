"""Asking the neighbours of an interface for an address, and telling them where it is: ARP and neighbour discovery.

By frames of our own, and not by arping(8) or the kernel's duplicate address detection, whose probes are a second
apart: all VIPs wait meanwhile. ARP is RFC 826 and 5227, neighbour discovery RFC 4861 and 4862.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
from typing import Final

from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.deadline import Deadline

_PROBES = 2
_PROBE_S = 0.2  # A neighbour answers in well under a millisecond; a busy one in some tens.
_ARP, _IPV6 = 0x0806, 0x86DD
_BROADCAST: Final = b"\xff" * 6
_REQUEST: Final = 1
_ICMPV6, _SOLICIT, _ADVERTISE = 58, 135, 136
_OVERRIDE: Final = 0x20000000  # What neighbours know of the address is replaced.
_ALL_NODES: Final = ipaddress.IPv6Address("ff02::1")
_NOBODY: Final = ipaddress.IPv6Address("::")
_IP_BYTES, _TARGET_AT = 40, 62  # of an IPv6 header; where a frame's target is


def announce(interface: str, address: str) -> None:
    """Tells everybody on the wire that the address is here: a gratuitous ARP request, or an unsolicited neighbour
    advertisement.
    """
    ip = ipaddress.ip_address(address)
    raw = _open(interface, ip.version)
    if raw is None:
        return
    with raw:
        mac = raw.getsockname()[4]
        raw.send(_arp(mac, address, address) if ip.version == 4 else _advertisement(mac, ip))


def who_has(interface: str, address: str) -> str:
    """The MAC of a neighbour that claims the address, or ""."""
    ip = ipaddress.ip_address(address)
    raw = _open(interface, ip.version)
    if raw is None:
        return ""
    with raw:
        own = raw.getsockname()[4]
        probe = _arp(own, "0.0.0.0", address) if ip.version == 4 else _solicitation(own, ip)  # noqa: S104 - no socket
        for _ in range(_PROBES):
            raw.send(probe)
            deadline = Deadline(_PROBE_S)
            while (left_s := deadline.left_s) > 0:
                raw.settimeout(left_s)
                try:
                    frame = raw.recv(128)
                except TimeoutError:
                    break
                mac = _claims(frame, ip.packed)
                if mac and mac != own:
                    return ":".join(f"{byte:02x}" for byte in mac)
    return ""


def _open(interface: str, version: int) -> socket.socket | None:
    """A raw socket on an interface that has neighbours; None for those that do not, such as lo or a tunnel."""
    flags = run(["ip", "-j", "link", "show", "dev", interface])
    link = json.loads(flags)[0]
    if link.get("link_type") != "ether" or "NOARP" in link["flags"] or "UP" not in link["flags"]:
        return None
    kind = _ARP if version == 4 else _IPV6
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    raw.bind((interface, kind))
    return raw


def _claims(frame: bytes, address: bytes) -> bytes:
    """The MAC of who says by this frame that the address is his, or wants it at the same time; b"" if nobody does."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == _ARP and len(frame) >= 42 and frame[28:32] == address:
        return frame[22:28]
    if kind == _IPV6 and len(frame) >= _TARGET_AT + 16 and frame[20] == _ICMPV6 and frame[21] == 255:
        told, target, asks_for_himself = (
            frame[54],
            frame[_TARGET_AT : _TARGET_AT + 16],
            frame[22:38] == _NOBODY.packed,
        )
        if target == address and (told == _ADVERTISE or (told == _SOLICIT and asks_for_himself)):
            return frame[6:12]
    return b""


def _arp(mac: bytes, sender: str, target: str) -> bytes:
    """An ARP request by broadcast; a gratuitous one has the same sender and target."""
    header = _BROADCAST + mac + struct.pack("!H", _ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, _REQUEST)
    return header + body + mac + _packed(sender) + bytes(6) + _packed(target)


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def _solicitation(mac: bytes, target: ipaddress.IPv6Address) -> bytes:
    """The probe of duplicate address detection: from nobody, to those whose addresses end as this one."""
    to = ipaddress.IPv6Address(ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + target.packed[13:])
    return _icmpv6(mac, _NOBODY, to, struct.pack("!BBHI", _SOLICIT, 0, 0, 0) + target.packed)


def _advertisement(mac: bytes, target: ipaddress.IPv6Address) -> bytes:
    body = struct.pack("!BBHI", _ADVERTISE, 0, 0, _OVERRIDE) + target.packed + b"\x02\x01" + mac
    return _icmpv6(mac, target, _ALL_NODES, body)


def _icmpv6(mac: bytes, sender: ipaddress.IPv6Address, to: ipaddress.IPv6Address, body: bytes) -> bytes:
    """A frame to a multicast address; `body` has 0 for its checksum."""
    ends = sender.packed + to.packed
    summed = sum(
        struct.unpack(f"!{(_IP_BYTES + len(body)) // 2}H", ends + struct.pack("!II", len(body), _ICMPV6) + body)
    )
    while summed >> 16:
        summed = (summed & 0xFFFF) + (summed >> 16)
    body = body[:2] + struct.pack("!H", ~summed & 0xFFFF) + body[4:]
    header = b"\x33\x33" + to.packed[12:] + mac + struct.pack("!H", _IPV6)
    return header + struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255) + ends + body
