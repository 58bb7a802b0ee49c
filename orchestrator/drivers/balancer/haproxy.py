"""Pools with an HAProxy of our own: started, adopted, watched and restarted here; members by its runtime socket.

It outlives the daemon on purpose. What it shall be lies beside its configuration, so a daemon that comes back knows
it again, and an HAProxy that was killed comes back with the members it had.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from orchestrator.drivers.balancer import haproxy_config, haproxy_host
from orchestrator.drivers.balancer.haproxy_config import Shape
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.balancer.haproxy_process import LET_GO_S, POLL_S, STOP_S, WRITABLE, HaproxyProcess
from orchestrator.drivers.file_errors import file_faults
from orchestrator.errors import Busy, EndpointRefused, Permanent, Unreachable, WorldError
from orchestrator.model import Frontend, InstanceName, Member, PoolName, Seat, Standing

log = logging.getLogger(__name__)
ALIVE_EVERY_S = 0.2  # Until a dead HAProxy is noticed, its clients are refused.
START_AGAIN_S = 2.0  # After a start that failed: something on the host must change first.
LOOK_EVERY_S = 1.0  # How late a failed health check is seen by the reconciler; HAProxy has acted on it by then.
REMOVE_S = 1.0  # Idle connections to a member are gone 200 ms after its last request.
_SHAPE = TypeAdapter(Shape)
_SESSION = re.compile(r"^(0x[0-9a-f]+): .*? be=(\S+) srv=(\S+) ", re.MULTILINE)
Row = dict[str, str]
Rows = dict[tuple[PoolName, InstanceName], Row]


class HaproxyBalancer:
    """See ports.Balancer. Thread-safe. `with` watches HAProxy and, at its end, leaves it running."""

    def __init__(
        self,
        place: Path,
        binary: str,
        wake: Callable[[InstanceName, str], None],
        surroundings: Callable[[Path], Surroundings] = haproxy_host.surroundings,
    ) -> None:
        """`place` is a directory of its own under the run directory."""
        self._process = HaproxyProcess(place, binary)
        self._wake = wake
        self._surroundings = surroundings
        self._renewed = False  # whether what runs is of this version of ours, and of the installed HAProxy
        self._saved = place / "shape.json"
        self._lock = threading.RLock()
        self._shape = self._remembered()
        self._refused: dict[PoolName, str] = {}
        self._standings: dict[InstanceName, Standing] = {}
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="haproxy", daemon=True)

    def __enter__(self) -> Self:
        with self._lock:
            try:
                self._revive()
            except WorldError as error:  # Guests can be looked after without it, and the watcher goes on trying.
                log.warning("%s", error)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._watcher.join(STOP_S)

    # The port --------------------------------------------------------------------------------------------------
    # What HAProxy shall be is noted after a member has come, and before it goes: a daemon that is killed between the
    # two leaves a member that the next one joins again, and never one that comes back by itself.

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer. Permanent when HAProxy refuses them; what there was goes on then."""
        wanted = tuple(sorted(frontends, key=lambda one: one.pool))
        with self._lock:
            if wanted and wanted == self._shape.frontends and self._process.pid() is not None:
                self._refused = {}
                return
            self._refused = self._refusals(wanted)
            self._shape_to(tuple(one for one in wanted if one.pool not in self._refused))
            if self._refused:
                told = "; ".join(self._refused.values())
                raise EndpointRefused(told, pools=frozenset(self._refused), hint="the other endpoints are served")

    def _refusals(self, wanted: Sequence[Frontend]) -> dict[PoolName, str]:
        """Why HAProxy could not listen on some of them. Where it listens already is its own.

        What is left of one that died holds its ports for a moment longer.
        """
        ours = self._process.listening()
        if self._process.pid() is not None:
            return _refusals(wanted, ours)
        end = time.monotonic() + LET_GO_S
        while True:
            found = _refusals(wanted, frozenset())
            if time.monotonic() > end or not any(one.pool in found and _place(one) in ours for one in wanted):
                return found
            time.sleep(POLL_S)

    def _shape_to(self, wanted: tuple[Frontend, ...]) -> None:
        if not wanted:
            self._remember(Shape())
            self._process.stop()
            self._saved.unlink(missing_ok=True)
        elif wanted != self._shape.frontends or self._process.pid() is None:
            pools = {one.pool for one in wanted}
            members = {
                name: one for name, one in self._shape.members.items() if any(pool in pools for pool, _ in one.pools)
            }
            shape = Shape(frontends=wanted, members=members, draining=self._shape.draining.intersection(members))
            self._load(shape)
            self._remember(shape)

    def join(self, member: Member) -> None:
        """See ports.Balancer. Busy while an endpoint is not set up yet, and in all others by then."""
        haproxy_config.checked_name(member.name)
        wanted = {pool: haproxy_config.server_address(member, port) for pool, port in member.pools}
        with self._lock:
            frontends = {one.pool: one for one in self._shape.frontends}
            served = {pool: address for pool, address in wanted.items() if pool in frontends}
            missing = [pool for pool in wanted if pool not in frontends]
            if served:
                self._join(member, served, frontends)
            for pool in missing:
                if pool in self._refused:  # The host's fault, and not the member's.
                    raise Unreachable(f"nobody listens on the endpoint {pool}: {self._refused[pool]}")
            if missing:
                raise Busy(f"the endpoint {missing[0]} is not set up yet")

    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        with self._lock:
            present = [pool for pool, of in self._rows() if of == name]
            if present and name not in self._shape.draining:
                self._remember(replace(self._shape, draining=self._shape.draining | {name}))
            for pool in present:
                self._set(pool, name, "weight 0")  # Of the state "drain" a member that is down shows nothing.
            self._must_show(name, in_rotation=False)

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer. Busy when HAProxy does not let go of it yet."""
        with self._lock:
            if name in self._shape.members:
                members = {of: one for of, one in self._shape.members.items() if of != name}
                self._remember(replace(self._shape, members=members, draining=self._shape.draining - {name}))
            self._standings.pop(name, None)
            if self._process.pid() is None:
                return  # Nobody is served; and when HAProxy starts again, it is without this member.
            for pool, of in self._rows():
                if of == name:
                    self._remove(pool, name)
            self._cut_old(name)

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer. Connections that began before a reload are counted as well."""
        if self._process.pid() is None:
            return {}  # Nobody is served, as after `leave`.
        found: dict[InstanceName, list[tuple[PoolName, Row]]] = {}
        for (pool, name), row in self._rows().items():
            found.setdefault(name, []).append((pool, row))
        old: dict[InstanceName, int] = {}
        for _, said in self._process.ask_old("show stat -1 4 -1"):
            for (_, name), row in _parsed(said).items():
                old[name] = old.get(name, 0) + _connections(row)
        seats = {name: _seat(rows, old.get(name, 0)) for name, rows in found.items()}
        for name in old.keys() - found.keys():
            if old[name]:  # Its endpoints have gone; what was open goes on until it leaves.
                seats[name] = Seat(address="", standing=Standing.DRAINING, connections=old[name], pools=())
        return seats

    # Members ---------------------------------------------------------------------------------------------------

    def _join(self, member: Member, wanted: Mapping[PoolName, str], frontends: Mapping[PoolName, Frontend]) -> None:
        name, rows = member.name, self._rows()
        for (pool, of), row in rows.items():
            if of == name and wanted.get(pool) != row["addr"]:
                self._remove(pool, name)
        for pool, address in wanted.items():
            there = rows.get((pool, name))
            if there is None or there["addr"] != address:
                self._add(pool, name, address, haproxy_config.server_options(frontends[pool]))
            elif name in self._shape.draining or not _in_rotation(there):
                self._set(pool, name, "state ready")  # A daemon before this one may have drained it by its state.
                self._set(pool, name, "weight 1")
        self._must_show(name, in_rotation=True)
        members = {**self._shape.members, name: member}
        self._remember(replace(self._shape, members=members, draining=self._shape.draining - {name}))
        self._standings[name] = Standing.UP

    def _add(self, pool: PoolName, name: InstanceName, address: str, options: str) -> None:
        answer = self._process.ask(f"add server {pool}/{name} {address} {options}")
        if "registered" not in answer and "exists" not in answer:
            raise Busy(f"HAProxy does not take {name} into {pool}: {answer}")
        self._process.ask(f"enable health {pool}/{name}")
        self._process.ask(f"enable server {pool}/{name}")
        row = self._rows().get((pool, name))
        if row is None or row["addr"] != address:
            raise Busy(f"HAProxy shows {name} in {pool} as {row['addr'] if row else 'absent'}, not {address}")

    def _must_show(self, name: InstanceName, *, in_rotation: bool) -> None:
        """Reads back what was set; Busy where it had no effect."""
        for (pool, of), row in self._rows().items():
            if of == name and _in_rotation(row) is not in_rotation:
                raise Busy(f"HAProxy shows {name} in {pool} as {row['status']} after it was told otherwise")

    def _set(self, pool: PoolName, name: InstanceName, what: str) -> None:
        if answer := self._process.ask(f"set server {pool}/{name} {what}").strip():
            raise Busy(f"HAProxy does not set {name} in {pool} to {what}: {answer}")

    def _remove(self, pool: PoolName, name: InstanceName) -> None:
        self._process.ask(f"set server {pool}/{name} state maint")
        self._process.ask(f"shutdown sessions server {pool}/{name}")
        end = time.monotonic() + REMOVE_S
        while "deleted" not in (answer := self._process.ask(f"del server {pool}/{name}")):
            if "No such server" in answer:
                return
            if time.monotonic() > end:
                raise Busy(f"HAProxy still holds {name} in {pool}: {answer}")
            time.sleep(0.02)

    def _cut_old(self, name: InstanceName) -> None:
        """Ends the member's connections in the workers that a reload has replaced: these take no other commands."""
        for pid, said in self._process.ask_old("show sess"):
            for session, _, of in _SESSION.findall(said):
                if of == name:
                    self._process.tell_old(pid, f"shutdown session {session}")

    def _rows(self) -> Rows:
        """Every member of every pool, as HAProxy's statistics show it."""
        return _parsed(self._process.ask("show stat -1 4 -1"))

    # The process -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        look_at = start_at = 0.0
        while not self._ending.wait(ALIVE_EVERY_S):
            try:
                if time.monotonic() >= start_at:
                    with self._lock:
                        self._revive()
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_EVERY_S
                    self._tell_changes()
            except Permanent as error:
                start_at = time.monotonic() + START_AGAIN_S
                log.warning("%s", error)
            except (WorldError, OSError) as error:
                log.warning("%s", error)
            except Exception:  # Without this thread nobody would start HAProxy again.
                log.exception("HAProxy's watcher goes on after an error of its own")

    def _revive(self) -> None:
        """Starts an HAProxy that has ended though it has endpoints, as it was; renews what a former daemon left."""
        if not self._shape.frontends:
            return
        if self._process.pid() is None:
            log.warning("HAProxy does not run; starting it with %d members", len(self._shape.members))
            self._load(self._shape)
        elif not self._renewed:
            self._renew()
        self._renewed = True

    def _renew(self) -> None:
        """Reloads an HAProxy that was configured by another version of ours, or is not the one that is installed.

        No connection is lost by it; those that are open stay with the old one until they end.
        """
        why = self._process.outdated()
        text = self._text(self._shape)
        if not why and haproxy_config.frame(text) != haproxy_config.frame(self._process.configured()):
            why = "HAProxy runs with a configuration of another version of vmrole"
        if why:
            log.warning("%s; reloading it, which loses no connection", why)
            self._process.load(text)

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        why = self._process.outdated()
        return [f"{why}; restart the daemon, which reloads it without losing a connection"] if why else []

    def _load(self, shape: Shape) -> None:
        self._process.load(self._text(shape))

    def _text(self, shape: Shape) -> str:
        return haproxy_config.render(shape, self._process.socket, self._surroundings(self._process.jail))

    def _tell_changes(self) -> None:
        with self._lock:  # A member that joins meanwhile is neither missing nor changed.
            seats = self.seats()
            before, self._standings = self._standings, {name: seat.standing for name, seat in seats.items()}
        for name, seat in seats.items():
            if before.get(name, seat.standing) is not seat.standing:
                self._wake(name, f"the balancer's check: {seat.standing}")
        for name in before.keys() - seats.keys():
            self._wake(name, "no longer in the pool")

    # What it shall be ------------------------------------------------------------------------------------------

    def _remember(self, shape: Shape) -> None:
        self._shape = shape
        fresh = self._saved.with_suffix(".new")
        with file_faults(fresh, WRITABLE):
            fresh.write_text(json.dumps(_SHAPE.dump_python(shape, mode="json")))
            fresh.rename(self._saved)

    def _remembered(self) -> Shape:
        try:
            return _SHAPE.validate_json(self._saved.read_bytes())
        except FileNotFoundError:
            return Shape()
        except ValueError as error:
            log.warning("%s cannot be read, members join again: %s", self._saved, error)
            return Shape()


