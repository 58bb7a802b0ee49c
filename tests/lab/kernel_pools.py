"""Pools in the kernel, their members in namespaces behind a bridge, and a client outside: for tests of them."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
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
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT, CLIENT_ADDRESS, CLIENT_NAMESPACE, HOST, OUTSIDE_LINK
from tests.lab.stand_in import in_namespace, members_behind

SPACES: Final = {ZERO: "member0", ONE: "member1"}
POOL, DNS = PoolName("shop.web.tcp"), PoolName("shop.web.dns")
WITHIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """By which addresses of one family clients outside, members and host reach each other."""

    vip: str
    gateway: str
    dips: Mapping[InstanceName, str]  # of the members
    client: str
    stranger: str  # another client; by IPv6 of another network
    here: str  # every address of a member's

    @property
    def table(self) -> str:
        """That of the pools, with its family."""
        return f"{'ip6' if ':' in self.vip else 'ip'} vmrole_pools"

    @property
    def tcp(self) -> Frontend:
        """An endpoint."""
        return Frontend(pool=POOL, vip=self.vip, port=80, mode=Mode.TCP, probe=TcpProbe(), carrier=Carrier.NFTABLES)

    @property
    def udp(self) -> Frontend:
        """Another one."""
        return Frontend(pool=DNS, vip=self.vip, port=53, mode=Mode.UDP, probe=None, carrier=Carrier.NFTABLES)

    @property
    def both(self) -> set[str]:
        """What a client hears of the two members."""
        return {f"web-0 {self.client}", f"web-1 {self.client}"}

    def alone(self, address: str) -> str:
        """A network that has that address and no other."""
        return f"{address}/{128 if ':' in address else 32}"

    def member(self, name: InstanceName, *pools: PoolName) -> Member:
        """A member of both endpoints."""
        ports = {POOL: 8080, DNS: 5353}
        return self.behind(name, *((pool, ports[pool]) for pool in pools or (POOL, DNS)))

    def behind(self, name: InstanceName, *pools: tuple[PoolName, int]) -> Member:
        """A member of these pools, at these ports of its own."""
        own = self.dips[name] if ":" in self.vip else ""
        return Member(name=name, address=IPV4.dips[name], pools=pools, address6=own)

    def _origin(self, space: str, source: str) -> str:
        return source or (self.client if space == CLIENT_NAMESPACE else "")

    def connect(self, space: str = CLIENT_NAMESPACE, port: int = 80, source: str = "") -> socket.socket:
        """A TCP connection to the VIP."""
        origin = (at, 0) if (at := self._origin(space, source)) else None
        return in_namespace(
            space, lambda: socket.create_connection((self.vip, port), timeout=5, source_address=origin)
        )

    def ask(self, space: str = CLIENT_NAMESPACE, source: str = "", port: int = 80) -> str:
        """Who answers a new TCP connection, and whom it sees; "refused" when nobody does."""
        try:
            with self.connect(space, port, source) as talk:
                return says(talk).rpartition(" ")[0]
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silence"

    def conversation(self, space: str = CLIENT_NAMESPACE) -> socket.socket:
        """A UDP socket to the VIP."""

        def make() -> socket.socket:
            fresh = socket.socket(socket.AF_INET6 if ":" in self.vip else socket.AF_INET, socket.SOCK_DGRAM)
            fresh.settimeout(5)
            if at := self._origin(space, ""):
                fresh.bind((at, 0))
            fresh.connect((self.vip, 53))
            return fresh

        return in_namespace(space, make)

    def ask_udp(self, space: str = CLIENT_NAMESPACE, talk: socket.socket | None = None) -> str:
        """As `ask`, by a datagram of a new socket."""
        with contextlib.ExitStack() as stack:
            asked = talk or stack.enter_context(self.conversation(space))
            try:
                asked.send(b"x")
                return asked.recv(100).decode().rpartition(" ")[0]
            except ConnectionRefusedError:
                return "refused"


IPV4: Final = Ways(
    vip="203.0.113.20",
    gateway="10.91.0.1",
    dips={ZERO: "10.91.0.10", ONE: "10.91.0.11"},
    client=CLIENT_ADDRESS,
    stranger="203.0.113.99",
    here="0.0.0.0",
)
NETWORK6: Final = "2001:db8:77::"
IPV6: Final = Ways(
    vip=f"{NETWORK6}20",
    gateway="fd90:1:2:91::1",
    dips={ZERO: "fd90:1:2:91::10", ONE: "fd90:1:2:91::11"},
    client=f"{NETWORK6}2",
    stranger="2001:db8:99::2",
    here="::",
)
VIP, DIPS = IPV4.vip, IPV4.dips
TCP, UDP = IPV4.tcp, IPV4.udp
member, connect, ask, ask_udp = IPV4.member, IPV4.connect, IPV4.ask, IPV4.ask_udp
by_either = pytest.mark.parametrize("ways", [IPV4, IPV6], ids=["ipv4", "ipv6"])
by_ipv6 = pytest.mark.parametrize("ways", [IPV6], ids=["ipv6"])


@pytest.fixture
def ways() -> Ways:
    """IPv4, unless a test says `by_either`."""
    return IPV4


@pytest.fixture
def outside(lab: Lab) -> Iterator[None]:
    """The client has two addresses of IPv6, one of another network, and the host knows the way to both."""
    HOST.run(["ip", "address", "add", f"{NETWORK6}1/64", "dev", OUTSIDE_LINK, "nodad"])
    HOST.run(["ip", "route", "add", f"{IPV6.stranger}/128", "dev", OUTSIDE_LINK])
    for address in (IPV6.client, IPV6.stranger):
        CLIENT.run(["ip", "address", "add", f"{address}/64", "dev", "up0", "nodad"])
    yield
    for address in (IPV6.client, IPV6.stranger):
        CLIENT.run(["ip", "address", "del", f"{address}/64", "dev", "up0"])
    HOST.run(["ip", "route", "del", f"{IPV6.stranger}/128", "dev", OUTSIDE_LINK])
    HOST.run(["ip", "address", "del", f"{NETWORK6}1/64", "dev", OUTSIDE_LINK])


@pytest.fixture
def wire(ways: Ways, request: pytest.FixtureRequest) -> Iterator[None]:
    """The VIP, a bridge, and a namespace for each member; who has an address of IPv6 has one of IPv4 as well."""
    if ways is IPV6:
        request.getfixturevalue("outside")
        HOST.run(["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"])
    with members_behind(ways.vip, ways.gateway, {space: ways.dips[name] for name, space in SPACES.items()}):
        if ways is IPV6:
            HOST.run(["ip", "address", "add", f"{IPV4.gateway}/24", "dev", "pb0"])
            for name, space in SPACES.items():
                HOST.run(["ip", "-n", space, "address", "add", f"{IPV4.dips[name]}/24", "dev", "eth0"])
                HOST.run(["ip", "-n", space, "route", "add", "default", "via", IPV4.gateway])
        yield


@contextlib.contextmanager
def asking(ways: Ways, clients: int) -> Iterator[list[str]]:
    """What so many clients hear that open one connection after the other until the end of the `with`."""
    stop, answers = threading.Event(), list[str]()

    def client() -> None:
        while not stop.is_set():
            answers.append(ways.ask())

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


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
def members(wire: None, ways: Ways) -> Iterator[dict[InstanceName, Serving]]:
    """Both members serve."""
    with Serving(ZERO, here=ways.here) as zero, Serving(ONE, here=ways.here) as one:
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


def says(talk: socket.socket, word: str = "x") -> str:
    """What comes back; "" when the connection was cut."""
    try:
        talk.sendall(word.encode())
        return talk.recv(100).decode()
    except OSError:
        return ""


@pytest.fixture
def second_client(ways: Ways) -> Iterator[str]:
    """Another address in the client's namespace; by IPv6 it has one as it is."""
    if ways is IPV6:
        yield ways.stranger
        return
    CLIENT.run(["ip", "address", "add", f"{ways.stranger}/24", "dev", "up0"])
    yield ways.stranger
    CLIENT.run(["ip", "address", "del", f"{ways.stranger}/24", "dev", "up0"])
