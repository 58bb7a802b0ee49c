"""What a request pays for its way through a VIP, and what a change of a pool of a hundred costs: no VM is needed.

A member is a namespace behind a bridge, where an HAProxy answers a kilobyte by itself, faster than any guest could;
the client is outside. Each way is asked in turn, again and again, so that what else the host does meets all alike.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Carrier, Frontend, HttpProbe, InstanceName, Member, Mode, PoolName, Standing, TcpProbe
from tests.lab.harness.places import CLIENT, HOST, HOST_ADDRESS, Place
from tests.lab.stand_in import members_behind
from tests.world.endpoints import patiently
from tests.world.waiting import comes_true, until

VIP, GATEWAY, DIP, SPACE = "203.0.113.30", "10.91.0.1", "10.91.0.10", "origin"
TARGET = 8080
ROUNDS = 5
LOAD_S = 2
CONNECTIONS = 16
MEMBERS = 100
WITHIN_S = 60.0
LOOK_S = 0.01
FIRST = InstanceName("web-0.bench")
KERNELS = Frontend(
    pool=PoolName("bench.web.nft"), vip=VIP, port=81, mode=Mode.TCP, probe=TcpProbe(), carrier=Carrier.NFTABLES
)
TCP = Frontend(pool=PoolName("bench.web.tcp"), vip=VIP, port=82, mode=Mode.TCP, probe=TcpProbe())
HTTP = Frontend(pool=PoolName("bench.web.http"), vip=VIP, port=83, mode=Mode.HTTP, probe=HttpProbe(path="/"))
BARE_PORT = 84
BARE = """global
  maxconn 2000
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend bare
  bind {vip}:{port} transparent
  default_backend members
backend members
  server one {dip}:{target}
"""
ORIGIN = """global
  nbthread 1
defaults
  mode http
  timeout client 60s
frontend origin
  bind 0.0.0.0:{port}
  http-request return status 200 content-type text/plain string {body}
"""


@contextlib.contextmanager
def wire() -> Iterator[Place]:
    """The VIP, and a member's namespace behind a bridge; clients know a way to it, for something to compare with."""
    with contextlib.ExitStack() as undo:
        undo.enter_context(members_behind(VIP, GATEWAY, {SPACE: DIP}))
        HOST.run(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])
        CLIENT.run(["ip", "route", "add", f"{DIP}/32", "via", HOST_ADDRESS])
        undo.callback(CLIENT.run, ["ip", "route", "del", f"{DIP}/32"], check=False)
        yield Place(SPACE, ("nsenter", f"--net=/run/netns/{SPACE}", "--"))


