"""How long a member that has died, or is silent, still gets connections: real HAProxy and prober, on loopback.

Its clients are sent to another member meanwhile where its port is closed; of one that is silent they wait.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Standing
from tests.world.endpoints import ADDRESSES, HTTP, ONE, ZERO, member, patiently
from tests.world.waiting import comes_true, until

ROUNDS = 7
WITHIN_S = 60.0
LOOK_S = 0.01
SILENT_WITHIN_S = 8.0  # three checks of two seconds, and what lies between them
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"


class Service:
    """What a member serves; a `with`, which may be silent in its middle."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.silent = False

    def __enter__(self) -> Service:
        self._listener = socket.create_server((self._address, 8077), backlog=512)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        held = []
        while True:
            try:
                talk, _ = self._listener.accept()
            except OSError:
                return
            if self.silent:
                held.append(talk)
                continue
            with talk, contextlib.suppress(OSError):
                talk.settimeout(1.0)
                talk.recv(1000)
                talk.sendall(ANSWER)


@contextlib.contextmanager
def pool() -> Iterator[PerEndpoint]:
    """A balancer that carries one endpoint."""
    with contextlib.ExitStack() as stack:
        place, clock = Path(stack.enter_context(tempfile.TemporaryDirectory())), SystemClock()
        haproxy = stack.enter_context(HaproxyBalancer(place / "haproxy", "haproxy", lambda *_: None, clock))
        stack.callback(haproxy.shape, [])
        kernel = NftablesBalancer(place / "pools", lambda *_: None, clock)  # Nothing is its to carry.
        balancer = stack.enter_context(PerEndpoint(haproxy, kernel, clock))
        patiently(lambda: balancer.shape([HTTP]))
        yield balancer


def out_of_the_pool_s(*, silent: bool) -> list[float]:
    """Each time from its end until HAProxy sends it nothing more."""
    taken = []
    with pool() as balancer, Service(ADDRESSES[ONE]):
        patiently(lambda: balancer.join(member(ONE)))
        for _ in range(ROUNDS):
            with Service(ADDRESSES[ZERO]) as service:
                patiently(lambda: balancer.join(member(ZERO)))
                until(lambda: stands(balancer) is Standing.UP, WITHIN_S)
                time.sleep(2.0)  # It has been well for a while.
                service.silent = silent
                if not silent:
                    service.__exit__()
                began = time.monotonic()
                assert comes_true(lambda: stands(balancer) is Standing.DOWN, WITHIN_S, LOOK_S), "it stays in the pool"
                taken.append(time.monotonic() - began)
            patiently(lambda: balancer.leave(ZERO))
    return taken


def stands(balancer: PerEndpoint) -> Standing | None:
    """The member that dies, as HAProxy has it now; None before its first check."""
    seat = balancer.seat(ZERO)
    return seat.standing if seat is not None and seat.checked else None
