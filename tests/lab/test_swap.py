"""A service and its staging twin on a real network with both balancers, as a daemon has them: swaps under load.

No VM is needed: what answers in a member's place is a stand-in on its port. Requests and turns are the daemon's own.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from orchestrator.control import records
from orchestrator.control.deployment import Capacity
from orchestrator.control.loop import tend
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
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
from tests.contract.suites.exchange import Load, overlap_s
from tests.lab.harness.lab import Lab
from tests.lab.harness.places import CLIENT_NAMESPACE, OUTSIDE_LINK
from tests.lab.stand_in import StandIn, in_namespace
from tests.world.balancing import place
from tests.world.endpoints import patiently
from tests.world.fabric import web_role
from tests.world.images import DIGEST, MICRO
from tests.world.waiting import until

__all__ = ["place"]  # a fixture

VIP, STAGING_VIP = "203.0.113.20", "203.0.113.21"
SWAPS: Final = 20
REQUESTS: Final = 10_000  # in all, at least
DROPPED_S: Final = 0.9  # A packet that is dropped is sent again after a second.
LOST_S: Final = 10.0  # On a busy machine an answer may take long that is not lost.
TOGETHER_S: Final = 0.001
TOGETHER_BUSY_MS: Final = 50.0  # of two steps, between which a busy host may let others run
ENDS = (
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
            patiently(lambda name=service.name: tend(self.present, self.host, name))  # type: ignore[misc]

    def swap(self) -> None:
        """Asked for and done."""
        self.control.swap("shop", force=True)  # What answers is no VM, and so nobody serves by the records.
        self.turns()


@pytest.fixture(params=["haproxy", "nftables"])
def ports(request: pytest.FixtureRequest) -> tuple[int, ...]:
    """Of the endpoints of a balancer."""
    return (80, 81) if request.param == "haproxy" else (82, 83)


@pytest.fixture
def stage(lab: Lab, place: Path) -> Iterator[Stage]:
    """Two deployments of a service with a member each, who answers by the deployment's name."""
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


def test_swaps_lose_no_request(stage: Stage, ports: tuple[int, ...]) -> None:
    """Twenty, under constant load of ten thousand requests and more; open connections stay where they are."""
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
    print(f"lost_requests {len(seen.lost)} of {len(seen.lost) + len(seen.answers)}")
    assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)}: {seen.lost[:3]}"
    assert len(seen.answers) >= REQUESTS


def test_the_wrong_order_loses_requests(stage: Stage, ports: tuple[int, ...]) -> None:
    """The control: production is taken away, and then staging comes."""
    frontends = stage.present.frontends()
    with load(*ports) as seen:
        patiently(lambda: stage.host.front.balancer.shape([replace(one, vip="") for one in frontends]))
        time.sleep(0.1)
        stage.swap()
        until(lambda: {who(port) for port in ports} == {"shop--b"}, 30.0)
    print(f"lost_requests in the wrong order: {len(seen.lost)} of {len(seen.lost) + len(seen.answers)}")
    assert seen.lost


def test_guards_that_know_of_one_deployment_at_a_time_lose_requests(stage: Stage) -> None:
    """The control for what the network lets through: one deployment's guards are laid, and then the other's."""
    lay: Callable[..., object] = stage.host.machine.network.lay
    first, second = (
        replace(one, slot=other) for one, other in zip(stage.control.services(), reversed(Slot), strict=True)
    )
    assert who(82) == "shop"
    lay(first, stage.control.instances("shop"))
    assert who(82, within_s=DROPPED_S) == "", "the port is let through though the VIP is nobody's"
    lay(second, stage.control.instances("shop@staging"), first)
    assert who(82) == "shop"


def test_all_endpoints_go_together(stage: Stage, ports: tuple[int, ...]) -> None:
    """Who begins when one has been answered by the other deployment is answered by it, whichever the endpoint."""
    for wanted in ("shop--b", "shop"):
        with load(*ports) as seen:
            time.sleep(0.3)
            stage.swap()
            until(lambda wanted=wanted: {who(port) for port in ports} == {wanted}, 30.0)  # type: ignore[misc]
            time.sleep(0.3)
        assert not seen.lost
        print(f"overlap {1000 * overlap_s(seen, wanted):.3f} ms")
        assert overlap_s(seen, wanted) <= TOGETHER_S


