"""A guest's place on a service's bridge without a VM: a namespace on a veth pair whose host end has the tap's name.

It may send any frame, which a well-behaved guest would not, and its sockets are used from the test's own process.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from orchestrator.model import Instance, Service, by_card
from tests.lab.harness.places import HOST, OUTSIDE_LINK, Place
from tests.world.waiting import comes_true

T = TypeVar("T")
LAN = "lan"  # the namespace of a network beside the host's outside: the site's own, or a cloud's
LAN_GATEWAY, LAN_ADDRESS, LAN_OTHER = "192.168.77.1", "192.168.77.2", "192.168.77.3"
METADATA = "169.254.169.254"
_BRIDGE = "pb0"
_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_IP_PKTINFO = 8  # ip(7); Python has no name for it
_LIBC = ctypes.CDLL(None, use_errno=True)
BROADCAST = "ff:ff:ff:ff:ff:ff"
LONGEST_S = 2.0  # how long a packet that should be dropped is waited for; a lost SYN is sent again after 1 s
ARRIVES_S = 60.0  # how long one that should pass may take, on a machine that is busy


def in_namespace(name: str, do: Callable[[], T]) -> T:
    """What `do()` returns, called in a thread that is in the network namespace ("" is ours); sockets stay there."""
    if not name:
        return do()
    answers: list[T] = []
    errors: list[OSError] = []

    def call() -> None:
        try:
            with Path(f"/run/netns/{name}").open() as namespace:
                if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), f"setns {name}: {os.strerror(ctypes.get_errno())}")
            answers.append(do())
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def _await_forwarding(port: str) -> None:
    """Until its bridge passes frames from there, which it does a moment after both ends are up."""

    def forwards() -> bool:
        return "state forwarding" in HOST.run(["bridge", "link", "show", "dev", port]).stdout

    assert comes_true(forwards, ARRIVES_S), f"{port} takes no part in its bridge"


class StandIn:
    """One instance's NIC, with the instance's MAC; its address comes from `configure` or from DHCP."""

    def __init__(self, service: Service, instance: Instance) -> None:
        self.mac = instance.nic.mac
        self.address = instance.nic.address
        self.gateway = service.network.gateway
        self.address6 = instance.nic.address6
        self.gateway6 = service.network.gateway6
        self.link_local = by_card("fe80::/64", self.mac)
        self.namespace = f"in-{instance.nic.tap}"
        self.place = Place(instance.name, ("nsenter", f"--net=/run/netns/{self.namespace}", "--"))
        self._tap = instance.nic.tap
        self._bridge = service.network.bridge

    @contextlib.contextmanager
    def plugged(self) -> Iterator[StandIn]:
        """On the bridge until the block ends."""
        HOST.run(["ip", "netns", "add", self.namespace])
        try:
            veth = ["ip", "link", "add", self._tap, "type", "veth", "peer", "name", "eth0", "netns", self.namespace]
            HOST.run(veth)
            HOST.run(["ip", "link", "set", self._tap, "master", self._bridge, "up"])
            for command in (f"link set eth0 address {self.mac}", "link set lo up", "link set eth0 up"):
                HOST.run(["ip", "-n", self.namespace, *command.split()])
            _await_forwarding(self._tap)
            yield self
        finally:
            HOST.run(["ip", "link", "del", self._tap], check=False)
            HOST.run(["ip", "netns", "del", self.namespace])

    def configure(self) -> None:
        """Gives it its address and its way out by hand."""
        for command in (f"addr add {self.address}/24 dev eth0", f"route add default via {self.gateway}"):
            HOST.run(["ip", "-n", self.namespace, *command.split()])

    def send(self, *frames: bytes) -> None:
        """Sends frames as they are."""
        with in_namespace(self.namespace, _packet_socket) as raw:
            raw.bind(("eth0", _ETH_P_ALL))
            for frame in frames:
                raw.send(frame)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Ear]:
        """Hears every frame that reaches the guest."""
        with in_namespace(self.namespace, _packet_socket) as raw:
            raw.bind(("eth0", _ETH_P_ALL))
            yield Ear(raw)

    def reaches(self, address: str, port: int) -> bool:
        """Whether a TCP connection from here is accepted."""
        return reaches(self.namespace, address, port)

    def asks(self, name: str, server: str = "") -> str:
        """The address that DNS has for the name, "" when it has none or does not answer."""
        return asks(self.namespace, name, server or self.gateway)


@contextlib.contextmanager
def private_network() -> Iterator[Place]:
    """A namespace that the host reaches by another link: two private addresses, and the one of a cloud's metadata."""
    HOST.run(["ip", "netns", "add", LAN])
    try:
        HOST.run(["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", LAN])
        for command in (f"addr add {LAN_GATEWAY}/24 dev lan0", "link set lan0 up", f"route add {METADATA} dev lan0"):
            HOST.run(["ip", *command.split()])
        addresses = [f"addr add {one} dev eth0" for one in (f"{LAN_ADDRESS}/24", f"{LAN_OTHER}/24", f"{METADATA}/32")]
        for command in ("link set lo up", "link set eth0 up", *addresses, f"route add default via {LAN_GATEWAY}"):
            HOST.run(["ip", "-n", LAN, *command.split()])
        yield Place(LAN, ("nsenter", f"--net=/run/netns/{LAN}", "--"))
    finally:
        HOST.run(["ip", "link", "del", "lan0"], check=False)
        HOST.run(["ip", "netns", "del", LAN])


