"""A service and its staging twin on a real network with both balancers, as a daemon has them, and load on them.

No VM is needed: what answers in a member's place is a stand-in on its port. Requests and turns are the daemon's own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from orchestrator.control import records
from orchestrator.control.deployment import Capacity
from orchestrator.control.leavings import Leavings
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.control.tending import tend
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeStore, World, fake_host
from orchestrator.drivers.network.host_network import HostNetwork
from orchestrator.drivers.network.vip import VipAddresses
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection
from orchestrator.model import Carrier, Endpoint, Image, Mode, ServiceSpec, Slot, TcpProbe
from orchestrator.ports import Front, Host
from orchestrator.rules.pool import member_of
from tests.contract.suites.exchange import Load
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_NAMESPACE, OUTSIDE_LINK
from tests.lab.stand_in import StandIn, in_namespace
from tests.world.endpoints import patiently
from tests.world.fabric import web_role
from tests.world.images import DIGEST, MICRO
from tests.world.waiting import until

VIP, STAGING_VIP = "203.0.113.20", "203.0.113.21"
SWAPS: Final = 20
TOGETHER_BUSY_MS: Final = 50.0  # of two steps, between which a busy host may let others run
REQUESTS: Final = 10_000  # in all, at least
LOST_S: Final = 10.0  # On a busy machine an answer may take long that is not lost.
PORTS: Final = {Carrier.HAPROXY: (80, 81), Carrier.NFTABLES: (82, 83)}  # of the endpoints
ENDS: Final = (
    Endpoint(name="http", port=80, target=8080, mode=Mode.HTTP, probe=TcpProbe()),
    Endpoint(name="tcp", port=81, target=8080, probe=TcpProbe()),
    Endpoint(name="nft", port=82, target=8080, probe=TcpProbe(), balancer=Carrier.NFTABLES),
    Endpoint(name="more", port=83, target=8080, probe=TcpProbe(), balancer=Carrier.NFTABLES),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """A daemon's requests and turns, with a real network and front."""

    control: Control
    present: Present
    host: Host
    haproxy: HaproxyBalancer

    def turns(self) -> None:
        """Of both deployments, as a commit wakes them."""
        for service in self.present.all(type(self.control.service("shop"))):
            patiently(lambda name=service.name: tend(self.present, self.host, name, Leavings()))  # type: ignore[misc]

    def swap(self) -> None:
        """Asked for and done."""
        self.control.swap("shop", force=True)  # What answers is no VM, and so nobody serves by the records.
        self.turns()


@contextlib.contextmanager
def deployed(lab: Lab, place: Path) -> Iterator[Stage]:
    """Two deployments of a service with a member each, who answers by the deployment's name; `place` is HAProxy's."""
    clock, present = SystemClock(), Present(store := FakeStore())
    store.commit([records.put(MICRO)])
    connection = LibvirtConnection(lab.libvirt_uri, lambda name, why: None, clock)
    connection.open()
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)
        network, vips = HostNetwork(connection, clock), VipAddresses(OUTSIDE_LINK, clock)
        stack.callback(vips.hold, ())
        haproxy = stack.enter_context(HaproxyBalancer(place, "haproxy", lambda *_: None, clock))
        kernel = stack.enter_context(NftablesBalancer(place.parent / "n", lambda *_: None, clock))
        balancer = stack.enter_context(PerEndpoint(haproxy, kernel, clock))
        stack.callback(balancer.shape, [])
        control = Control(
            store,
            find_image=lambda _: present.find(Image, DIGEST),
            capacity=Capacity(pool="10.90.0.0/16", memory_mib=64_000),
            clock=clock,
            wake=lambda _kind, _key: None,
            seats=balancer.seats,
            present=present,
        )
        fake = fake_host(World())
        host = Host(
            machine=replace(fake.machine, network=network, clock=clock),
            front=Front(balancer=balancer, doors=kernel, vips=vips),
        )
        stage = Stage(control, present, host, haproxy)
        spec = ServiceSpec(
            name="shop", vip=VIP, staging_vip=STAGING_VIP, roles=(web_role(instances=1, endpoints=ENDS),)
        )
        for slot in Slot:
            control.apply_spec(spec, slot=slot)
        for deployment in control.services():
            stack.callback(network.lift, deployment)
        stage.turns()
        for one in control.instances():
            service = control.service_of(one)
            assert service is not None
            guest = stack.enter_context(StandIn(service, one).plugged())
            guest.configure()
            stack.enter_context(answering(guest.namespace, one.service))
            patiently(lambda one=one: balancer.join(member_of(one)))  # type: ignore[misc]
        until(lambda: all(seat.checked for seat in balancer.seats().values()), 30.0)
        until(lambda: {who(port) for port in (80, 81, 82, 83)} == {"shop"}, 30.0)
        yield stage