def _parsed(said: str) -> Rows:
    rows: Rows = {}
    for row in csv.DictReader(said.removeprefix("# ").splitlines()):
        if None in row.values():
            raise Unreachable("HAProxy's answer ends in the middle of a line", hint="it is asked again")
        rows[PoolName(row["pxname"]), InstanceName(row["svname"])] = row
    return rows


def _connections(row: Row) -> int:
    return int(row["scur"] or 0) + int(row["qcur"] or 0)


def _in_rotation(row: Row) -> bool:
    """Whether the member is where it gets traffic as soon as its check passes: neither draining nor taken out.

    What has drained before HAProxy was started anew is known to it by a weight of 0 alone.
    """
    return row["weight"] != "0" and row["status"].startswith(("UP", "DOWN", "no check"))


def _seat(rows: list[tuple[PoolName, Row]], old_connections: int) -> Seat:
    """One member over all its pools, as HAProxy itself shows it: draining when draining in any, up only in all."""
    if not all(_in_rotation(row) for _, row in rows):
        standing = Standing.DRAINING
    elif all(row["status"].startswith(("UP", "no check")) for _, row in rows):
        standing = Standing.UP
    else:
        standing = Standing.DOWN
    return Seat(
        address=rows[0][1]["addr"].rpartition(":")[0],
        standing=standing,
        connections=sum(_connections(row) for _, row in rows) + old_connections,
        pools=tuple(pool for pool, _ in rows),
        checked=not any(row["check_status"].endswith("INI") for _, row in rows),
    )


def _place(frontend: Frontend) -> str:
    return f"{frontend.vip}:{frontend.port}"


def _refusals(wanted: Sequence[Frontend], ours: frozenset[str]) -> dict[PoolName, str]:
    """Why HAProxy could not listen on some of them: told before it fails on all of them."""
    found = {}
    for one in wanted:
        if _place(one) in ours:
            continue
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((one.vip, one.port))
            except PermissionError as error:
                raise Permanent(
                    f"no right to listen on {one.vip}:{one.port}", hint="run the daemon as root"
                ) from error
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    found[one.pool] = f"the VIP {one.vip} is not on this host yet"
                else:
                    found[one.pool] = f"port {one.port} of {one.vip} is taken by another program"
    return found
