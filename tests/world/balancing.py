"""Real HAProxies, origins behind them, and clients in front, for the rings that need them."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import InstanceName
from tests.world.endpoints import (
    ADDRESSES,
    ONE,
    PORT,
    VIP,
    ZERO,
)
from tests.world.origin import Origin
from tests.world.waiting import until


@pytest.fixture
def woken() -> list[InstanceName]:
    """Whom HAProxy's watcher has woken."""
    return []


@pytest.fixture
def haproxy(tmp_path: Path, woken: list[InstanceName]) -> Iterator[HaproxyBalancer]:
    """A real HAProxy on loopback; it ends with the test."""
    place = tmp_path / "haproxy"
    with HaproxyBalancer(place, "haproxy", lambda name, _: woken.append(name), SystemClock()) as balancer:
        yield balancer
        balancer.shape([])


def ask(path: str = "/", port: int = PORT, connection: http.client.HTTPConnection | None = None) -> tuple[int, str]:
    """Status and body through the VIP."""
    if connection is None:
        with contextlib.closing(http.client.HTTPConnection(VIP, port, timeout=5)) as fresh:
            return ask(path, port, fresh)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def answered() -> tuple[int, str]:
    """As `ask`; (0, "") while nobody listens."""
    try:
        return ask()
    except OSError:
        return 0, ""


def kill_all(haproxy: HaproxyBalancer) -> None:
    """kill -9 of the master and its workers; returns when they have died of it."""
    config = str(haproxy.process.config).encode()
    killed = [
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _runs_on(entry, config)
    ]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(_runs_on(Path(f"/proc/{pid}"), config) for pid in killed))


def _runs_on(entry: Path, config: bytes) -> bool:
    with contextlib.suppress(OSError):
        return config in (entry / "cmdline").read_bytes().split(b"\0")
    return False


@pytest.fixture
def place() -> Iterator[Path]:
    """HAProxy's directory. Its path is short: that of a test's own is too long for a socket where several run."""
    with tempfile.TemporaryDirectory(prefix="vmrole-") as short:
        Path(short).chmod(0o755)
        yield Path(short) / "haproxy"


@pytest.fixture
def start(place: Path) -> Iterator[Callable[[], HaproxyBalancer]]:
    """Begins a daemon's balancer on `place`; each call is the next daemon. All end with the test, HAProxy too."""
    with contextlib.ExitStack() as stack:

        def begin() -> HaproxyBalancer:
            return stack.enter_context(HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock()))

        last = HaproxyBalancer(place, "haproxy", lambda *_: None, SystemClock())
        stack.callback(lambda: last.shape([]))
        yield begin


@pytest.fixture
def origins() -> Iterator[dict[InstanceName, Origin]]:
    """Two real HTTP servers, one for each member."""
    with Origin("zero", ADDRESSES[ZERO], 8077) as zero, Origin("one", ADDRESSES[ONE], 8077) as one:
        yield {ZERO: zero, ONE: one}
