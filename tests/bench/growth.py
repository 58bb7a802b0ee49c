"""What grows with the number of instances: figures over a simulated world, without a lab.

Processor time, not time on the wall, wherever the figure allows: another load of the machine moves it little.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from orchestrator.client.client import Client
from orchestrator.drivers.store.sqlite import SqliteStore
from tests.world import fleet
from tests.world.waiting import comes_true, until

SIZES = (100, 1_000, 10_000)
SPEED = 5.0  # of the world, where something is deployed or restarted
SETTLED_WITHIN_S = 900.0
IDLE_S = 60.0  # what is at rest is looked at once a minute
AT_REST_S = 12.0  # and where the world lives faster, in so much of our time
SIGNS_OF_LIFE_BYTES = 100  # of a watch in which nothing changes; an instance takes more
# A network in which each address of a guest, and each VIP, is this host's: all are answered for by one server.
ALONE = f"""ip link set lo up
ip route add local {fleet.POOL} dev lo
ip route add local 198.18.0.0/15 dev lo
"$1" -m tests.bench.guests & guests=$!
trap 'kill $guests' EXIT
shift
"$@"
"""
# What is left of it, should it not end by itself, ends with it.
OF_ITS_OWN = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
Samples = tuple[str, float | None, list[float]]  # unit, limit (None: no limit), what was measured
VMROLE = str(Path(sys.executable).with_name("vmrole"))


class Cost(NamedTuple):
    """Of something that was asked for among those who serve."""

    cpu_s: float  # of the processor
    with_rest_s: float  # the same with what the loop would have cost meanwhile, but for turns of others
    decoded: int  # records


class Fleet:
    """A `with` around a daemon that has so many instances which serve."""

    def __init__(self, instances: int, *, speed: float = SPEED, haproxy: bool = False) -> None:
        """`haproxy`: behind the real balancers, in a network of their own. Needs root."""
        self.instances = instances
        self._speed = speed
        self._haproxy = haproxy
        self._stack = contextlib.ExitStack()
        self._at_rest = 0.0  # the share of a core that it takes beside its turns when nobody asks for anything

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.place = place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vmrole-growth-")))
            with SqliteStore(place / "vmrole.db") as store:
                fleet.record(store, self.instances, time.time())
                store.commit([fleet.image_put(time.time())])
            self.socket = str(place / "s.sock")
            self.client = Client(self.socket)
            argv = [sys.executable, "-m", "tests.bench.simulated", str(place), str(self._speed)]
            if self._haproxy:
                argv = [*OF_ITS_OWN, "sh", "-ec", ALONE, "sh", sys.executable, *argv, "haproxy"]
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(self._end)
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "serves\n", "the daemon does not come up"
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            assert self._process.stdout is not None
            self._process.stdout.close()

    def account(self, service: str = "svc0") -> dict[str, Any]:
        """See tests.bench.simulated."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{service}\n")
        self._process.stdin.flush()
        account: dict[str, Any] = json.loads(self._process.stdout.readline())
        return account

    def haproxy_s(self) -> float:
        """Processor time of its HAProxy."""
        return sum(cpu_s(pid) for pid, word in self._processes() if word == "haproxy")

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """The daemon stands still meanwhile."""
        daemons = [pid for pid, word in self._processes() if word.startswith("python")]
        for pid in daemons:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in daemons:
                os.kill(pid, signal.SIGCONT)

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Its processes, and what program each runs."""
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and str(self.place).encode() in (entry / "cmdline").read_bytes():
                    yield int(entry.name), (entry / "exe").readlink().name

    def settle(self) -> None:
        """Waits until each instance has been looked at since the start."""
        self.until(lambda: self.account()["attended"] >= self.instances, every_s=0.5)

    def rest(self) -> None:
        """Finds out what it costs at rest beside its turns: that is no part of what is done meanwhile."""
        before, began_s = self.account(), time.monotonic()
        time.sleep(AT_REST_S)
        after, lasted_s = self.account(), time.monotonic() - began_s
        of_turns_s = after["turns_s"] - before["turns_s"]
        self._at_rest = (after["cpu_s"] - before["cpu_s"] - of_turns_s) / lasted_s

    def until(self, there: Callable[[], bool], *, every_s: float = 0.1) -> None:
        """Waits for it."""
        assert comes_true(there, SETTLED_WITHIN_S, every_s), f"not within {SETTLED_WITHIN_S:g} s"

    def cost_of(self, what: Callable[[], None], service: str) -> Cost:
        """What it costs of the processor, without what the others would have cost anyhow."""
        before, began_s = self.account(service), time.monotonic()
        what()
        after, lasted_s = self.account(service), time.monotonic() - began_s
        whole = {key: after[key] - before[key] for key in ("cpu_s", "turns_s", "own_s", "decoded")}
        beside_others_s = whole["cpu_s"] - (whole["turns_s"] - whole["own_s"])
        return Cost(beside_others_s - self._at_rest * lasted_s, beside_others_s, whole["decoded"])

    def act(self, verb: str, name: str) -> None:
        """Asks for it, and waits until it is done."""
        operation = self.client.act(verb, name)
        for _ in self.client.watch_operation(operation["id"]):
            pass  # Until it is over.
        progress = self.client.operation(operation["id"])["progress"]
        assert progress == "done", f"{verb} {name}: {progress}"

    def service_of(self, number: int) -> str:
        """One of them; others with other numbers."""
        return f"svc{number % (self.instances // fleet.OF_A_SERVICE)}"


def turns(sizes: Sequence[int] = SIZES, times: int = 15) -> dict[str, Samples]:
    """One reimage and 100 new ones among N, and the time from a request to its first effect."""
    reimages: dict[int, list[Cost]] = {}
    deploys: dict[int, float] = {}
    found: dict[str, Samples] = {}
    for size in sizes:
        with Fleet(size) as whole:
            whole.settle()
            whole.rest()
            reimages[size] = [reimage_cost(whole, number) for number in range(times + 1)][1:]  # The first warms up.
            deploys[size] = deploy_cost_ms(whole)
            effects = effect_ms(whole, times=100 if size == max(sizes) else 15)
        median_ms = statistics.median(cost.cpu_s for cost in reimages[size]) * 1000
        print(f"  {size}: reimage {median_ms:.0f} ms, deploy {deploys[size]:.1f} ms each", flush=True)
        found[at("decoded", size)] = "records", None, [float(cost.decoded) for cost in reimages[size]]
        limit = None if size < 10_000 else 1.2 * deploys[1_000] if 1_000 in deploys else None
        found[at("deploy_cost_ms", size)] = "ms", limit, [deploys[size]]
        found[at("effect_ms", size)] = "ms", 50.0, effects
        if size == max(sizes):
            found[at("effect_p99_ms", size)] = "ms", 500.0, [statistics.quantiles(effects, n=100)[-1]]
    least = reimages[min(sizes)]
    for size in sizes:
        if size != min(sizes):
            of = reimages[size]
            found[at("turn_cost_growth", size)] = (
                "ratio",
                1.2,
                over([one.cpu_s for one in of], [one.cpu_s for one in least]),
            )
            with_rest = over([one.with_rest_s for one in of], [one.with_rest_s for one in least])
            found[at("turn_cost_growth_with_rest", size)] = "ratio", None, with_rest
            growth = over([one.decoded for one in of], [one.decoded for one in least])
            found[at("records_decoded_growth", size)] = "ratio", 1.1, growth
    return found


def over(those: Sequence[float], least: Sequence[float]) -> list[float]:
    """Each of them, as so many times what is usual where there are fewest."""
    return [one / statistics.median(least) for one in those]


def at(name: str, size: int) -> str:
    """The measure's name for a fleet of that size."""
    return f"{name}_{size}"