def test_both_balancers_go_together(stage: Stage) -> None:
    """A service with endpoints on both: who begins when one has been answered by the other deployment is answered by
    it, whichever the balancer. Nothing is reloaded for it, and nothing is lost.
    """
    overlaps_ms = []
    workers = set()
    for number in range(SWAPS // 2):
        wanted = ("shop--b", "shop")[number % 2]
        with load(80, 81, 82, 83) as seen:
            until(lambda: len(seen.answers) > 20, 30.0)
            stage.swap()
            until(lambda wanted=wanted: {who(port) for port in (80, 81, 82, 83)} == {wanted}, 30.0)  # type: ignore[misc]
        assert not seen.lost
        overlaps_ms.append(1000 * overlap_s(seen, wanted))
        workers.add(stage.haproxy.process.worker())
    print(f"overlap of both balancers, ms: {' '.join(f'{one:.2f}' for one in sorted(overlaps_ms))}")
    assert len(workers) == 1, "HAProxy was reloaded"
    assert statistics.median(overlaps_ms) <= TOGETHER_BUSY_MS


def test_deployments_that_are_not_alike_go_together(stage: Stage) -> None:
    """What both have, on both balancers, there and back; what one has alone comes and goes, and disturbs nobody."""
    own = {Slot.PRODUCTION: (81, 83), Slot.STAGING: (84, 85)}
    ends = (
        replace(ENDS[0], timeout_s=17.0),
        replace(ENDS[1], name="tcp4", port=84),
        replace(ENDS[2], max_connections_per_client=500),
        replace(ENDS[3], name="more5", port=85),
    )
    spec = ServiceSpec(name="shop", vip=VIP, staging_vip=STAGING_VIP, roles=(web_role(instances=1, endpoints=ends),))
    stage.control.apply_spec(spec, slot=Slot.STAGING)
    stage.turns()
    for one in stage.control.instances():
        patiently(lambda one=one: stage.host.front.balancer.join(member_of(one)))  # type: ignore[misc]
    until(lambda: {who(port, STAGING_VIP) for port in (80, 82, *own[Slot.STAGING])} == {"shop--b"}, 30.0)
    overlaps_ms = []
    for number in range(SWAPS // 2):
        wanted, there = ("shop--b", Slot.STAGING) if number % 2 == 0 else ("shop", Slot.PRODUCTION)
        (gone,) = (ports for slot, ports in own.items() if slot is not there)
        with contextlib.ExitStack() as stack:
            kept = [stack.enter_context(dial(port)) for port in gone]
            before = {asked(one) for one in kept}
            with load(80, 82) as seen:
                until(lambda seen=seen: len(seen.answers) > 20, 30.0)  # type: ignore[misc]
                stage.swap()
                until(lambda wanted=wanted: {who(port) for port in (80, 82)} == {wanted}, 30.0)  # type: ignore[misc]
            assert {asked(one) for one in kept} == before != {wanted}
        assert not seen.lost, f"{len(seen.lost)} of {len(seen.answers)}: {seen.lost[:3]}"
        assert {who(port) for port in own[there]} == {wanted}
        assert {who(port) for port in gone} == {""}
        overlaps_ms.append(1000 * overlap_s(seen, wanted))
    print(f"overlap of deployments that are not alike, ms: {' '.join(f'{one:.2f}' for one in sorted(overlaps_ms))}")
    assert statistics.median(overlaps_ms) <= TOGETHER_BUSY_MS


def test_the_staging_vip_goes_the_other_way(stage: Stage) -> None:
    """Each VIP leads to one deployment, before and after; neither leaves the host."""
    vips = stage.host.front.vips
    for production, staging in (("shop", "shop--b"), ("shop--b", "shop")):
        until(lambda production=production: {who(port) for port in (80, 82)} == {production}, 30.0)  # type: ignore[misc]
        assert {who(port, STAGING_VIP) for port in (80, 81, 82, 83)} == {staging}
        assert vips.held() == {VIP, STAGING_VIP}
        stage.swap()
