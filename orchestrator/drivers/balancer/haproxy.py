"""Pools with an HAProxy of our own: started, adopted, watched and restarted here; members by its runtime socket.

It outlives the daemon on purpose. What it shall be lies beside its configuration, so a daemon that comes back knows
it again, and an HAProxy that was killed comes back with the members it had.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from vmrole_unattend.secret import Reveal

from orchestrator.drivers.balancer import haproxy_config, haproxy_host, places
from orchestrator.drivers.balancer.desired import Desired, Shape
from orchestrator.drivers.balancer.haproxy_configured import Configured
from orchestrator.drivers.balancer.haproxy_host import Surroundings
from orchestrator.drivers.balancer.haproxy_leads import Last
from orchestrator.drivers.balancer.haproxy_members import REMOVE_AGAIN_S, REMOVE_S, Members, is_at, judged
from orchestrator.drivers.balancer.haproxy_process import LET_GO_S, POLL_S, STOP_S, HaproxyProcess
from orchestrator.drivers.balancer.haproxy_tls import Certificates, no_secrets
from orchestrator.drivers.balancer.watch import Snapshot, watching
from orchestrator.drivers.tools.patience import Patience
from orchestrator.errors import Busy, EndpointRefused, Unreachable, WorldError
from orchestrator.model import Carried, Frontend, InstanceName, Member, PoolName, Probed, Seat
from orchestrator.ports import Clock

log = logging.getLogger(__name__)
# How long a verb waits for another one. A reload may take many seconds: who comes meanwhile is asked to come again,
# for the threads that run turns are few.
TURN_S: Final = 0.5
RENEW_EVERY_S: Final = 5.0  # how late a renewed certificate is seen


class HaproxyBalancer:
    """See ports.Balancer. Thread-safe. `with` watches HAProxy and, at its end, leaves it running."""

    def __init__(
        self,
        place: Path,
        binary: str,
        wake: Callable[[InstanceName, str], None],
        clock: Clock,
        *,
        surroundings: Callable[[Path], Surroundings] = haproxy_host.surroundings,
        process: Callable[[Path, str, Clock], HaproxyProcess] = HaproxyProcess,
        desired: Callable[[Path], Desired] = Desired,
        secrets: Callable[[str], Reveal] = no_secrets,
    ) -> None:
        """`place` is a directory of its own under the run directory; `secrets`, by service, hold its certificates."""
        self.process = process(place, binary, clock)
        self.desired = desired(place / "shape.json")
        self.members = Members(self.process, clock)
        self._clock = clock
        self._certificates = Certificates(place / "tls", secrets)
        self._certificates_at = 0.0  # when they are looked at next
        self._configured = Configured(self.process, self.members, self._certificates, surroundings)
        self._lock = threading.RLock()
        self._refused: dict[PoolName, str] = {}
        self._shaped: Sequence[Frontend] | None = None  # as every turn of a service asks for them anew
        self._renewed = False  # whether what runs is of this version of ours, and of the installed HAProxy
        self._seen = Snapshot(wake, clock)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._lock:
            try:
                self.revive()
            except WorldError as error:  # Guests can be looked after without it, and the watcher goes on trying.
                log.warning("%s", error)
        self._stack.enter_context(
            watching("HAProxy", self.revive_in_turn, self.look_in_time, clock=self._clock, join_s=STOP_S)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """One verb at a time. Busy when the one before takes long."""
        if not self._lock.acquire(timeout=TURN_S):
            raise Busy("HAProxy is being given other endpoints")
        try:
            yield
        finally:
            self._lock.release()

    # The port --------------------------------------------------------------------------------------------------
    # What HAProxy shall be is noted after a member has come, and before it goes: a daemon that is killed between the
    # two leaves a member that the next one joins again, and never one that comes back by itself.

    def shape(self, frontends: Sequence[Frontend]) -> None:
        """See ports.Balancer. Permanent when HAProxy refuses them; what there was goes on then."""
        with self.shaping(frontends) as last:
            last()

    @contextlib.contextmanager
    def shaping(self, frontends: Sequence[Frontend]) -> Iterator[Callable[[], None]]:
        """As `shape`, but for a last step that takes no time: that is the caller's, who has others beside it."""
        last = Last()
        if frontends is self._shaped and self.process.pid() is not None:
            yield last
            return
        wanted = tuple(sorted(frontends, key=lambda frontend: frontend.pool))
        with self._turn():
            self._shaped = None
            served = self.process.pid() is not None and not self._configured.behind
            if wanted and wanted == self.desired.shape.frontends and served:
                self._refused, self._shaped = {}, frontends
                yield last
                return
            self._certificates.renew(wanted)
            self._refused = self._refusals(wanted)
            shape = self._shape_to(tuple(one for one in wanted if one.pool not in self._refused), last)
            try:
                yield last
            finally:
                if shape is not None and last.act is None:
                    was = self.desired.shape.frontends
                    self.desired.keep(shape)
                    self._configured.catch_up(shape, was)
                self._seen.clear()
            if self._refused:
                told = "; ".join(self._refused.values())
                raise EndpointRefused(told, pools=frozenset(self._refused), hint="the other endpoints are served")

    def join(self, member: Member) -> None:
        """See ports.Balancer. Busy while an endpoint is not set up yet, and in all others by then."""
        haproxy_config.checked_name(member.name)
        with self._turn():
            frontends = {frontend.pool: frontend for frontend in self.desired.shape.frontends}
            wanted = haproxy_config.server_addresses(member, frontends)
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
        with self._turn():
            pools = self._pools_of(name)
            if pools and name not in self.desired.shape.draining:
                self.desired.keep(self.desired.shape.with_draining(name))
            present = [pool for pool, _ in self.members.rows_of(name, pools)]
            for pool in present:
                self.members.drain(pool, name)
            self.members.must_show(name, present, in_rotation=False)
            self._see(name)

    def heed(self, name: InstanceName, *, well: bool) -> None:
        """See ports.Balancer. Who drains keeps the clients that have chosen him; who is not well keeps none."""
        with self._turn():
            before = self.desired.shape
            after = before.with_health(name, well=well)
            if after == before:
                return
            if not well:  # Noted before it goes, and after it has come.
                self.desired.keep(after)
            if self.process.pid() is not None:
                present = [pool for pool, _ in self.members.rows_of(name, self._pools_of(name))]
                for pool in present:
                    (self.members.open if well else self.members.close)(pool, name)
                self.members.must_show(name, present, in_rotation=well and name not in before.draining)
            if well:
                self.desired.keep(after)

    def leave(self, name: InstanceName) -> None:
        """See ports.Balancer. Busy when HAProxy does not let go of it yet."""
        patience = Patience(self._clock, REMOVE_S)
        while (holds := self._try_leave(name)) != "":
            if patience.over:
                raise Busy(holds)
            patience.pause(REMOVE_AGAIN_S)

    def seats(self) -> Mapping[InstanceName, Seat]:
        """See ports.Balancer. Connections that began before a reload are counted as well."""
        if self.process.pid() is None:
            return {}  # Nobody is served, as after `leave`.
        seen = self._seen.fresh()
        if seen is not None:
            return seen
        try:
            return self.look()
        except Busy:
            if (before := self._seen.last()) is None:
                raise
            return before

    def glance(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer. Of the last look at all of them, which is one for everybody."""
        seen = self._seen.recent()
        return (self.seats() if seen is None else seen).get(name)

    def seat(self, name: InstanceName) -> Seat | None:
        """See ports.Balancer. Busy during a reload: connections to the worker that goes would not be counted."""
        with self._turn():
            if self.process.pid() is None:
                return None
            return self._see(name)

    def traffic(self, pools: Collection[PoolName]) -> Mapping[PoolName, Carried]:
        """See ports.Balancer. Of the worker that takes new connections: those that were replaced tell nothing."""
        if self.process.pid() is None:
            return {}
        asked = {pool: self.members.carried(pool) for pool in self.desired.shape.pools & set(pools)}
        return {pool: carried for pool, carried in asked.items() if carried is not None}

    def probed(
        self,
        pools: Collection[PoolName],  # noqa: ARG002 - the port's shape
    ) -> Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]:
        """See ports.Balancer. HAProxy remembers no checks but the last: who asks beside it tells of his own."""
        return {}

    def faults(self) -> Sequence[str]:
        """See ports.Balancer."""
        why = self.process.outdated()
        outdated = [f"{why}; restart the daemon, which reloads it without losing a connection"] if why else []
        return [*outdated, *self._certificates.faults()]

    # Members ---------------------------------------------------------------------------------------------------

    def _pools_of(self, name: InstanceName) -> list[PoolName]:
        """Where the member may be: by what it shall be, and by what was seen. [] when it is nowhere."""
        member = self.desired.shape.members.get(name)
        pools = [] if member is None else [pool for pool, _ in member.pools]
        return list(dict.fromkeys([*pools, *self._seen.pools_of(name, self._everywhere)]))

    def _everywhere(self) -> Mapping[InstanceName, Seat]:
        return {} if self.process.pid() is None else judged(self.desired.shape, self.members.seats())

    def _see(self, name: InstanceName) -> Seat | None:
        """Reads one member's seat and notes it among the others'."""
        pools = self._pools_of(name)
        if not pools and not self._seen.knows(name):
            return None
        seat = self.members.seat(name, pools)
        if seat is not None:
            seat = judged(self.desired.shape, {name: seat})[name]
        self._seen.note(name, seat)
        return seat

    def _join(self, member: Member, wanted: Mapping[PoolName, str], frontends: Mapping[PoolName, Frontend]) -> None:
        name = member.name
        pools = {*self._pools_of(name), *wanted}
        self._seen.expect(name, pools)
        rows = self.members.rows_of(name, pools)
        for (pool, _), row in rows.items():
            if pool not in wanted or not is_at(row.addr, wanted[pool]):
                self.members.remove(pool, name)
        shape = self.desired.shape.with_member(member)
        unwell = name in shape.unwell
        count = len(self.desired.shape.members)
        for pool, address in wanted.items():
            there = rows.get((pool, name))
            if there is None or not is_at(there.addr, address):
                self._add(pool, member, address, frontends[pool], count)
            elif name in self.desired.shape.draining or not there.in_rotation:
                self.members.take_back(pool, name, well=not unwell)
            if unwell:
                self.members.close(pool, name)
        self.members.must_show(name, wanted, in_rotation=not unwell)
        self.desired.keep(shape)
        self._see(name)

    def _add(self, pool: PoolName, member: Member, address: str, frontend: Frontend, count: int) -> None:
        name, options = member.name, haproxy_config.server_options(frontend, count, member)
        delay_s = (frontend.probe and frontend.probe.initial_delay_s) or 0.0
        self.members.add(pool, name, address, options, check_in_s=delay_s)

    def _try_leave(self, name: InstanceName) -> str:
        """ "" when the member is out; else what still holds it. The turn of others comes in between."""
        with self._turn():
            pools = self._pools_of(name)
            if name in self.desired.shape.members:
                self.desired.keep(self.desired.shape.without(name))
            if not pools and not self._seen.knows(name):
                return ""
            if self.process.pid() is not None:  # Else nobody is served; it starts again without this member.
                for pool, _ in self.members.rows_of(name, pools):
                    if (holds := self.members.try_remove(pool, name)) != "":
                        return holds
                self.members.cut_old(name)
            self.members.forget(name)
            self._seen.note(name, None)
            return ""

    # The process -----------------------------------------------------------------------------------------------

    def _refusals(self, wanted: Sequence[Frontend]) -> dict[PoolName, str]:
        """Why HAProxy could not listen on some of them. Where it listens already is its own.

        What is left of one that died holds its ports for a moment longer.
        """
        without = {one.pool: why for one in wanted if (why := self._certificates.fault(one))}
        others = [one for one in wanted if one.pool not in without]
        ours = self.process.listening()
        if self.process.pid() is not None:
            return without | places.refusals(others, ours)
        return without | places.refusals_in_time(others, ours, Patience(self._clock, LET_GO_S), POLL_S)

    def _shape_to(self, wanted: tuple[Frontend, ...], last: Last) -> Shape | None:
        """What it shall be once `last` is done; None when it is already."""
        if not wanted:
            self.desired.keep(Shape())
            self.process.stop()
            self.desired.forget()
            self._certificates.sweep(())
        elif wanted != self.desired.shape.frontends or self.process.pid() is None or self._configured.behind:
            shape = self.desired.shape.with_frontends(wanted)
            if self._configured.leads_elsewhere(self.desired.shape, shape, last):
                return shape
            self.load(shape)
            self.desired.keep(shape)
        return None

    def look(self) -> Mapping[InstanceName, Seat]:
        """Reads everybody's seat, and wakes those whose standing has changed since the last look."""
        with self._turn():  # A member that joins meanwhile is neither missing nor changed.
            if self.process.pid() is None:
                self._seen.take({})
                return {}
            return self._seen.take(judged(self.desired.shape, self.members.seats()))

    def look_in_time(self) -> None:
        """As `look`, as often as so many members bear it."""
        if self._seen.is_due():
            self.look()

    def revive_in_turn(self) -> None:
        """As `revive`, when nobody else is at it."""
        with self._turn():
            self.revive()
            self._renew_certificates()
            if self.process.pid() is not None:
                self.members.check_due()

    def _renew_certificates(self) -> None:
        """Looks at the secrets of those that run, and reloads where one has changed. No connection is lost by it."""
        shape = self.desired.shape
        if self._clock.monotonic_s() < self._certificates_at or not any(one.certificates for one in shape.frontends):
            return
        self._certificates_at = self._clock.monotonic_s() + RENEW_EVERY_S
        self._certificates.renew(shape.frontends)
        if (
            self.process.pid() is not None
            and (text := self._configured.text(shape))
            and self._configured.differs(text)
        ):
            log.info("a certificate was renewed; reloading HAProxy, which loses no connection")
            self._configured.load(shape, text, self.desired.shape.frontends)

    def revive(self) -> None:
        """Starts an HAProxy that has ended though it has endpoints, as it was; renews what a former daemon left."""
        shape = self.desired.shape
        if not shape.frontends:
            return
        if self.process.pid() is None:
            log.warning("HAProxy does not run; starting it with %d members", len(shape.members))
            self._seen.clear()
            self.load(shape)
        elif not self._renewed:
            self._renew(shape)
        self._renewed = True

    def _renew(self, shape: Shape) -> None:
        """Reloads an HAProxy that was configured by another version of ours, or is not the one that is installed.

        No connection is lost by it; those that are open stay with the old one until they end.
        """
        why = self.process.outdated()
        text = self._configured.text(shape)
        if not why and self._configured.differs(text):
            why = "HAProxy runs with a configuration of another version of vmrole"
        if not why and not self.process.settled():
            why = "HAProxy has not taken the configuration that it was given last"
        if why:
            log.warning("%s; reloading it, which loses no connection", why)
            self._configured.load(shape, text, self.desired.shape.frontends)
        else:  # The daemon before this one may have died between its note and the deed.
            self._configured.lead(shape)

    def load(self, shape: Shape) -> None:
        """Runs HAProxy with this shape, by a start or a reload; what it shall be stays."""
        with self._lock:
            self._configured.load(shape, self._configured.text(shape), self.desired.shape.frontends)
