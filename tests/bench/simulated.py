"""A daemon over a simulated world that lives in real time: the loop, SQLite, the core and the API are the real ones.

    python -m tests.bench.simulated DIRECTORY SPEED [haproxy]

Its world lives SPEED times as fast as ours. With `haproxy` the balancers are the real ones as well, in the network
that they are started in; who it asks there is everybody's guest. It prints one line when it serves; to each line with
the name of a service it answers with an account (JSON): what it has cost so far, and that service's part. It ends
with its input.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator import ports
from orchestrator.api import Listener, bind, create_app, serve
from orchestrator.api.peers import Admission
from orchestrator.control.attaching import Attaching
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.deployment import Capacity
from orchestrator.control.drives import Drives
from orchestrator.control.first_reading import read_all
from orchestrator.control.loop import Key, Reconciler
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.control.tokens import Tokens
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.clock import SystemClock
from orchestrator.drivers.fake import FakeBlobs, FakeDrives, FakeMachine, World, fake_host
from orchestrator.drivers.fake.parts import FakeBalancer
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.store.pending import Pending
from orchestrator.drivers.store.sqlite import SqliteStore
from orchestrator.drivers.tools.layout import Layout
from orchestrator.model import Instance, InstanceName, Phase, Seat, Standing
from orchestrator.ports import Balancer
from tests.world import fleet


class Machines(dict[InstanceName, FakeMachine]):
    """Whoever looks at one sees it as it has become by now."""

    def __init__(self, world: LiveWorld) -> None:
        super().__init__()
        self._world = world

    def get(self, name: InstanceName, default: Any = None) -> Any:
        """See dict."""
        machine = super().get(name, default)
        if machine is not None:
            self._world.live(machine)
        return machine


class Seats(dict[InstanceName, Seat]):
    """Notes when somebody is taken out of rotation: the first effect of a restart."""

    def __init__(self) -> None:
        super().__init__()
        self.drained: dict[str, float] = {}  # by time.monotonic

    def __setitem__(self, name: InstanceName, seat: Seat) -> None:
        super().__setitem__(name, seat)
        if seat.standing is Standing.DRAINING:
            self.drained[name] = time.monotonic()


class LiveWorld(World):
    """Its time is ours, or goes so many times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began_s, self._epoch_s = time.monotonic(), time.time()
        super().__init__()
        self.machines = Machines(self)
        self.seats_taken = Seats()

    @property
    def time_s(self) -> float:
        """Seconds since the epoch."""
        return self._epoch_s + (time.monotonic() - self._began_s) * self._speed

    @time_s.setter
    def time_s(self, _: float) -> None:
        """Nobody moves it."""

    def wait(self, changed: threading.Condition, within_s: float) -> None:
        """See ports.Clock."""
        changed.wait(within_s / self._speed)

    def live(self, machine: FakeMachine) -> None:
        """Up to now. Of one that has gone through its setup's restart nothing becomes by itself."""
        if machine.going_down_at_s is None and "" != machine.setup_boot_id != machine.boot_id:
            return
        with self.lock:
            self._live(machine)


class Snapshot(Mapping[InstanceName, Seat]):
    """All seats, each read when it is asked for: to hand out all of them costs nothing, as with the real balancer."""

    def __init__(self, world: World, balancer: Balancer) -> None:
        self._world = world
        self._balancer = balancer

    def __getitem__(self, name: InstanceName) -> Seat:
        seat = self._balancer.seat(name)
        if seat is None:
            raise KeyError(name)
        return seat

    def __iter__(self) -> Iterator[InstanceName]:
        return iter(list(self._world.seats_taken))

    def __len__(self) -> int:
        return len(self._world.seats_taken)


class WatchedBalancer(FakeBalancer):
    """The fake's, which is not asked for a copy of everything each time."""

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        return Snapshot(self._world, self)


class Accounted(Reconciler):
    """The loop, which writes down what its turns cost."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cost_s: collections.defaultdict[Key, float] = collections.defaultdict(float)

    def _one(self, key: Key) -> Key | None:
        """See Reconciler. What follows a turn is part of it."""
        began_s = time.thread_time()
        try:
            return super()._one(key)
        finally:  # A key has at most one turn at a time.
            self.cost_s[key] += time.thread_time() - began_s


def rss_mib() -> float:
    """Resident memory of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def thread_s(name: str) -> float:
    """Processor time of the threads of this name."""
    clocks = [
        time.pthread_getcpuclockid(one.ident) for one in threading.enumerate() if one.name == name and one.ident
    ]
    return sum(map(time.clock_gettime, clocks))


