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
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from orchestrator.drivers import haproxy_config
from orchestrator.drivers.command import run
from orchestrator.drivers.haproxy_config import Shape
from orchestrator.errors import Busy, CommandFailed, Permanent, Unreachable
from orchestrator.model import Frontend, InstanceName, Member, PoolName, Seat, Standing

log = logging.getLogger(__name__)
START_S = 5.0  # A start takes 50 ms; a reload, which starts a second worker, 100 ms.
ANSWER_S = 2.0
ALIVE_EVERY_S = 0.2  # Until a dead HAProxy is noticed, its clients are refused.
LOOK_EVERY_S = 1.0  # How late a failed health check is seen by the reconciler; HAProxy has acted on it by then.
REMOVE_S = 1.0  # Idle connections to a member are gone 200 ms after its last request.
_SHAPE = TypeAdapter(Shape)
Rows = dict[tuple[PoolName, InstanceName], dict[str, str]]


class HaproxyBalancer:
    """See ports.Balancer. Thread-safe. `with` watches HAProxy and, at its end, leaves it running."""

    def __init__(self, place: Path, binary: str, wake: Callable[[InstanceName, str], None]) -> None:
        """`place` is a directory of its own under the run directory."""
        self._binary = binary
        self._wake = wake
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._config = place / "haproxy.cfg"
        self._socket = place / "admin.sock"
        self._pid_file = place / "haproxy.pid"
        self._saved = place / "shape.json"
        self._lock = threading.RLock()
        self._shape = self._remembered()
        self._standings: dict[InstanceName, Standing] = {}
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="haproxy", daemon=True)

    def __enter__(self) -> Self:
        with self._lock:
            if self._shape.frontends:
                self._ensure_alive()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._watcher.join(START_S)

    # The port --------------------------------------------------------------------------------------------------

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer. Busy while a member drains: its last connections live in the worker that would go."""
        wanted = tuple(sorted(frontends, key=lambda one: one.pool))
        with self._lock:
            if not wanted:
                self._stop()
                return
            if wanted == self._shape.frontends and self._alive():
                return
            if self._shape.draining and self._alive():
                raise Busy("the endpoints change as soon as no member is draining")
            before = self._shape
            _refuse_taken_ports(wanted, before.frontends)
            pools = {one.pool for one in wanted}
            members = {
                name: one for name, one in before.members.items() if any(pool in pools for pool, _ in one.pools)
            }
            self._remember(replace(before, frontends=wanted, members=members))
            try:
                self._load(pools)
            except Permanent:
                self._remember(before)
                raise

    def join(self, member: Member) -> None:
        """See ports.Balancer."""
        name = InstanceName(haproxy_config.checked_name(member.name))
        with self._lock:
            frontends = {one.pool: one for one in self._shape.frontends}
            rows = self._rows()
            wanted = {pool: haproxy_config.server_address(member, port) for pool, port in member.pools}
            for (pool, of), row in rows.items():
                if of == name and wanted.get(pool) != row["addr"]:
                    self._remove(pool, name)
            for pool, address in wanted.items():
                if pool not in frontends:
                    raise Busy(f"the endpoint {pool} is not set up yet")
                there = rows.get((pool, name))
                if there is None or there["addr"] != address:
                    self._add(pool, name, address, haproxy_config.server_options(frontends[pool]))
                elif not there["status"].startswith(("UP", "DOWN", "no check")):
                    self._command(f"set server {pool}/{name} state ready")
            members = {**self._shape.members, name: member}
            self._remember(replace(self._shape, members=members, draining=self._shape.draining - {name}))
            self._standings[name] = Standing.UP

    def drain(self, name: InstanceName) -> None:
        """See ports.Balancer."""
        with self._lock:
            present = [pool for pool, of in self._rows() if of == name]
            for pool in present:
                self._command(f"set server {pool}/{name} state drain")
            if present:
                self._remember(replace(self._shape, draining=self._shape.draining | {name}))

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer. Busy when HAProxy does not let go of it yet."""
        with self._lock:
            if not self._shape.frontends and not self._alive():
                return
            for pool, of in self._rows():
                if of == name:
                    self._remove(pool, name)
            if name in self._shape.members:
                members = {of: one for of, one in self._shape.members.items() if of != name}
                self._remember(replace(self._shape, members=members, draining=self._shape.draining - {name}))
            self._standings.pop(name, None)

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer."""
        if not self._shape.frontends:
            return {}
        found: dict[InstanceName, list[tuple[PoolName, dict[str, str]]]] = {}
        for (pool, name), row in self._rows().items():
            found.setdefault(name, []).append((pool, row))
        draining = self._shape.draining  # After a restart HAProxy knows them by their weight of 0 alone.
        return {name: _seat(rows, name in draining) for name, rows in found.items()}

    # Members ---------------------------------------------------------------------------------------------------

    def _add(self, pool: PoolName, name: InstanceName, address: str, options: str) -> None:
        answer = self._command(f"add server {pool}/{name} {address} {options}")
        if "registered" not in answer and "exists" not in answer:
            raise Busy(f"HAProxy does not take {name} into {pool}: {answer}")
        self._command(f"enable health {pool}/{name}")
        self._command(f"enable server {pool}/{name}")
        row = self._rows().get((pool, name))
        if row is None or row["addr"] != address:
            raise Busy(f"HAProxy shows {name} in {pool} as {row['addr'] if row else 'absent'}, not {address}")

    def _remove(self, pool: PoolName, name: InstanceName) -> None:
        self._command(f"set server {pool}/{name} state maint")
        self._command(f"shutdown sessions server {pool}/{name}")
        end = time.monotonic() + REMOVE_S
        while "deleted" not in (answer := self._command(f"del server {pool}/{name}")):
            if "No such server" in answer:
                return
            if time.monotonic() > end:
                raise Busy(f"HAProxy still holds {name} in {pool}: {answer}")
            time.sleep(0.02)

    def _rows(self) -> Rows:
        """Every member of every pool, as HAProxy's statistics show it."""
        said = self._command("show stat -1 4 -1").removeprefix("# ")
        rows: Rows = {}
        for row in csv.DictReader(said.splitlines()):
            rows[PoolName(row["pxname"]), InstanceName(row["svname"])] = row
        return rows

    def _command(self, line: str) -> str:
        """One command, one answer. Unreachable when HAProxy does not answer."""
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as talk:
                talk.settimeout(ANSWER_S)
                talk.connect(str(self._socket))
                talk.sendall(line.encode("ascii") + b"\n")
                answer = b""
                while chunk := talk.recv(65536):
                    answer += chunk
        except OSError as error:
            raise Unreachable(f"HAProxy does not answer: {error}", hint="it is restarted by itself") from error
        return answer.decode(errors="replace").strip()

    # The process -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        look_at = 0.0
        while not self._ending.wait(ALIVE_EVERY_S):
            try:
                with self._lock:
                    if self._shape.frontends and not self._alive():
                        log.warning(
                            "HAProxy has ended; starting it again with its %d members", len(self._shape.members)
                        )
                        self._ensure_alive()
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + LOOK_EVERY_S
                    self._tell_changes()
            except (Unreachable, Permanent) as error:
                log.warning("%s", error)

    def _tell_changes(self) -> None:
        seats = self.seats()
        for name, seat in seats.items():
            if self._standings.get(name, seat.standing) is not seat.standing:
                self._wake(name, f"the balancer's check: {seat.standing}")
        for name in self._standings.keys() - seats.keys():
            self._wake(name, "no longer in the pool")
        self._standings = {name: seat.standing for name, seat in seats.items()}

    def _pid(self) -> int | None:
        """The master's process id, when that process is ours."""
        try:
            pid = int(self._pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            return None
        return pid if str(self._config).encode() in words and state != "Z" else None

    def _alive(self) -> bool:
        return self._pid() is not None

    def _ensure_alive(self) -> None:
        if self._alive():
            return
        self._write()
        try:
            run([self._binary, "-W", "-D", "-f", str(self._config), "-p", str(self._pid_file)], within_s=START_S * 2)
        except CommandFailed as error:
            said = error.stderr.strip()[-400:]
            raise Permanent(f"HAProxy does not start: {said}", hint="run: vmrole doctor") from error
        self._await({one.pool for one in self._shape.frontends})

    def _load(self, pools: set[PoolName]) -> None:
        """Makes HAProxy what the shape says: by a start, or by a reload that hands over its listening sockets."""
        if not self._alive():
            self._ensure_alive()
            return
        self._write()
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGUSR2)
        self._await(pools)

    def _await(self, pools: set[PoolName]) -> None:
        """Until the worker that answers knows exactly these pools; Permanent when it never does."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            with contextlib.suppress(Unreachable):
                known = {line.strip() for line in self._command("show backend").splitlines()}
                if {str(pool) for pool in pools} == {one for one in known if one and not one.startswith("#")}:
                    return
            time.sleep(0.02)
        raise Permanent("HAProxy does not take its new endpoints", hint=f"run: {self._binary} -c -f {self._config}")

    def _stop(self) -> None:
        """No endpoints: no HAProxy."""
        self._remember(Shape())
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + START_S
            while self._alive() and time.monotonic() < end:
                time.sleep(0.02)
        for path in (self._config, self._socket, self._pid_file, self._saved):
            path.unlink(missing_ok=True)

    def _write(self) -> None:
        """The configuration, checked by HAProxy itself before it takes the place of the one before."""
        fresh = self._config.with_suffix(".new")
        fresh.write_text(haproxy_config.render(self._shape, self._socket))
        fresh.chmod(0o600)
        try:
            run([self._binary, "-c", "-q", "-f", str(fresh)])
        except CommandFailed as error:
            raise Permanent(f"HAProxy refuses its configuration: {error.stderr.strip()[-400:]}") from error
        fresh.rename(self._config)

    # What it shall be ------------------------------------------------------------------------------------------

    def _remember(self, shape: Shape) -> None:
        self._shape = shape
        fresh = self._saved.with_suffix(".new")
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


def _seat(rows: list[tuple[PoolName, dict[str, str]]], draining: bool) -> Seat:
    """One member over all its pools: draining when draining in any, up only when up in all."""
    statuses = [row["status"] for _, row in rows]
    if draining or any(status.startswith(("DRAIN", "MAINT")) for status in statuses):
        standing = Standing.DRAINING
    elif all(status.startswith(("UP", "no check")) for status in statuses):
        standing = Standing.UP
    else:
        standing = Standing.DOWN
    return Seat(
        address=rows[0][1]["addr"].rpartition(":")[0],
        standing=standing,
        connections=sum(int(row["scur"] or 0) + int(row["qcur"] or 0) for _, row in rows),
        pools=tuple(pool for pool, _ in rows),
    )


def _refuse_taken_ports(wanted: Sequence[Frontend], present: Sequence[Frontend]) -> None:
    """A port that another program holds is told as such, before HAProxy fails on it."""
    ours = {(one.vip, one.port) for one in present}
    for one in wanted:
        if (one.vip, one.port) in ours:
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
                    raise Busy(f"the VIP {one.vip} is not on this host yet") from error
                raise Permanent(
                    f"port {one.port} of {one.vip} is taken by another program", hint="end it, or choose another port"
                ) from error