@contextlib.contextmanager
def members_behind(vip: str, gateway: str, dips: Mapping[str, str]) -> Iterator[None]:
    """A VIP on the host, and a bridge with a namespace for each member; `dips` are their addresses by namespace."""
    own, subnet, alone = ("/128", "/64", " nodad") if ":" in vip else ("/32", "/24", "")
    HOST.run(["ip", *f"address add {vip}{own} dev {OUTSIDE_LINK}{alone}".split()])
    for command in (
        f"link add {_BRIDGE} type bridge",
        f"address add {gateway}{subnet} dev {_BRIDGE}{alone}",
        f"link set {_BRIDGE} up",
    ):
        HOST.run(["ip", *command.split()])
    for space, dip in dips.items():
        HOST.run(["ip", "netns", "add", space])
        HOST.run(["ip", "link", "add", f"vrt-{space}", "type", "veth", "peer", "name", "eth0", "netns", space])
        HOST.run(["ip", "link", "set", f"vrt-{space}", "master", _BRIDGE, "up"])
        for command in ("link set lo up", "link set eth0 up", f"addr add {dip}{subnet} dev eth0{alone}"):
            HOST.run(["ip", "-n", space, *command.split()])
        HOST.run(["ip", "-n", space, "route", "add", "default", "via", gateway])
        _await_forwarding(f"vrt-{space}")
    try:
        yield
    finally:
        for space in dips:
            # A socket that is still open would keep it with its namespace.
            HOST.run(["ip", "link", "del", f"vrt-{space}"])
            HOST.run(["ip", "netns", "del", space])
        HOST.run(["ip", "link", "del", _BRIDGE])
        HOST.run(["ip", "address", "del", f"{vip}{own}", "dev", OUTSIDE_LINK])


class Ear:
    """A packet socket that waits for frames that contain some bytes."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    def hears(self, mark: bytes, within_s: float) -> bool:
        """Whether a frame with `mark` in it comes in before the time is over."""
        return hears(mark, within_s, self)

    def say(self, frame: bytes) -> None:
        """Sends a frame from where it listens."""
        self._raw.send(frame)

    def fileno(self) -> int:
        """For select."""
        return self._raw.fileno()

    def frame(self) -> bytes:
        """The next frame."""
        return self._raw.recv(2048)


def hears(mark: bytes, within_s: float, *ears: Ear) -> bool:
    """Whether any of them gets a frame with `mark` in it before the time is over."""
    end_s = time.monotonic() + within_s
    while (left_s := end_s - time.monotonic()) > 0:
        if any(mark in ear.frame() for ear in select.select(ears, [], [], left_s)[0]):
            return True
    return False


@contextlib.contextmanager
def bridge_ear(bridge: str) -> Iterator[Ear]:
    """Hears every frame that the host gets from the bridge."""
    with _packet_socket() as raw:
        raw.bind((bridge, _ETH_P_ALL))
        yield Ear(raw)


def reaches(namespace: str, address: str, port: int) -> bool:
    """Whether a TCP connection from the namespace is accepted."""

    def connect() -> bool:
        try:
            with socket.create_connection((address, port), timeout=LONGEST_S):
                return True
        except OSError:
            return False

    return in_namespace(namespace, connect)


def asks(namespace: str, name: str, server: str) -> str:
    """What the DNS server says is the name's IPv4 address; "" for nothing."""
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split("."))
    query = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)

    def ask() -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(LONGEST_S)
            udp.sendto(query, (server, 53))
            try:
                answer = udp.recv(512)
            except OSError:
                return ""
        answers = struct.unpack("!H", answer[6:8])[0]
        return str(ipaddress.IPv4Address(answer[-4:])) if answers else ""

    return in_namespace(namespace, ask)


