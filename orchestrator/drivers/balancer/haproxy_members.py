"""Members of a running HAProxy, by its runtime socket: looked at, added, set, removed; not what they shall be.

A pool's members are asked for by the pool's name; that is its backend's, and of nothing else in the configuration.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol, TypeAlias

from orchestrator.drivers.balancer import haproxy_stat
from orchestrator.drivers.balancer.desired import Shape
from orchestrator.drivers.balancer.haproxy_stat import Rows
from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import Busy, Unreachable
from orchestrator.model import Carried, InstanceName, PoolName, Seat, Standing
from orchestrator.ports import Clock

REMOVE_S: Final = 1.0  # Idle connections to a member are gone 200 ms after its last request.
REMOVE_AGAIN_S: Final = 0.02
_BACKEND, _SERVERS = 2, 4  # what of a proxy is asked for
_EVERYBODY: Final = "show stat -1 4 -1"  # of all proxies the servers, all of them
# Peers, HAProxy's own way, were not seen to pass anything on where a second reload came seconds after the first.
_CLIENT = re.compile(r" key=([0-9a-f.:]+) .*\bserver_id=([1-9][0-9]*)")
TAUGHT_AT_A_TIME: Final = 100  # lines: HAProxy takes 16 KiB at once
Clients: TypeAlias = Mapping[PoolName, Mapping[str, str]]
_SESSION = re.compile(r"^(0x[0-9a-f]+): .*? be=(\S+) srv=(\S+) ", re.MULTILINE)


class Runtime(Protocol):
    """The runtime sockets of one HAProxy; see haproxy_process.HaproxyProcess."""

    def ask(self, line: str) -> str:
        """One command to the worker that takes new connections."""

    def ask_all(self, lines: Sequence[str]) -> str:
        """Several to it at once."""

    def old(self) -> Sequence[int]:
        """The workers that a reload has replaced, by process id."""

    def ask_old(self, line: str) -> list[tuple[int, str]]:
        """One command to each of them: process id and answer."""

    def tell_old(self, pid: int, line: str) -> str:
        """One command to one of them."""


def is_at(shown: str, address: str) -> bool:
    """Whether what HAProxy shows of a member's place is what it was given: it may leave out a sign."""
    return shown.replace(":+", ":") == address.replace(":+", ":")


