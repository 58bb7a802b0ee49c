"""What agents that never answer cost everybody else: guests of the daemon's, whose agent stands still."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from orchestrator.client.client import Client
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.tools.agent_channel import AT_ONCE, AgentChannel, AgentSilent
from orchestrator.drivers.tools.libvirt_connection import LibvirtConnection, close_all, open_all
from orchestrator.errors import VmroleError
from orchestrator.model import InstanceName
from tests.lab.harness.lab import Lab
from tests.world.waiting import until

HUNG = 3
ROUNDS = 5
WINDOW_S = 8.0
BEAT_S = 0.02
DELAY_MS = 50.0
HANGS_S = 60.0
# Its keeper would start another.
_HANG = "(sleep 1; kill -STOP $(busybox pidof agent); killall -STOP qemu-ga) </dev/null >/dev/null 2>&1 & exit 0"
Samples = tuple[str, float | None, list[float]]  # unit, limit, what was measured


def delays_ms(lab: Lab, socket: str, healthy: InstanceName, hung: Sequence[InstanceName]) -> dict[str, Samples]:
    """How much longer the slowest call about a healthy VM takes while others hang than while they are left alone.

    Of the drivers a look at the VM and a question to its agent, while a question to each that hangs is on its way all
    the time; of the daemon a question to the agent, while those are asked as often as it lets them be. The agents of
    `hung` are stopped and stay so.
    """
    client = Client(socket)
    with _drivers(lab) as (connection, channel):
        for name in hung:
            lab.guest(name, ["/bin/sh", "-c", _HANG])
            until(lambda name=name: _is_silent(channel, name), HANGS_S, what=f"{name} hangs")

        def insist(name: InstanceName) -> None:
            channel.reconnected(name)  # It is not left alone, as it would be by and by.
            with contextlib.suppress(VmroleError):
                channel.call(name, "guest-ping")

        def ask(name: InstanceName) -> None:
            with contextlib.suppress(VmroleError):
                client.agent(name)

        def look() -> None:
            with connection.use("bench") as opened:
                opened.lookupByName(healthy).XMLDesc(0)

        return {
            "hung_agents_look_ms": ("ms", DELAY_MS, _delays_ms(look, insist, hung)),
            "hung_agents_question_ms": (
                "ms",
                DELAY_MS,
                _delays_ms(lambda: channel.call(healthy, "guest-ping"), insist, hung),
            ),
            "hung_agents_request_ms": ("ms", DELAY_MS, _delays_ms(lambda: client.agent(healthy), ask, hung)),
        }


@contextlib.contextmanager
def _drivers(lab: Lab) -> Iterator[tuple[LibvirtConnection, AgentChannel]]:
    """A connection for looks and those for agents, as the daemon has them."""
    clock = SystemClock()
    connection, *for_agents = (LibvirtConnection(lab.libvirt_uri, None, clock) for _ in range(1 + AT_ONCE))
    open_all([connection, *for_agents])
    try:
        yield connection, AgentChannel(for_agents, clock)
    finally:
        close_all([connection, *for_agents])


def _is_silent(channel: AgentChannel, name: InstanceName) -> bool:
    channel.reconnected(name)
    try:
        channel.call(name, "guest-ping")
    except AgentSilent:
        return True
    return False


def _delays_ms(
    call: Callable[[], object], bother: Callable[[InstanceName], None], hung: Sequence[InstanceName]
) -> list[float]:
    """Of each round, what the slowest call took beyond the slowest of the quiet half before it."""
    delays = []
    for _ in range(ROUNDS):
        quiet = _slowest_s(call)
        with _bothered(bother, hung):
            busy = _slowest_s(call)
        print(
            f"  slowest of the quiet {quiet * 1000:.1f} ms, beside {len(hung)} that hang {busy * 1000:.1f} ms",
            flush=True,
        )
        delays.append(max(0.0, busy - quiet) * 1000)
    return delays


def _slowest_s(call: Callable[[], object]) -> float:
    slowest, until_s = 0.0, time.monotonic() + WINDOW_S
    while (began_s := time.monotonic()) < until_s:
        call()
        slowest = max(slowest, time.monotonic() - began_s)
        time.sleep(BEAT_S)
    return slowest


@contextlib.contextmanager
def _bothered(bother: Callable[[InstanceName], None], hung: Sequence[InstanceName]) -> Iterator[None]:
    """All who hang are asked, each all the time."""
    over = threading.Event()

    def ask_on(name: InstanceName) -> None:
        while not over.is_set():
            began_s = time.monotonic()
            bother(name)
            over.wait(max(0.0, BEAT_S - (time.monotonic() - began_s)))

    threads = [threading.Thread(target=ask_on, args=(name,)) for name in hung]
    for thread in threads:
        thread.start()
    try:
        time.sleep(BEAT_S * 10)
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
