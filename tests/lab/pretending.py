"""Frames that a guest must not send, and which of them get through."""

from __future__ import annotations

import os
from collections.abc import Mapping

from tests.lab.stand_in import BROADCAST, StandIn, arp, bridge_ear, dhcp, ethernet, hears, ipv6, udp

VIP = "203.0.113.10"
STRANGER = "52:54:00:ba:d0:01"
GAP_S = 0.15  # A frame over a veth pair and a bridge takes microseconds; the control shows that this is enough.
_ARP, _IP, _IPV6, _VLAN, _QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8


def attacks(evil: StandIn, victim: StandIn) -> dict[str, tuple[bytes, bytes]]:
    """What a guest must not send: the frame, and bytes by which it is known."""
    mark = os.urandom(12)
    nobody = "00:00:00:00:00:00"
    own = udp(evil.address, victim.address, 4000, 4000, mark)

    def claims(address: str, mac: str = evil.mac, operation: int = 2) -> tuple[bytes, bytes]:
        target = (nobody, address) if operation == 1 else (victim.mac, victim.address)
        frame = ethernet(evil.mac, BROADCAST, _ARP, arp(operation, (mac, address), target) + mark)
        return frame, mark

    router_advertisement = bytes([134, 0, 0, 0, 64, 0, 0, 30]) + bytes(8) + mark
    return {
        "another MAC": (ethernet(STRANGER, victim.mac, _IP, own), mark),
        "another address": (ethernet(evil.mac, victim.mac, _IP, udp("10.90.0.99", victim.address, 1, 2, mark)), mark),
        "the gateway's address": (
            ethernet(evil.mac, victim.mac, _IP, udp(evil.gateway, victim.address, 1, 2, mark)),
            mark,
        ),
        "ARP reply for the victim": claims(victim.address),
        "ARP reply for the gateway": claims(evil.gateway),
        "ARP with another sender inside": claims(evil.address, mac=STRANGER),
        "gratuitous ARP for the VIP": claims(VIP, operation=1),
        "ARP reply for the VIP": claims(VIP),
        "RARP": (ethernet(evil.mac, BROADCAST, 0x8035, arp(4, (evil.mac, VIP), (evil.mac, VIP)) + mark), mark),
        "a DHCP server": (
            ethernet(evil.mac, BROADCAST, _IP, udp(evil.address, "255.255.255.255", 67, 68, mark)),
            mark,
        ),
        "a DHCP server without address": (
            ethernet(evil.mac, BROADCAST, _IP, udp("0.0.0.0", "255.255.255.255", 67, 68, mark)),
            mark,
        ),
        "DHCP for the victim's card": (
            ethernet(evil.mac, BROADCAST, _IP, udp("0.0.0.0", "255.255.255.255", 68, 67, dhcp(victim.mac) + mark)),
            mark,
        ),
        "DHCP for the victim's card from an address": (
            ethernet(evil.mac, BROADCAST, _IP, udp(evil.address, evil.gateway, 68, 67, dhcp(victim.mac) + mark)),
            mark,
        ),
        "DHCP too short to tell the card": (
            ethernet(evil.mac, BROADCAST, _IP, udp(evil.address, evil.gateway, 68, 67, mark)),
            mark,
        ),
        "a router of IPv6": (
            ethernet(evil.mac, "33:33:00:00:00:01", _IPV6, ipv6("fe80::1", "ff02::1", 58, router_advertisement)),
            mark,
        ),
        "a VLAN tag": (ethernet(evil.mac, victim.mac, _VLAN, b"\0\x07\x08\0" + own), mark),
        "priority tag": (ethernet(evil.mac, victim.mac, _VLAN, b"\xe0\0\x08\0" + own), mark),
        "two VLAN tags": (ethernet(evil.mac, victim.mac, _QINQ, b"\0\x07\x81\0\0\x08\x08\0" + own), mark),
        "an unknown protocol": (ethernet(evil.mac, victim.mac, 0x88B5, mark * 4), mark),
        # Last, because the bridge believes it where nothing guards, and takes the victim for moved.
        "the victim's MAC": (ethernet(victim.mac, BROADCAST, _IP, own), mark),
    }


def passed(evil: StandIn, victim: StandIn, bridge: str) -> set[str]:
    """The names of the attacks that reach the victim or the host."""
    return reaching(attacks(evil, victim), evil, victim, bridge)


def reaching(frames: Mapping[str, tuple[bytes, bytes]], evil: StandIn, victim: StandIn, bridge: str) -> set[str]:
    """The names of those frames, each with bytes by which it is known, that reach the victim or the host."""
    through = set()
    for name, (frame, mark) in frames.items():
        with victim.listening() as ear, bridge_ear(bridge) as host:
            evil.send(frame)
            if hears(mark, GAP_S, ear, host):
                through.add(name)
    return through
