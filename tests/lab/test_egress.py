"""Which networks a guest reaches through its host, and which not; guests are stand-ins."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.network import egress, tables
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.host.config import Config
from tests.contract.suites.network import make_service
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_ADDRESS, CLIENT_NAMESPACE, OUTSIDE_LINK
from tests.lab.stand_in import (
    ARRIVES_S,
    LAN,
    LAN_ADDRESS,
    LAN_OTHER,
    METADATA,
    Ear,
    StandIn,
    answering_udp,
    echoes_udp,
    in_namespace,
    private_network,
    reaches,
    serving,
)

VIP = "203.0.113.10"
GAP_S = 1.0
Lay = Callable[..., HostNetwork]


@pytest.fixture
def lay(lab: Lab) -> Iterator[Lay]:
    """Lays one service as a daemon with these settings does; each call is the next daemon."""
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, SystemClock())
    connection.open()
    with contextlib.closing(connection):

        def laid(**settings: tuple[str, ...]) -> HostNetwork:
            config = Config(**settings)  # type: ignore[arg-type] # networks alone
            denied = egress.denied(config.egress_deny, config.egress_allow)
            network = HostNetwork(connection, SystemClock(), denied=denied)
            network.lay(*make_service("shop", VIP, 1))
            VipAddresses(OUTSIDE_LINK, SystemClock()).hold({VIP})
            return network

        yield laid


@pytest.fixture
def guest(lay: Lay) -> Iterator[StandIn]:
    """The service's guest, beside a private network."""
    lay()
    service, (instance,) = make_service("shop", VIP, 1)
    with private_network(), StandIn(service, instance).plugged() as guest:
        guest.configure()
        yield guest


def refusal(guest: StandIn, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str:
    """How a program in the guest is told that it gets nowhere; "" when it does, "silence" when nobody tells it."""

    def ask() -> str:
        with socket.socket(socket.AF_INET, kind) as asking:
            asking.settimeout(ARRIVES_S)
            try:
                asking.connect((address, port))
                if kind is socket.SOCK_DGRAM:
                    asking.send(b"echo")
                    asking.recv(64)
            except TimeoutError:
                return "silence"
            except OSError as error:
                return str(error.strerror)
        return ""

    return in_namespace(guest.namespace, ask)


def test_a_private_network_is_refused_at_once_and_the_internet_is_not(guest: StandIn, lay: Lay) -> None:
    """By TCP, UDP and an echo, a cloud's metadata among them; nothing arrives there.

    The host itself gets there, and who is there reaches what the host serves at a VIP.
    """
    with ExitStack() as stack:
        callers = [stack.enter_context(serving(place, 22)) for place in (LAN, CLIENT_NAMESPACE)]
        stack.enter_context(answering_udp(LAN, 5353))
        for address in (LAN_ADDRESS, LAN_OTHER, METADATA):
            assert refusal(guest, address, 22) == "Connection refused", address
            assert refusal(guest, address, 5353, socket.SOCK_DGRAM) == "No route to host", address
            ping = guest.place.run(["ping", "-c1", "-W2", address], check=False)
            assert "filtered" in ping.stdout.lower() or "prohibited" in ping.stdout.lower(), ping.stdout
        assert callers[0] == []
        assert lay().drops()[tables.DENIED] == 0  # Laid anew.
        assert guest.reaches(CLIENT_ADDRESS, 22)
        assert reaches("", LAN_ADDRESS, 22)
        stack.enter_context(serving("", 80, VIP))
        assert reaches(LAN, VIP, 80)
        assert guest.reaches(VIP, 80)
        lay(egress_deny=(), egress_allow=(f"{METADATA}/32",))
        for address in (LAN_ADDRESS, METADATA):
            assert guest.reaches(address, 22)
            assert echoes_udp(guest.namespace, address, 5353)


def test_an_exception_is_reached_and_its_neighbour_is_not(guest: StandIn, lay: Lay) -> None:
    """One machine of a denied network; and of an exception what is denied more exactly."""
    with serving(LAN, 22):
        network = lay(egress_allow=(f"{LAN_ADDRESS}/32",))
        assert guest.reaches(LAN_ADDRESS, 22)
        assert refusal(guest, LAN_OTHER, 22) == "Connection refused"
        assert network.drops()[tables.DENIED] == 1
        lay(egress_deny=("192.168.0.0/16", f"{LAN_OTHER}/32"), egress_allow=("192.168.77.0/24",))
        assert guest.reaches(LAN_ADDRESS, 22)
        assert refusal(guest, LAN_OTHER, 22) == "Connection refused"
        assert refusal(guest, METADATA, 22) == "Connection refused"


def test_what_is_open_when_a_network_is_denied_is_cut(guest: StandIn, lay: Lay) -> None:
    """The next daemon's configuration holds for connections that are older, too."""
    lay(egress_deny=())
    with (
        in_namespace(LAN, lambda: socket.create_server(("0.0.0.0", 22))) as server,
        in_namespace(guest.namespace, lambda: socket.create_connection((LAN_ADDRESS, 22), ARRIVES_S)) as talk,
        server.accept()[0] as there,
    ):
        talk.sendall(b"before")
        assert there.recv(64) == b"before"
        lay()
        # Its kernel may be told before it writes: by a late acknowledgement of what it had read.
        with pytest.raises(ConnectionResetError):  # noqa: PT012
            talk.sendall(b"after")
            talk.recv(64)


def test_what_belongs_to_no_connection_gets_nowhere_either(guest: StandIn, lay: Lay) -> None:
    """An answer that nobody has asked for is no answer."""
    mark = os.urandom(16)
    unasked = struct.pack("!BBHHH", 0, 0, 0, 7, 1) + mark  # an echo's reply
    unasked = unasked[:2] + struct.pack("!H", _checksum(unasked)) + unasked[4:]

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            raw.sendto(unasked, (LAN_ADDRESS, 0))

    def ear() -> socket.socket:
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        raw.bind(("eth0", 3))
        return raw

    with in_namespace(LAN, ear) as raw:
        in_namespace(guest.namespace, send)
        assert not Ear(raw).hears(mark, GAP_S)
        lay(egress_deny=())
        in_namespace(guest.namespace, send)
        assert Ear(raw).hears(mark, ARRIVES_S)


def _checksum(packet: bytes) -> int:
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
