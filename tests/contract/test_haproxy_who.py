"""Who may come to an endpoint, what a member hears of him, and how many it gets: real HAProxies, real sockets."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.prober import Prober, Targets
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Frontend, HttpProbe, InstanceName, Mode, PoolName, Standing
from tests.contract.suites.balancer import ADDRESSES, ADMIN, CORNER, HTTP, PORT, VIP, ZERO, member
from tests.world.balancing import origins, place, start
from tests.world.origin import Origin
from tests.world.raw_server import RawServer
from tests.world.waiting import until

__all__ = ["origins", "place", "start"]  # fixtures
WITHIN_S: Final = 30.0
LOCAL: Final = b"\r\n\r\n\0\r\nQUIT\n\x20"  # PROXY v2 of a connection that is the sender's own
PROXIED: Final = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c"  # of a client's, by TCP over IPv4


@pytest.fixture
def haproxy(start: Callable[[], HaproxyBalancer]) -> HaproxyBalancer:
    """A real one."""
    return start()


def answer_to(source: str, port: int = PORT) -> bytes:
    """What a client of that address gets; b"" when it is refused."""
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        to = http.client.HTTPConnection(VIP, port, timeout=20, source_address=(source, 0))
        with contextlib.closing(to):
            to.request("GET", "/")
            return to.getresponse().read()
    return b""


def status(source: str, port: int) -> int | None:
    """Likewise its status; None when it is refused."""
    with contextlib.suppress(ConnectionError, http.client.HTTPException):
        to = http.client.HTTPConnection(VIP, port, timeout=20, source_address=(source, 0))
        with contextlib.closing(to):
            to.request("GET", "/")
            return to.getresponse().status
    return None


@pytest.mark.parametrize("mode", [Mode.HTTP, Mode.TCP])
def test_who_comes_from_elsewhere_is_refused(
    haproxy: HaproxyBalancer, origins: dict[InstanceName, Origin], mode: Mode
) -> None:
    """By each of many networks; another endpoint has its own, and what is sent on is refused as well."""
    many = tuple(f"10.{number}.0.0/16" for number in range(250))
    frontend = replace(HTTP, mode=mode, probe=None, allow=(*many, f"{CORNER}.96/28", f"{CORNER}.200/32"))
    sent_on = replace(HTTP, pool=PoolName(f"{HTTP.pool}.redirect"), port=PORT + 2, probe=None, redirect_to=443)
    haproxy.shape([frontend, ADMIN, replace(sent_on, allow=(f"{CORNER}.200/32",))])
    haproxy.join(member(ZERO, HTTP.pool, ADMIN.pool))
    allowed = [f"{CORNER}.{last}" for last in (96, 111, 200)]
    assert [answer_to(source) for source in allowed] == [b"zero"] * 3
    assert [answer_to(f"{CORNER}.{last}") for last in (95, 112, 201)] == [b""] * 3
    assert answer_to(f"{CORNER}.95", ADMIN.port) == b"zero"
    until(lambda: haproxy.seats()[ZERO].standing is Standing.UP, WITHIN_S)  # Whoever asks members needs no leave.
    assert [status(f"{CORNER}.{last}", PORT + 2) for last in (200, 95)] == [308, None]


def test_a_member_hears_by_proxy_where_a_client_comes_from(haproxy: HaproxyBalancer) -> None:
    """Before anything else, as bytes that only we can send; checks say that they are nobody's."""
    haproxy.shape([replace(HTTP, mode=Mode.TCP, probe=HttpProbe(path="/h", interval_s=0.2), proxy_protocol=True)])
    with RawServer(ADDRESSES[ZERO], 8077, lambda _: b"HTTP/1.0 200 OK\r\n\r\n") as server:
        haproxy.join(member(ZERO))
        until(lambda: haproxy.seats()[ZERO].checked, WITHIN_S)
        asked = b"".join(server.heard).split(LOCAL + b"\0\0\0")
        assert asked.pop(0) == b""
        assert all(each.startswith(b"GET /h") for each in asked if each)
        with socket.create_connection((VIP, PORT), 20, (f"{CORNER}.77", 0)) as client:
            client.sendall(b"hello")
            # It may come apart from what stands before it.
            until(lambda: b"hello" in b"".join(server.heard), WITHIN_S)
            port = client.getsockname()[1]
        ends = socket.inet_aton(f"{CORNER}.77") + socket.inet_aton(VIP) + port.to_bytes(2) + PORT.to_bytes(2)
        assert PROXIED + ends in b"".join(server.heard)
        haproxy.shape([replace(HTTP, mode=Mode.TCP, probe=None, proxy_protocol=True), ADMIN])
        server.heard.clear()
        with socket.create_connection((VIP, PORT), 20) as client:  # After a reload as well.
            client.sendall(b"hello")
            client.recv(100)
        assert any(heard.startswith(PROXIED) for heard in server.heard)