@contextlib.contextmanager
def origin(member: Place, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Answers in the member."""
    file = place / "origin.cfg"
    file.write_text(ORIGIN.format(port=TARGET, body="x" * 1024))
    process = member.popen(["haproxy", "-db", "-f", str(file)])
    try:
        until(lambda: answers(f"{DIP}:{TARGET}"), WITHIN_S, what="the member to answer")
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def bare(place: Path) -> Iterator[None]:
    """An HAProxy with nothing but the way to the member: what any costs, whoever configures it."""
    file = place / "bare.cfg"
    file.write_text(BARE.format(vip=VIP, port=BARE_PORT, dip=DIP, target=TARGET))
    process = HOST.popen(["haproxy", "-db", "-f", str(file)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def balancers(place: Path) -> Iterator[PerEndpoint]:
    """Both, behind one port, as a daemon has them."""
    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        haproxy = stack.enter_context(HaproxyBalancer(place / "haproxy", "haproxy", lambda *_: None, clock))
        kernel = stack.enter_context(NftablesBalancer(place / "pools", lambda *_: None, clock))
        stack.callback(kernel.shape, [])
        stack.callback(haproxy.shape, [])
        yield stack.enter_context(PerEndpoint(haproxy, kernel, clock))


def member_of(number: int, *ends: Frontend) -> Member:
    """One of a hundred; the first is there."""
    address = DIP if not number else f"10.91.0.{100 + number}"
    return Member(
        name=InstanceName(f"web-{number}.bench"), address=address, pools=tuple((end.pool, TARGET) for end in ends)
    )


def answers(where: str) -> bool:
    """Whether the client gets an answer."""
    return CLIENT.run(["curl", "-sf", "-m", "5", "-o", "/dev/null", f"http://{where}/"], check=False).returncode == 0


def load(where: str) -> tuple[float, float]:
    """Requests a second over connections that are kept, and the host's processor time for each in microseconds."""
    before = busy_s()
    done = CLIENT.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{LOAD_S}s", f"http://{where}/"])
    spent = busy_s() - before
    counted = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    assert counted is not None, done.stdout
    assert rate is not None, done.stdout
    assert "Non-2xx" not in done.stdout, done.stdout
    return float(rate[1]), 1e6 * spent / int(counted[1])


def busy_s() -> float:
    """Processor time of everything on the host so far (proc(5), /proc/stat without idle and iowait), in seconds."""
    fields = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def data_paths() -> dict[str, tuple[str, float | None, list[float]]]:
    """Each way's requests a second ÷ those of the member asked directly, and processor time per request; and those of
    our HAProxy ÷ those of one with nothing but the way.
    """
    ways = {"nft_data_path": KERNELS, "haproxy_tcp_path": TCP, "haproxy_http_path": HTTP}
    ports = {name: end.port for name, end in ways.items()} | {"haproxy_bare_path": BARE_PORT}
    limits = {"nft_data_path": 0.9, "haproxy_tcp_path": 0.6, "haproxy_tcp_of_bare": 0.95}
    ratios: dict[str, list[float]] = {name: [] for name in (*ports, "haproxy_tcp_of_bare")}
    spent: dict[str, list[float]] = {name: [] for name in ("direct", *ports)}
    with (
        tempfile.TemporaryDirectory() as directory,
        wire() as member,
        origin(member, Path(directory)),
        balancers(Path(directory)) as balancer,
        bare(Path(directory)),
    ):
        patiently(lambda: balancer.shape(list(ways.values())))
        patiently(lambda: balancer.join(member_of(0, *ways.values())))
        for name, port in ports.items():
            until(functools.partial(answers, f"{VIP}:{port}"), WITHIN_S, what=f"{name} to answer")
        for _ in range(ROUNDS):
            direct, cost = load(f"{DIP}:{TARGET}")
            spent["direct"].append(cost)
            for name, port in ports.items():
                rate, cost = load(f"{VIP}:{port}")
                ratios[name].append(rate / direct)
                spent[name].append(cost)
            ratios["haproxy_tcp_of_bare"].append(ratios["haproxy_tcp_path"][-1] / ratios["haproxy_bare_path"][-1])
            print("  " + ", ".join(f"{name} {ratio[-1]:.2f}" for name, ratio in ratios.items()), flush=True)
    return {name: ("ratio", limits.get(name), ratio) for name, ratio in ratios.items()} | {
        f"{name}_cpu_us": ("us", None, cost) for name, cost in spent.items()
    }


def pool_changes() -> dict[str, tuple[str, float | None, list[float]]]:
    """How long a member's joining, and its leaving, takes in a pool that has ninety-nine others."""
    taken: dict[str, tuple[str, float | None, list[float]]] = {}
    for name, end, limit_ms in (("pool_change_ms_nft", KERNELS, 25.0), ("pool_change_ms_haproxy", TCP, 5.0)):
        with tempfile.TemporaryDirectory() as directory, wire(), balancers(Path(directory)) as balancer:
            patiently(functools.partial(balancer.shape, [end]))
            for number in range(1, MEMBERS):
                patiently(functools.partial(balancer.join, member_of(number, end)), WITHIN_S)
            last = member_of(0, end)
            samples = []
            for _ in range(4 * ROUNDS):
                for change in (functools.partial(balancer.join, last), functools.partial(balancer.leave, last.name)):
                    began = time.monotonic()
                    patiently(change)
                    samples.append(1000 * (time.monotonic() - began))
            taken[name] = ("ms", limit_ms, samples)
    return taken


def failovers() -> dict[str, tuple[str, float | None, list[float]]]:
    """From the end of a member's process until it is dealt no further connection."""
    taken: dict[str, tuple[str, float | None, list[float]]] = {}
    for name, end in (("failover_ms_nft", KERNELS), ("failover_ms_haproxy", HTTP)):
        assert end.probe is not None
        interval_s, samples = end.probe.interval(), []
        with tempfile.TemporaryDirectory() as directory, wire() as member, balancers(Path(directory)) as balancer:
            patiently(functools.partial(balancer.shape, [end]))
            for _ in range(ROUNDS):
                with origin(member, Path(directory)) as process:
                    patiently(functools.partial(balancer.join, member_of(0, end)))
                    until(lambda: standing(balancer) is Standing.UP, WITHIN_S, what="the member to be well")
                    time.sleep(2 * interval_s)  # It has been well for a while.
                    process.kill()
                    began = time.monotonic()
                    gone = comes_true(lambda: standing(balancer) is Standing.DOWN, WITHIN_S, LOOK_S)
                    assert gone, "it stays in the pool"
                    samples.append(1000 * (time.monotonic() - began))
                patiently(lambda: balancer.leave(FIRST))
        taken[name] = ("ms", 1000 * 2 * interval_s + 100, samples)
    return taken


def standing(balancer: PerEndpoint) -> Standing | None:
    """The member's, as its balancer has it now; None before its first check."""
    seat = balancer.seat(FIRST)
    return seat.standing if seat is not None and seat.checked else None


MEASURES: dict[str, Callable[[], dict[str, tuple[str, float | None, list[float]]]]] = {
    "paths": data_paths,
    "pool_changes": pool_changes,
    "failovers": failovers,
}