@pytest.fixture
def stage(lab: Lab, place: Path) -> Iterator[Stage]:
    """See deployed."""
    with deployed(lab, place) as stage:
        yield stage


@contextlib.contextmanager
def answering(namespace: str, name: str) -> Iterator[None]:
    """A server that answers each request on a connection by that name."""
    listener = in_namespace(namespace, lambda: socket.create_server(("0.0.0.0", 8080), backlog=512))
    body = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode()

    def talk(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while connection.recv(4096):
                connection.sendall(body)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def dial(port: int, vip: str = VIP, within_s: float = LOST_S) -> socket.socket:
    """A connection from outside."""
    return in_namespace(CLIENT_NAMESPACE, lambda: socket.create_connection((vip, port), timeout=within_s))


def asked(connection: socket.socket) -> str:
    """Who answers a request on it; OSError when nobody does."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
    answer = b""
    while not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith((b"shop", b"shop--b"))):
        if not (part := connection.recv(4096)):
            raise ConnectionResetError(f"it ended after {answer[:80]!r}")
        answer += part
    return answer.rpartition(b"\r\n")[2].decode()


def who(port: int, vip: str = VIP, within_s: float = LOST_S) -> str:
    """Who answers a new connection; "" when nobody does."""
    try:
        with dial(port, vip, within_s) as connection:
            return asked(connection)
    except OSError:
        return ""


@contextlib.contextmanager
def load(*ports: int) -> Iterator[Load]:
    """Clients that never stop, two of each port, each a thread that lives outside."""
    seen, stop = Load(), threading.Event()

    def ask(port: int) -> None:
        while not stop.is_set():
            began = time.monotonic()
            try:
                with socket.create_connection((VIP, port), timeout=LOST_S) as connection:
                    name = asked(connection)
            except OSError as error:
                seen.lost.append(f"{port}: {error!r}")
                time.sleep(0.001)
            else:
                seen.answers.append((began, time.monotonic(), name))

    def begun(port: int) -> threading.Thread:
        thread = threading.Thread(target=in_namespace, args=(CLIENT_NAMESPACE, lambda: ask(port)))
        thread.start()
        return thread

    threads = [begun(port) for port in ports for _ in range(2)]
    try:
        yield seen
    finally:
        stop.set()
        for one in threads:
            one.join()


def swapped_under_load(stage: Stage, ports: Sequence[int]) -> Load:
    """So many swaps there and back under so many requests, of which each has at least its share; a connection that is
    open stays where it is.
    """
    with load(*ports) as seen:
        for number in range(SWAPS):
            before = len(seen.answers)
            wanted, was = ("shop--b", "shop") if number % 2 == 0 else ("shop", "shop--b")
            with dial(ports[-1]) as kept:
                assert asked(kept) == was
                stage.swap()
                assert asked(kept) == was, "an open connection went to the other, or was cut"
            until(lambda wanted=wanted: {who(port) for port in ports} == {wanted}, 30.0)  # type: ignore[misc]
            until(lambda before=before: len(seen.answers) > before + REQUESTS // SWAPS, 120.0)  # type: ignore[misc]
    return seen


def swapped_in_the_wrong_order(stage: Stage, ports: Sequence[int]) -> Load:
    """Once, under load: who serves is taken away, and then the other comes."""
    with load(*ports) as seen:
        frontends = stage.present.frontends()
        patiently(lambda: stage.host.front.balancer.shape([replace(one, vip="") for one in frontends]))
        time.sleep(0.1)
        stage.swap()
        until(lambda: {who(port) for port in ports} == {"shop--b"}, 30.0)
    return seen