def test_a_probe_of_another_port_says_no_proxy(haproxy: HaproxyBalancer) -> None:
    """It is no door of clients."""
    probe = HttpProbe(path="/h", port=8078, interval_s=0.2)
    haproxy.shape([replace(HTTP, probe=probe, proxy_protocol=True)])
    with RawServer(ADDRESSES[ZERO], 8078, lambda _: b"HTTP/1.0 200 OK\r\n\r\n") as server:
        haproxy.join(member(ZERO))
        until(lambda: haproxy.seats()[ZERO].checked, WITHIN_S)
        assert all(heard.startswith(b"GET /h") for heard in server.heard)


def test_our_own_prober_says_proxy_as_well() -> None:
    """Of a member that waits for it, and where a probe has a port of its own not."""
    probe, apart = HttpProbe(path="/h", interval_s=0.2), HttpProbe(path="/h", port=8078, interval_s=0.2)
    frontends = (
        replace(HTTP, probe=probe, proxy_protocol=True),
        replace(ADMIN, probe=apart, proxy_protocol=True),
    )
    shape = Shape(frontends=frontends, members={ZERO: member(ZERO, HTTP.pool, ADMIN.pool)})
    with (
        RawServer(ADDRESSES[ZERO], 8077, lambda _: b"HTTP/1.0 200 OK\r\n\r\n") as server,
        RawServer(ADDRESSES[ZERO], 8078, lambda _: b"HTTP/1.0 200 OK\r\n\r\n") as beside,
        Prober(lambda _: None, SystemClock()) as prober,
    ):
        targets = Targets().of(shape)
        prober.watch(targets)
        until(lambda: all(prober.health(key).checked for key in targets), WITHIN_S)
        assert all(prober.health(key).up for key in targets)
        assert b"".join(server.heard).startswith(LOCAL + b"\0\0\0GET /h")
        assert b"".join(beside.heard).startswith(b"GET /h")


class Slow:
    """A member of which each answer waits until it is let go, and that counts how many wait at a time."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.go = threading.Semaphore(0)
        self._lock = threading.Lock()

    def answer(self, _: bytes) -> bytes:
        """An HTTP answer, once."""
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        self.go.acquire()
        with self._lock:
            self.waiting -= 1
        return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"


@pytest.mark.parametrize("mode", [Mode.HTTP, Mode.TCP])
def test_a_member_gets_so_many_at_a_time_and_the_others_wait(haproxy: HaproxyBalancer, mode: Mode) -> None:
    """None is refused, and all get an answer; a reload keeps the limit."""
    frontend: Frontend = replace(HTTP, mode=mode, probe=None, member_connections=2)
    haproxy.shape([frontend])
    slow, answers = Slow(), list[bytes]()
    with RawServer(ADDRESSES[ZERO], 8077, slow.answer):
        haproxy.join(member(ZERO))
        for shaped in ([frontend], [frontend, ADMIN]):
            haproxy.shape(shaped)
            answers.clear()
            clients = [
                threading.Thread(target=lambda: answers.append(answer_to(f"{CORNER}.90")), daemon=True)
                for _ in range(5)
            ]
            for client in clients:
                client.start()
            until(lambda: slow.waiting == 2, WITHIN_S)
            time.sleep(0.3)  # for a third to come
            for _ in clients:
                slow.go.release()
            for client in clients:
                client.join()
            assert answers == [b"slow"] * 5
    assert slow.most == 2
