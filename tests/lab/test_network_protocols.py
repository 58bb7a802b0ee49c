"""What is no TCP, UDP or echo: other protocols, other kinds of ICMP, and datagrams in pieces, sent to a VIP."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from tests.contract.suites.network import make_service
from tests.lab.harness.places import CLIENT, CLIENT_NAMESPACE, HOST_ADDRESS, OUTSIDE_LINK
from tests.lab.stand_in import in_namespace

VIP = "203.0.113.10"
ARRIVES_S = 30.0
GAP_S = 0.15
ECHO, ICMP, OTHERS = 8, 1, {"IP in IP": 4, "GRE": 47, "ESP": 50, "SCTP": 132, "UDP-Lite": 136, "nobody's": 253}
KINDS = {"redirect": 5, "router solicitation": 10, "timestamp": 13, "address mask": 17, "nobody's": 200}
LARGE = b"in pieces" * 400  # more than a frame takes


@pytest.fixture
def _vip(network: HostNetwork) -> Iterator[None]:
    """A service that is laid, with its VIP on the host."""
    service, instances = make_service("shop", VIP, 1)
    vips = VipAddresses(OUTSIDE_LINK, SystemClock())
    network.lay(service, instances)
    vips.hold({VIP})
    yield
    vips.hold(())


@contextlib.contextmanager
def ear(protocol: int) -> Iterator[socket.socket]:
    """What the host itself gets of that protocol, whoever listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as hears:
        yield hears


def send(address: str, protocol: int, payload: bytes) -> None:
    """A packet of the client's."""

    def out() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as raw:
            raw.sendto(payload, (address, 0))

    in_namespace(CLIENT_NAMESPACE, out)


def arrives(hears: socket.socket, payload: bytes, within_s: float) -> bool:
    """Whether a packet that ends so comes in that time."""
    until_s = time.monotonic() + within_s
    while (left_s := until_s - time.monotonic()) > 0:
        hears.settimeout(left_s)
        with contextlib.suppress(TimeoutError):
            if hears.recv(65_535).endswith(payload):
                return True
    return False


def icmp(kind: int, mark: bytes) -> bytes:
    """A message of that type (RFC 792) with a right checksum."""
    head = struct.pack("!BBHI", kind, 0, 0, 0x12340001)
    total = sum(struct.unpack(f"!{(len(head) + len(mark)) // 2}H", head + mark))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!BBHI", kind, 0, ~total & 0xFFFF, 0x12340001) + mark


@pytest.mark.usefixtures("_vip")
@pytest.mark.parametrize("protocol", OTHERS.values(), ids=OTHERS)
def test_no_other_protocol_gets_to_a_vip(protocol: int) -> None:
    """At the host's own address it does, so that the ear is known to hear."""
    with ear(protocol) as hears:
        send(HOST_ADDRESS, protocol, b"to the host itself")
        assert arrives(hears, b"to the host itself", ARRIVES_S)
        send(VIP, protocol, b"to the VIP")
        assert not arrives(hears, b"to the VIP", GAP_S)


@pytest.mark.usefixtures("_vip")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_of_icmp_an_echo_alone_gets_to_a_vip(kind: int) -> None:
    """Nobody asks a VIP for its time, or tells it of another router."""
    with ear(ICMP) as hears:
        for number, (asked, gets_in) in enumerate(((ECHO, True), (kind, False))):
            said = icmp(asked, b"mark %03d" % number)
            send(VIP, ICMP, said)
            assert arrives(hears, said, ARRIVES_S if gets_in else GAP_S) is gets_in, asked


@pytest.mark.usefixtures("_vip")
def test_what_comes_in_pieces_is_judged_as_a_whole() -> None:
    """A datagram in fragments, of which all but the first name no port."""

    def sent(address: str) -> None:
        def out() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                udp.sendto(LARGE, (address, 5353))

        in_namespace(CLIENT_NAMESPACE, out)

    with ear(socket.IPPROTO_UDP) as hears:
        sent(HOST_ADDRESS)
        assert arrives(hears, LARGE, ARRIVES_S)
        sent(VIP)
        assert not arrives(hears, LARGE, GAP_S)
        assert CLIENT.run(["busybox", "ping", "-c1", "-W2", "-s", "4000", VIP], check=False).returncode == 0