def addresses(namespace: str, name: str, server: str) -> list[str]:
    """All IPv4 addresses that the DNS server has for the name, by TCP, so that none is left out for want of room."""
    labels = b"".join(bytes([len(one)]) + one.encode() for one in name.split(".")) + bytes(1)
    query = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!HH", 1, 1)

    def ask() -> list[str]:
        with socket.create_connection((server, 53), timeout=ARRIVES_S) as tcp, tcp.makefile("rb") as answer:
            tcp.sendall(struct.pack("!H", len(query)) + query)
            reply = answer.read(struct.unpack("!H", answer.read(2))[0])
        records = reply[len(query) :]  # each: a pointer to the name, type, class, TTL, length, address
        number = struct.unpack("!H", reply[6:8])[0]
        each = [records[at * 16 : at * 16 + 16] for at in range(number)]
        assert {(one[:4], one[6:12]) for one in each} <= {(b"\xc0\x0c\0\1", b"\0\0\0\0\0\4")}, (
            "no A that is kept by nobody"
        )
        return [str(ipaddress.IPv4Address(one[12:])) for one in each]

    return in_namespace(namespace, ask)


@contextlib.contextmanager
def serving(namespace: str, port: int, address: str = "0.0.0.0") -> Iterator[list[str]]:
    """Accepts TCP connections in the namespace ("" is the host's own); yields the addresses that have called."""

    def listen() -> socket.socket:
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)

    server = in_namespace(namespace, listen)
    callers: list[str] = []

    def accept() -> None:
        while True:
            try:
                connection, (caller, *_) = server.accept()
            except OSError:
                return
            callers.append(caller)
            connection.close()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield callers
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@contextlib.contextmanager
def answering_udp(namespace: str, port: int) -> Iterator[None]:
    """Sends every datagram back to whom it came from, at whatever address it was asked."""

    def listen() -> socket.socket:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        server.bind(("0.0.0.0", port))
        server.settimeout(0.1)
        return server

    server = in_namespace(namespace, listen)
    ending = threading.Event()

    def answer() -> None:
        while not ending.is_set():
            with contextlib.suppress(TimeoutError):
                data, asked_at, _, caller = server.recvmsg(2048, 64)
                server.sendmsg([data], asked_at, 0, caller)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        server.close()


def echoes_udp(namespace: str, address: str, port: int) -> bool:
    """Whether a datagram from the namespace comes back."""

    def ask() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(LONGEST_S)
            client.sendto(b"echo", (address, port))
            try:
                return client.recv(64) == b"echo"
            except OSError:
                return False

    return in_namespace(namespace, ask)


def _packet_socket() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


# Frames. ------------------------------------------------------------------------------------------------------


def mac_bytes(mac: str) -> bytes:
    """A MAC as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    """An Ethernet II frame."""
    return mac_bytes(target) + mac_bytes(source) + struct.pack("!H", kind) + payload


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str]) -> bytes:
    """An ARP packet (RFC 826); sender and target are MAC and address."""
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + b"".join(mac_bytes(mac) + ipaddress.ip_address(address).packed for mac, address in (sender, target))


def udp(source: str, target: str, source_port: int, target_port: int, payload: bytes) -> bytes:
    """An IPv4 packet with a UDP datagram without a checksum."""
    body = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload
    addresses = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0) + addresses
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", checksum) + head[12:] + body


def dhcp(mac: str) -> bytes:
    """The fixed part of a DHCP request (RFC 2131) that names this card, without options: dnsmasq ignores it."""
    return struct.pack("!BBBBIHH16x6s10x192x", 1, 1, 6, 0, 1, 0, 0, mac_bytes(mac))


def udp_datagram(source_port: int, target_port: int, payload: bytes) -> bytes:
    """A UDP datagram without a checksum."""
    return struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0) + payload


def icmpv6(source: str, target: str, body: bytes) -> bytes:
    """An IPv6 packet with a message of ICMPv6; `body` has 0 for its checksum."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    summed = ends + struct.pack("!II", len(body), 58) + body
    total = sum(struct.unpack(f"!{len(summed) // 2}H", summed))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ipv6(source, target, 58, body[:2] + struct.pack("!H", ~total & 0xFFFF) + body[4:])


def link_address(namespace: str) -> str:
    """What `ip` shows of the addresses that the namespace's interface has given itself."""
    return HOST.run(["ip", "-6", "-n", namespace, "address", "show", "dev", "eth0", "scope", "link"]).stdout


def ipv6(source: str, target: str, next_header: int, payload: bytes) -> bytes:
    """An IPv6 packet."""
    head = struct.pack("!IHBB", 0x60000000, len(payload), next_header, 255)
    return head + ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed + payload