def reimage_cost(whole: Fleet, number: int) -> Cost:
    """Of one."""
    service = whole.service_of(number)
    return whole.cost_of(lambda: whole.act("reimage", f"web-0.{service}"), service)


_NEW = """service: new
vip: 198.19.255.1
roles:
  web:
    image: micro
    instances: 100
    size: {vcpus: 1, memory: 128 MiB}
    endpoints:
      http: {port: 80, target: 8080, protocol: http, probe: {path: /healthz}}
    localStorage:
      cache: {size: 64 MiB}
    drain: 2 s
"""


def deploy_cost_ms(whole: Fleet) -> float:
    """Processor time of each of 100 new ones, from the request until all serve."""

    def deploy() -> None:
        whole.client.apply(_NEW)
        whole.until(lambda: whole.account("new")["serving"] == 100, every_s=0.5)

    return whole.cost_of(deploy, "new").cpu_s * 1000 / 100


def effect_ms(whole: Fleet, times: int) -> list[float]:
    """By the clock: from the answer to a restart until the balancer is told to drain; 0 when it was told before."""
    found = []
    for number in range(times):
        service = whole.service_of(number)
        name = f"web-{1 + number // 10 % 9}.{service}"
        asked_s = time.monotonic()
        operation = whole.client.act("restart", name)
        accepted_s = time.monotonic()
        whole.until(lambda at=asked_s, of=service, who=name: whole.account(of)["drained"].get(who, 0.0) > at)  # type: ignore[misc]
        found.append(max(0.0, whole.account(service)["drained"][name] - accepted_s) * 1000)
        whole.until(lambda of=operation: whole.client.operation(of["id"])["progress"] != "running")  # type: ignore[misc]
    return found