class Members:
    """See the module. Not thread-safe but for what only looks."""

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock
        self._check_at: dict[tuple[PoolName, InstanceName], float] = {}  # those whose first check is put off
        self._of_old: dict[int, Mapping[InstanceName, Sequence[PoolName]]] = {}  # who is where in a former worker

    # Looking ---------------------------------------------------------------------------------------------------

    def rows(self) -> Rows:
        """Every member of every pool. The answer grows with their number."""
        return haproxy_stat.parsed(self._runtime.ask(_EVERYBODY))

    def rows_of(self, name: InstanceName, pools: Iterable[PoolName]) -> Rows:
        """The member in those pools."""
        wanted, found = set(pools), Rows()
        for pool in wanted:
            answer = self._runtime.ask(f"show stat {pool} 4 -1")
            rows = haproxy_stat.parsed(answer) if answer.startswith("# ") else Rows()
            if not rows:  # Empty, or configured by a former version, where its name was that of its frontend too.
                rows = self.rows()
            found |= {key: row for key, row in rows.items() if key[1] == name and key[0] in wanted}
        return found

    def seats(self) -> dict[InstanceName, Seat]:
        """Everybody's, connections in former workers included."""
        rows = self.rows()
        return haproxy_stat.seats(rows, self._old_connections())

    def seat(self, name: InstanceName, pools: Iterable[PoolName]) -> Seat | None:
        """One member's, as far as it is in those pools or has connections in a former worker."""
        rows = self.rows_of(name, pools)
        return haproxy_stat.seats(rows, {name: self._old_connections_to(name)}).get(name)

    def _old_connections(self) -> dict[InstanceName, int]:
        return haproxy_stat.connections(answer for _, answer in self._runtime.ask_old(_EVERYBODY))

    def _old_connections_to(self, name: InstanceName) -> int:
        count = 0
        old = self._runtime.old()
        self._of_old = {pid: known for pid, known in self._of_old.items() if pid in old}
        for pid in old:
            with contextlib.suppress(Unreachable):  # It has ended with its last connection.
                for pool in self._old_pools(pid).get(name, ()):
                    answer = self._runtime.tell_old(pid, f"show stat {pool} {_SERVERS} -1")
                    count += haproxy_stat.connections([answer]).get(name, 0)
        return count

    def _old_pools(self, pid: int) -> Mapping[InstanceName, Sequence[PoolName]]:
        """Who is where in a former worker: asked for once, for nobody comes or goes there any more."""
        if (known := self._of_old.get(pid)) is None:
            pools: dict[InstanceName, list[PoolName]] = {}
            for pool, name in haproxy_stat.parsed(self._runtime.tell_old(pid, _EVERYBODY)):
                pools.setdefault(name, []).append(pool)
            known = self._of_old[pid] = pools
        return known

    def carried(self, pool: PoolName) -> Carried | None:
        """What went through one pool; None when HAProxy has none of that name."""
        answer = self._runtime.ask(f"show stat {pool} {_BACKEND | _SERVERS} -1")
        return haproxy_stat.carried(answer) if answer.startswith("# ") else None

    def clients(self, pools: Iterable[PoolName]) -> Clients:
        """Which client's address has which member's id, in the pools that remember it."""
        return {pool: dict(_CLIENT.findall(self._runtime.ask(f"show table {pool}"))) for pool in pools}

    # Changing --------------------------------------------------------------------------------------------------

    def add(self, pool: PoolName, name: InstanceName, address: str, options: str, *, check_in_s: float = 0.0) -> None:
        """Puts the member into the pool, ready for traffic, and has it checked from then on (seconds).

        Busy when HAProxy does not show it then.
        """
        answer = self._runtime.ask(f"add server {pool}/{name} {address} {options}")
        if "registered" not in answer and "exists" not in answer:
            raise Busy(f"HAProxy does not take {name} into {pool}: {answer}")
        if not check_in_s:
            self.check(pool, name)
        self._runtime.ask(f"enable server {pool}/{name}")
        row = self.rows_of(name, [pool]).get((pool, name))
        if row is None or not is_at(row.addr, address):
            raise Busy(f"HAProxy shows {name} in {pool} as {row.addr if row else 'absent'}, not {address}")
        if check_in_s:
            self._check_at[pool, name] = self._clock.monotonic_s() + check_in_s

    def check(self, pool: PoolName, name: InstanceName) -> None:
        """Begins the member's checks."""
        self._runtime.ask(f"enable health {pool}/{name}")

    def check_due(self) -> None:
        """Begins the checks of those for whom it is time."""
        for (pool, name), at in list(self._check_at.items()):
            if self._clock.monotonic_s() >= at:
                self.check(pool, name)
                self._check_at.pop((pool, name))

    def put_checks_off(self) -> None:
        """Those that a reload has begun too early; the members count as up, whatever the first ones said."""
        for pool, name in self._check_at:
            self._runtime.ask(f"disable health {pool}/{name}")
            self._runtime.ask(f"set server {pool}/{name} health up")

    def forget(self, name: InstanceName) -> None:
        """The member has left: no check of it is still to begin."""
        self._check_at = {key: at for key, at in self._check_at.items() if key[1] != name}

    def teach(self, clients: Clients) -> None:
        """Has a new worker remember what `clients` has told of the one before."""
        lines = [
            f"set table {pool} key {address} data.server_id {member}"
            for pool, known in clients.items()
            for address, member in known.items()
        ]
        for first in range(0, len(lines), TAUGHT_AT_A_TIME):
            self._runtime.ask_all(lines[first : first + TAUGHT_AT_A_TIME])

    def drain(self, pool: PoolName, name: InstanceName) -> None:
        """No new connections. By its weight: of the state "drain" a member that is down shows nothing."""
        self._set(pool, name, "weight 0")

    def take_back(self, pool: PoolName, name: InstanceName, *, well: bool = True) -> None:
        """New connections again, if it is well, however it was drained: former daemons did it by the state."""
        if well:
            self.open(pool, name)
        self._set(pool, name, "weight 1")

    def close(self, pool: PoolName, name: InstanceName) -> None:
        """Nothing reaches it, not even clients that keep their member, and what is open is cut, as when a check of
        HAProxy's own takes it out. HAProxy asks it nothing until `open`.
        """
        self._set(pool, name, "state maint")

    def open(self, pool: PoolName, name: InstanceName) -> None:
        """Undoes `close`; who drains goes on draining."""
        self._set(pool, name, "state ready")

    def must_show(self, name: InstanceName, pools: Iterable[PoolName], *, in_rotation: bool) -> None:
        """Reads back what was set; Busy where it had no effect."""
        for (pool, _), row in self.rows_of(name, pools).items():
            if row.in_rotation is not in_rotation:
                raise Busy(f"HAProxy shows {name} in {pool} as {row.status} after it was told otherwise")

    def _set(self, pool: PoolName, name: InstanceName, what: str) -> None:
        if answer := self._runtime.ask(f"set server {pool}/{name} {what}").strip():
            raise Busy(f"HAProxy does not set {name} in {pool} to {what}: {answer}")

    def remove(self, pool: PoolName, name: InstanceName) -> None:
        """Takes the member out, ending what is open. Busy when HAProxy does not let go of it in time."""
        patience = Patience(self._clock, REMOVE_S)
        while (holds := self.try_remove(pool, name)) != "":
            if patience.over:
                raise Busy(holds)
            patience.pause(REMOVE_AGAIN_S)

    def try_remove(self, pool: PoolName, name: InstanceName) -> str:
        """As `remove`, once: "" when the member is out, else what HAProxy says."""
        self._runtime.ask(f"set server {pool}/{name} state maint")
        self._runtime.ask(f"shutdown sessions server {pool}/{name}")
        answer = self._runtime.ask(f"del server {pool}/{name}")
        if "deleted" in answer or "No such" in answer:
            return ""
        return f"HAProxy still holds {name} in {pool}: {answer}"

    def cut_old(self, name: InstanceName) -> None:
        """Ends the member's connections in the workers that a reload has replaced: these take no other commands."""
        for pid, sessions in self._runtime.ask_old("show sess"):
            for session, _, of in _SESSION.findall(sessions):
                if of == name:
                    self._runtime.tell_old(pid, f"shutdown session {session}")


def judged(shape: Shape, seats: Mapping[InstanceName, Seat]) -> Mapping[InstanceName, Seat]:
    """What HAProxy shows does not tell who drains from who is not well."""
    unwell = [name for name in map(InstanceName, shape.unwell - shape.draining) if name in seats]
    return {**seats, **{name: replace(seats[name], standing=Standing.DOWN) for name in unwell}} if unwell else seats
