"""Frames that ask for an address and tell where it is, without a network."""

from __future__ import annotations

import ipaddress
import struct

from orchestrator.drivers.network import neighbours

OWN, OTHER = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
VIP = ipaddress.IPv6Address("2001:db8::12:3456")


def checksum_holds(frame: bytes) -> bool:
    """Whether the ICMPv6 part sums up as RFC 4443 has it."""
    body = frame[54:]
    pseudo = frame[22:54] + struct.pack("!II", len(body), 58)
    summed = sum(struct.unpack(f"!{(len(pseudo) + len(body)) // 2}H", pseudo + body))
    while summed >> 16:
        summed = (summed & 0xFFFF) + (summed >> 16)
    return summed == 0xFFFF


def test_a_probe_comes_from_nobody_to_those_whose_addresses_end_so() -> None:
    """RFC 4862, 5.4.2: without an address and without a link-layer address."""
    frame = neighbours._solicitation(OWN, VIP)
    assert frame[:14] == bytes.fromhex("3333ff123456") + OWN + b"\x86\xdd"
    assert frame[22:38] == bytes(16)
    assert ipaddress.IPv6Address(frame[38:54]) == ipaddress.IPv6Address("ff02::1:ff12:3456")
    assert (frame[20], frame[21], frame[54], frame[62:]) == (58, 255, 135, VIP.packed)
    assert checksum_holds(frame)


def test_an_announcement_goes_to_all_and_replaces_what_they_know() -> None:
    """RFC 4861, 7.2.6: from the address itself, with the MAC, and with the override flag."""
    frame = neighbours._advertisement(OWN, VIP)
    assert frame[:14] == bytes.fromhex("333300000001") + OWN + b"\x86\xdd"
    assert (frame[22:38], frame[54], frame[58] & 0x20) == (VIP.packed, 136, 0x20)
    assert frame[62:] == VIP.packed + b"\x02\x01" + OWN
    assert checksum_holds(frame)


def test_who_claims_an_address() -> None:
    """Who has it, who asks for himself at the same time; nobody else, and nothing from beyond the wire."""
    claims = neighbours._claims
    assert claims(neighbours._advertisement(OTHER, VIP), VIP.packed) == OTHER
    assert claims(neighbours._solicitation(OTHER, VIP), VIP.packed) == OTHER
    assert claims(neighbours._advertisement(OTHER, VIP + 1), VIP.packed) == b""
    asked = bytearray(neighbours._solicitation(OTHER, VIP))
    asked[22:38] = (VIP + 7).packed  # He looks for whoever has it.
    assert claims(bytes(asked), VIP.packed) == b""
    routed = bytearray(neighbours._advertisement(OTHER, VIP))
    routed[21] = 254
    assert claims(bytes(routed), VIP.packed) == b""
    assert claims(neighbours._arp(OTHER, "203.0.113.10", "203.0.113.10"), bytes((203, 0, 113, 10))) == OTHER
    assert claims(b"\x86\xdd" * 9, VIP.packed) == b""