def real_balancer(place: Path, reconciler: list[Reconciler], stack: contextlib.ExitStack) -> ports.Balancer:
    """HAProxy and the kernel's, each with its prober, as the daemon has them; they wake the loop as soon as it is."""
    clock = SystemClock()

    def wake(name: InstanceName, why: str) -> None:
        for loop in reconciler:
            loop.wake_instance(name, why)

    haproxy = stack.enter_context(HaproxyBalancer(place / "haproxy", "haproxy", wake, clock))
    kernel = stack.enter_context(NftablesBalancer(place / "pools", wake, clock))
    stack.callback(haproxy.shape, [])
    return stack.enter_context(PerEndpoint(haproxy, kernel, clock))


def main(directory: Path, speed: float, *, haproxy: bool) -> None:
    """Serves until the input ends."""
    imports_s = time.process_time()
    store = SqliteStore(directory / "vmrole.db")
    world = LiveWorld(speed)
    before_s = time.process_time()
    fleet.people(world, Present(store).all(Instance))
    staging_s = time.process_time() - before_s  # The world is no part of the daemon.
    present = Present(store)
    read_all(present)
    host = fake_host(world)
    loops: list[Reconciler] = []
    stack = contextlib.ExitStack()
    balancer = real_balancer(directory, loops, stack) if haproxy else WatchedBalancer(world)
    host = dataclasses.replace(host, front=dataclasses.replace(host.front, balancer=balancer))
    reconciler = Accounted(store, host, present=present)
    loops.append(reconciler)
    layout = Layout(directory / "state", directory / "run")
    layout.state.mkdir(exist_ok=True)
    images = Catalogue(present, world, LocalImageFiles(layout, virtual_size_max=1 << 40))
    control = Control(
        store,
        find_image=images.find,
        capacity=Capacity(pool=fleet.POOL, memory_mib=1 << 30),
        clock=world,
        wake=reconciler.wake,
        seats=host.front.balancer.seats,
        agent=host.machine.guest.agent,
        present=present,
    )
    tokens, drives = Tokens(present, world), Drives(present, FakeDrives(world), world)
    app = create_app(
        control,
        images,
        tokens=tokens,
        attaching=Attaching(present, drives, fake_host(world).machine, control.instance),
        blobs=FakeBlobs(world),
        console=layout.console,
        evidence=KeptEvidence(layout, world),
        findings=list,
        repair=list,
        backup=store.backup,
        restores=Pending(layout.records),
    )
    listener = Listener(bind(directory / "s.sock", None), Admission())
    reconciler.start()
    server = serve(app, listener)
    print("serves", flush=True)
    began_s = time.thread_time()
    for line in sys.stdin:
        cpu_s = time.process_time() - staging_s - (time.thread_time() - began_s)  # No account is part of the daemon.
        service = line.strip()
        costs = list(reconciler.cost_s.copy().items())  # New ones may come meanwhile.
        drained = world.seats_taken.drained if isinstance(world.seats_taken, Seats) else {}
        account = {
            "cpu_s": cpu_s,
            "imports_s": imports_s,
            "watch_s": thread_s("haproxy"),
            "turns_s": sum(cost for _, cost in costs),
            "own_s": sum(
                cost
                for (kind, name), cost in costs
                if kind == "operation" or name == service or name.endswith(f".{service}")
            ),
            "attended": sum(kind == "instance" for (kind, _), _ in costs),
            "decoded": present.decoded,
            "rss_mib": rss_mib(),
            "serving": sum(one.phase is Phase.SERVING for one in present.instances_of(service).values()),
            "drained": {name: at for name, at in drained.copy().items() if name.endswith(f".{service}")},
        }
        print(json.dumps(account), flush=True)
    server.stop()
    reconciler.stop()
    stack.close()
    os._exit(0)  # Threads that wait for nothing any more hold nobody up.


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), haproxy=sys.argv[3:] == ["haproxy"])