def rest(sizes: Sequence[int] = SIZES) -> dict[str, Samples]:
    """All serve and nobody asks for anything: the share of a core over a minute, and the memory."""
    limits = {1_000: (1.0, 120.0), 10_000: (3.0, 300.0)}
    found: dict[str, Samples] = {}
    for size in sizes:
        with Fleet(size, speed=1.0) as whole:
            whole.settle()
            time.sleep(5.0)  # The last turns settle.
            before, began_s = whole.account(), time.monotonic()
            time.sleep(IDLE_S)
            after, lasted_s = whole.account(), time.monotonic() - began_s
        share, memory = limits.get(size, (None, None))
        found[at("idle_cpu_percent", size)] = "%", share, [(after["cpu_s"] - before["cpu_s"]) / lasted_s * 100]
        found[at("daemon_rss_mib", size)] = "MiB", memory, [after["rss_mib"]]
    return found


def balanced(size: int = 1_000, rounds: int = 3) -> dict[str, Samples]:
    """The same behind a real HAProxy, which asks each of them, as the daemon's own probers do."""
    with Fleet(size, speed=1.0, haproxy=True) as whole:
        whole.settle()
        whole.until(lambda: all(one["standing"] == "up" for one in whole.client.instances(seats=True)), every_s=5.0)
        time.sleep(IDLE_S / 2)  # Who has just joined is asked more often at first.
        shares = []
        for _ in range(rounds):
            before, began_s = whole.account(), time.monotonic()
            time.sleep(IDLE_S)
            shares.append((whole.account()["cpu_s"] - before["cpu_s"]) / (time.monotonic() - began_s) * 100)
    return {at("idle_cpu_percent_behind_haproxy", size): ("%", 2.0, shares)}


def crowded(size: int = 10_000, rounds: int = 3) -> dict[str, Samples]:
    """HAProxy with so many, and its own checks: what our watching takes of the daemon, and what it adds to HAProxy's.

    The least that HAProxy takes is measured while the daemon stands still; what our probers take, who ask each member
    as well, is no part of watching, and is in the whole of the daemon, which has no limit here.
    """
    taken: dict[str, list[float]] = {"watch": [], "added": [], "floor": [], "daemon": []}
    with Fleet(size, speed=1.0, haproxy=True) as whole:
        whole.settle()
        whole.until(lambda: all(one["standing"] == "up" for one in whole.client.instances(seats=True)), every_s=10.0)
        time.sleep(IDLE_S / 2)
        for _ in range(rounds):
            before, began_s, haproxy_s = whole.account(), time.monotonic(), whole.haproxy_s()
            time.sleep(IDLE_S)
            after, lasted_s, busy_s = whole.account(), time.monotonic() - began_s, whole.haproxy_s() - haproxy_s
            with whole.still():
                began_s, haproxy_s = time.monotonic(), whole.haproxy_s()
                time.sleep(IDLE_S / 2)
                floor = (whole.haproxy_s() - haproxy_s) / (time.monotonic() - began_s) * 100
            taken["watch"].append((after["watch_s"] - before["watch_s"]) / lasted_s * 100)
            taken["daemon"].append((after["cpu_s"] - before["cpu_s"]) / lasted_s * 100)
            taken["floor"].append(floor)
            taken["added"].append(busy_s / lasted_s * 100 - floor)
    return {
        at("haproxy_watch_percent", size): ("%", 2.0, taken["watch"]),
        at("haproxy_watched_percent", size): ("%", 2.0, taken["added"]),
        at("haproxy_checks_percent", size): ("%", None, taken["floor"]),
        at("daemon_behind_haproxy_percent", size): ("%", None, taken["daemon"]),
    }


