"""Pools in the kernel, their members in namespaces behind a bridge, and a client outside: for tests of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from orchestrator.drivers.balancer import conntrack
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import (
    Carrier,
    Frontend,
    InstanceName,
    Member,
    Mode,
    PoolName,
    TcpProbe,
)
from tests.contract.suites.balancer import ONE, ZERO
from tests.lab.harness.places import CLIENT, CLIENT_NAMESPACE, HOST
from tests.lab.stand_in import in_namespace, members_behind

VIP: Final = "203.0.113.20"
GATEWAY: Final = "10.91.0.1"
DIPS: Final = {ZERO: "10.91.0.10", ONE: "10.91.0.11"}
SPACES: Final = {ZERO: "member0", ONE: "member1"}
POOL, DNS = PoolName("shop.web.tcp"), PoolName("shop.web.dns")
TCP = Frontend(pool=POOL, vip=VIP, port=80, mode=Mode.TCP, probe=TcpProbe(), carrier=Carrier.NFTABLES)
UDP = Frontend(pool=DNS, vip=VIP, port=53, mode=Mode.UDP, probe=None, carrier=Carrier.NFTABLES)
WITHIN_S = 30.0


@pytest.fixture
def wire() -> Iterator[None]:
    """The VIP, a bridge, and a namespace for each member."""
    with members_behind(VIP, GATEWAY, {space: DIPS[name] for name, space in SPACES.items()}):
        yield


Begin = Callable[[], NftablesBalancer]


@pytest.fixture
def woken() -> list[str]:
    """Whom the watch has woken."""
    return []


@pytest.fixture
def begin(wire: None, tmp_path: Path, woken: list[str]) -> Iterator[Begin]:
    """Begins a daemon's balancer; each call is the next daemon."""
    with contextlib.ExitStack() as stack:

        def begun() -> NftablesBalancer:
            return stack.enter_context(
                NftablesBalancer(tmp_path / "pools", lambda name, _: woken.append(name), SystemClock())
            )

        yield begun
    NftablesBalancer(tmp_path / "pools", lambda *_: None, SystemClock()).shape([])
    assert "vmrole_pools" not in HOST.run(["nft", "list", "tables"]).stdout
    conntrack.cut(lambda _: True)


@pytest.fixture
def members(wire: None) -> Iterator[dict[InstanceName, Serving]]:
    """Both members serve."""
    with Serving(ZERO) as zero, Serving(ONE) as one:
        yield {ZERO: zero, ONE: one}


class Serving:
    """A member's TCP and UDP servers: what they hear comes back behind the member's name and the client's address."""

    def __init__(self, name: InstanceName, port: int = 8080, here: str = "0.0.0.0") -> None:
        self._here = here
        self._family = socket.AF_INET6 if ":" in here else socket.AF_INET
        self._name = name.partition(".")[0]
        self._space = SPACES[name]
        self._port = port
        self._open: list[socket.socket] = []

    def __enter__(self) -> Serving:
        here, family = self._here, self._family
        self._tcp = in_namespace(
            self._space, lambda: socket.create_server((here, self._port), family=family, dualstack_ipv6=":" in here)
        )
        self._udp = in_namespace(self._space, self._datagrams)
        self._threads = [threading.Thread(target=serve, daemon=True) for serve in (self._accept, self._answer)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Its process ends."""
        for one in (self._tcp, self._udp):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:  # Who waits in it holds its port.
            thread.join(WITHIN_S)
        for one in (self._tcp, self._udp):
            one.close()

    def _datagrams(self) -> socket.socket:
        udp = socket.socket(self._family, socket.SOCK_DGRAM)
        udp.bind((self._here, 5353))
        return udp

    def _accept(self) -> None:
        while True:
            try:
                talk, (client, *_) = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(talk, client), daemon=True).start()

    def _talk(self, talk: socket.socket, client: str) -> None:
        with talk, contextlib.suppress(OSError):
            heard = talk.recv(100)
            if heard.startswith(b"GET "):
                talk.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
                return
            while heard:
                talk.sendall(f"{self._name} {client} ".encode() + heard)
                heard = talk.recv(100)

    def _answer(self) -> None:
        while True:
            try:
                heard, client = self._udp.recvfrom(100)
            except OSError:
                return
            if not client:  # It was shut down.
                return
            with contextlib.suppress(OSError):
                self._udp.sendto(f"{self._name} {client[0]} ".encode() + heard, client)


def member(name: InstanceName, *pools: PoolName) -> Member:
    """A member of both endpoints."""
    ports = {POOL: 8080, DNS: 5353}
    return Member(name=name, address=DIPS[name], pools=tuple((pool, ports[pool]) for pool in pools or (POOL, DNS)))


def connect(space: str = CLIENT_NAMESPACE, port: int = 80, source: str = "") -> socket.socket:
    """A TCP connection to the VIP."""
    origin = (source, 0) if source else None
    return in_namespace(space, lambda: socket.create_connection((VIP, port), timeout=5, source_address=origin))


def says(talk: socket.socket, word: str = "x") -> str:
    """What comes back; "" when the connection was cut."""
    try:
        talk.sendall(word.encode())
        return talk.recv(100).decode()
    except OSError:
        return ""


@pytest.fixture
def second_client() -> Iterator[str]:
    """Another address in the client's namespace."""
    address = "203.0.113.99"
    CLIENT.run(["ip", "address", "add", f"{address}/24", "dev", "up0"])
    yield address
    CLIENT.run(["ip", "address", "del", f"{address}/24", "dev", "up0"])


def ask(space: str = CLIENT_NAMESPACE, source: str = "") -> str:
    """Who answers a new TCP connection, and whom it sees; "refused" when nobody does."""
    try:
        with connect(space, source=source) as talk:
            name, client, _ = says(talk).split(" ")
            return f"{name} {client}"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silence"


def ask_udp(space: str = CLIENT_NAMESPACE, talk: socket.socket | None = None) -> str:
    """As `ask`, by a datagram of a new socket."""

    def make() -> socket.socket:
        fresh = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        fresh.settimeout(5)
        fresh.connect((VIP, 53))
        return fresh

    asked = talk or in_namespace(space, make)
    try:
        asked.send(b"x")
        return asked.recv(100).decode().rpartition(" ")[0]
    except ConnectionRefusedError:
        return "refused"
    finally:
        if talk is None:
            asked.close()