def starts(sizes: Sequence[int] = SIZES, times: int = 3) -> dict[str, Samples]:
    """Processor time of the daemon until it has answered its first request, against that with the fewest.

    That of Python and of the imports is no part of it: it is the same for all, and would make any growth look small.
    """
    taken: dict[int, list[float]] = {}
    for size in sizes:
        taken[size] = []
        for _ in range(times):
            with Fleet(size) as whole:
                whole.client.health()
                whole.client.instance("web-0.svc0")
                account = whole.account()
                taken[size].append(account["cpu_s"] - account["imports_s"])
        print(f"  {size}: first answer after {statistics.median(taken[size]):.2f} s of the processor", flush=True)
    least = statistics.median(taken[min(sizes)])
    return {
        at("restart_ready_ratio", size): ("ratio", 5.0, [one / least for one in taken[size]])
        for size in sizes
        if size != min(sizes)
    }


@contextlib.contextmanager
def watchers(whole: Fleet, number: int) -> Iterator[None]:
    """So many who watch all instances, and read what comes."""
    connections, threads, taken = [], [], [0]

    def read(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while some := connection.recv(1 << 16):
                taken[0] += len(some)

    for _ in range(number):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(whole.socket)
        connection.sendall(b"GET /v1/instances/watch HTTP/1.1\r\nHost: vmrole\r\nAccept: text/event-stream\r\n\r\n")
        thread = threading.Thread(target=read, args=(connection,), daemon=True)
        thread.start()
        connections.append(connection)
        threads.append(thread)

    def quiet() -> bool:
        before = taken[0]
        time.sleep(3.0)
        return 0 < taken[0] <= before + SIGNS_OF_LIFE_BYTES * number

    until(quiet, SETTLED_WITHIN_S, what="all of them to be told")
    try:
        yield
    finally:
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for connection in connections:
            connection.close()
        time.sleep(3.0)  # It finds out that they are gone.


def watches(size: int = 1_000, times: int = 5) -> dict[str, Samples]:
    """One restart among so many while 50 watch everything, against the same with one who does."""
    with Fleet(size) as whole:
        whole.settle()
        costs: dict[int, list[float]] = {}
        for watching in (1, 50):
            with watchers(whole, watching):
                costs[watching] = []
                for number in range(times):
                    service = whole.service_of(number)
                    cost = whole.cost_of(
                        lambda of=service: whole.act("restart", f"web-0.{of}"),  # type: ignore[misc]
                        service,
                    )
                    costs[watching].append(cost.cpu_s)
    print(f"  restart with 1 and 50 watchers: {[round(statistics.median(one) * 1000) for one in costs.values()]} ms")
    one = statistics.median(costs[1])
    return {"watch_cost": ("ratio", 2.0, [cost / one for cost in costs[50]])}


def asks(sizes: Sequence[int] = SIZES[:2], times: int = 15) -> dict[str, Samples]:
    """`vmrole get instances` as a whole process, and its answer in the daemon, against `python3 -c pass`.

    As it is installed, compiled: the first of each compiles, and is not counted.
    """
    found: dict[str, Samples] = {}
    for size in sizes:
        with Fleet(size, speed=1.0) as whole:
            whole.settle()
            every = limit_of(size, 1_000, 6.0)
            found[at("get_ratio", size)] = "ratio", every, [ask(whole, []) for _ in range(times + 1)][1:]
            found[at("get_one_ratio", size)] = "ratio", 3.0, [ask(whole, ["web-0.svc0"]) for _ in range(times)]
    return found


def limit_of(size: int, known: int, limit: float) -> float | None:
    """Only up to the size for which there is one."""
    return limit if size <= known else None


def ask(whole: Fleet, words: list[str]) -> float:
    """One pair, in processor time; the turns that the daemon has meanwhile are no part of it."""
    before = whole.account()
    env = ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPYCACHEPREFIX={whole.place / 'compiled'}"]
    env.append(f"VMROLE_SOCKET={whole.socket}")
    client_s = children_s([*env, VMROLE, "get", "instances", *words])
    after = whole.account()
    served_s = after["cpu_s"] - before["cpu_s"] - (after["turns_s"] - before["turns_s"])
    nothing_s = children_s([*env, sys.executable, "-c", "pass"])
    return float((client_s + served_s) / nothing_s)


def cpu_s(pid: int) -> float:
    """Processor time of a process that lives."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_s(argv: list[str]) -> float:
    """Processor time of a process that is waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


MEASURES: dict[str, Callable[[], dict[str, Samples]]] = {
    "growth.turns": turns,
    "growth.rest": rest,
    "growth.balanced": balanced,
    "growth.crowded": crowded,
    "growth.starts": starts,
    "growth.watches": watches,
    "growth.asks": asks,
}
