"""The loop around the turns: what is due when, for instances, services and operations.

Nothing is decided by an event: events only say that now is a good time to look.
"""

from __future__ import annotations

import heapq
import logging
import threading
import zlib
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from orchestrator import lifecycle
from orchestrator.control.attendance import Attendance
from orchestrator.control.beginning import AGAIN_S, Beginning
from orchestrator.control.healing import Budget
from orchestrator.control.leasing import tend_leases
from orchestrator.control.leavings import Leavings
from orchestrator.control.present import Present
from orchestrator.control.renewing import Renewals
from orchestrator.control.tending import call_roles, tend
from orchestrator.control.turns import NEVER_S, TRANSIENT_AGAIN_S, save, turn
from orchestrator.control.unfolding import unfold
from orchestrator.control.walking import AUDIT_S, GoesBack, conduct
from orchestrator.errors import (
    Foreign,
    StaleRevision,
    VmroleError,
)
from orchestrator.log import subject
from orchestrator.model import (
    Cause,
    Instance,
    InstanceName,
    Lease,
    Operation,
    Power,
    Progress,
    Service,
)
from orchestrator.model.cause import Kind, of_error
from orchestrator.ports import Host, Store

log = logging.getLogger(__name__)

AHEAD_S = 10.0  # Who is woken goes before who is merely due, unless that one has waited so long already.

Noun = Literal["service", "operation", "instance", "lease"]  # "lease": of all of a service
Key = tuple[Noun, str]


def _spread_s(key: Key, now_s: float) -> float:
    """Until the next audit: each has a second of its own in the time between two, wherever the last one was, so that
    those who were all woken at once are not looked at at once ever after; those of one second share a waking-up.
    """
    own_s = zlib.crc32(key[1].encode()) % AUDIT_S
    left_s = AUDIT_S - (now_s - own_s) % AUDIT_S
    return left_s if left_s > AUDIT_S / 100 else left_s + AUDIT_S


class Reconciler:
    """The loop: a table of what is due when, a pool of threads, at most one turn in flight per record."""

    def __init__(
        self,
        store: Store,
        host: Host,
        *,
        present: Present | None = None,
        workers: int = 16,
        pool: Executor | None = None,
        goes_back: GoesBack | None = None,
        budget: Budget | None = None,
        boot_together: int = 2,
    ) -> None:
        self._present = present or Present(store)
        self._host = host
        self._clock = host.machine.clock
        self._due: list[tuple[float, Key]] = []
        self._due_at: dict[Key, float] = {}
        self._in_flight: set[Key] = set()
        self._workers = workers
        self._went_on_s = self._clock.monotonic_s()  # when a turn ended last, or began while there was no other
        self._woken: set[Key] = set()  # woken while in flight: run again at once
        self._laid: dict[str, frozenset[str]] = {}  # for which uids this process has laid the network
        self._unlaid: dict[str, Cause] = {}  # why the network of a service could not be laid
        self._conducting = threading.Lock()  # Two operations at once would each see the other's instances serve.
        self._changed = threading.Condition()
        self._stopping = False
        self._goes_back = goes_back
        self._budget = budget or Budget()
        self.attendance = Attendance(self._clock)
        self._leavings = Leavings()
        self._renewals = Renewals(self._budget.strain)
        self._beginning = Beginning(boot_together, self._clock)
        self._goes_on = pool is None  # whether a thread takes what is due next by itself
        self._pool = pool or ThreadPoolExecutor(workers, thread_name_prefix="turn")
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        """Looks at everything that is recorded, then at what is due or woken, until `stop`."""
        self.wake_all()
        self._thread.start()

    def stop(self, within_s: float = 30.0) -> None:
        """No new turns; returns when those in flight have ended. What was begun is resumed by the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(within_s)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def stalled_s(self) -> float:
        """How long no turn has ended although there are some under way, or nobody has begun what is due (seconds)."""
        with self._changed:
            now_s = self._clock.monotonic_s()
            if self._in_flight:
                return now_s - self._went_on_s
            return max(0.0, now_s - self._due[0][0]) if self._due else 0.0

    def wake(self, kind: Noun, key: str) -> None:
        """Looks at the record now: something may have changed."""
        with self._changed:
            self._schedule((kind, key), -AHEAD_S)
            self._changed.notify()

    def wake_instance(self, name: InstanceName, why: str) -> None:
        """The drivers' way to wake: an event of the hypervisor, the monitor or the balancer."""
        log.debug("woken: %s: %s", name, why)
        self.wake("instance", name)

    def wake_vip(self, vip: str, why: str) -> None:
        """Looks at the services of a virtual address."""
        for service in self._present.vips().get(vip, ()):
            log.info("looking at service %s: %s", service, why)
            self.wake("service", service)

    def wake_all(self) -> None:
        """Looks at every record now: after a start, or when events may have been lost."""
        self._laid.clear()
        keys: list[Key] = [("service", one.name) for one in self._present.all(Service)]
        keys += [("instance", one.name) for one in self._present.all(Instance)]
        keys += [("operation", one.id) for one in self._present.all(Operation) if one.progress is Progress.RUNNING]
        keys += [("lease", service) for service in {one.service for one in self._present.all(Lease)}]
        with self._changed:
            for key in keys:
                self._schedule(key, 0.0)
            self._changed.notify()

    def _schedule(self, key: Key, again_s: float) -> None:
        if key in self._in_flight:
            self._woken.add(key)
            return
        due = self._clock.monotonic_s() + again_s
        if due < self._due_at.get(key, float("inf")):
            self._due_at[key] = due
            heapq.heappush(self._due, (due, key))

    def run(self) -> None:
        """The same in this thread: what is due when, by the clock of the host."""
        self.wake_all()
        self._run()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (left_s := self._left_s()) > 0:
                    self._clock.wait(self._changed, left_s)
                if self._stopping:
                    return
                key = self._take()
            if key is not None:
                self._pool.submit(self._turns, key)

    def _take(self) -> Key | None:
        """What is due first; None where that was woken earlier than planned, and has had its turn."""
        due, key = heapq.heappop(self._due)
        if self._due_at.get(key) != due:
            return None
        del self._due_at[key]
        if not self._in_flight:
            self._went_on_s = self._clock.monotonic_s()
        self._in_flight.add(key)
        return key

    def _left_s(self) -> float:
        """Until somebody can be attended to. What is handed out is not overtaken: no more than there are threads."""
        if not self._due or len(self._in_flight) >= self._workers:
            return NEVER_S
        return self._due[0][0] - self._clock.monotonic_s()

    def _turns(self, key: Key) -> None:
        """Its turn, and those that are due then: to wake another thread for each costs more than most turns do."""
        following: Key | None = key
        while following is not None:
            following = self._one(following)

    def _one(self, key: Key) -> Key | None:
        """Its turn; the record whose turn is next in this thread."""
        again_s = AUDIT_S
        try:
            with subject(key[1]):
                again_s = self.attend(key)
        except Exception:  # A bug in one turn must not end the daemon: it is told in full, once a minute.
            log.exception("a bug: the turn of %s %s failed", *key)
        with self._changed:
            waited_for = len(self._in_flight) >= self._workers
            self._went_on_s = self._clock.monotonic_s()
            self._in_flight.discard(key)
            if key in self._woken:
                self._woken.discard(key)
                again_s = 0.0
            if AUDIT_S <= again_s < NEVER_S:
                again_s = _spread_s(key, self._clock.monotonic_s())
            if again_s < NEVER_S:
                self._schedule(key, again_s or -AHEAD_S)
            following = self._following() if self._goes_on else None
            freed = waited_for and following is None
            if freed or (self._due and self._due[0][1] == key):  # Nothing else changes what the loop waits for.
                self._changed.notify()
        return following

    def _following(self) -> Key | None:
        """Who is due by now."""
        while not self._stopping and self._left_s() <= 0:
            if (key := self._take()) is not None:
                return key
        return None

    def attend(self, key: Key) -> float:
        """One turn of a record, now and in this thread; returns when it wants the next one (seconds)."""
        try:
            match key:
                case ("service", name):
                    return self._turn_service(name)
                case ("operation", operation_id):
                    with self._conducting:
                        changed, again_s = conduct(self._present, self._host, operation_id, self._goes_back)
                    for one in changed:
                        self.wake("instance", one)
                    return again_s
                case ("instance", name):
                    return self._turn_instance(InstanceName(name))
                case ("lease", service):
                    return self._turn_leases(service)
        except StaleRevision:
            return 0.0  # Someone else was first: read again.
        except VmroleError as error:
            log.warning("%s", of_error(error))
            return TRANSIENT_AGAIN_S
        raise AssertionError(key)

    def _unplanned(self, service: str) -> list[Key]:
        """The records of a service that have no turn to come: whoever wrote them got no answer, and told nobody."""
        keys: list[Key] = [("instance", name) for name in self._present.instances_of(service)]
        keys += [("operation", one.id) for one in self._present.running_operations(service)]
        keys += [("lease", service)] if self._present.leases_of(service) else []
        with self._changed:
            return [key for key in keys if key not in self._due_at and key not in self._in_flight]

    def _turn_service(self, name: str) -> float:
        for key in self._unplanned(name):
            self.wake(*key)
        machine, now_s = self._host.machine, self._clock.now_s()
        for changed in unfold(self._present, name, now_s, machine.network.laid, machine.pci.look):
            # What a request had no time for, or a device has come free.
            self.wake("instance", changed)
        try:
            laid, again_s = tend(self._present, self._host, name, self._leavings)
        except VmroleError as error:
            self._unlaid[name] = of_error(error)
            raise
        self._unlaid.pop(name, None)
        fresh = laid - self._laid.get(name, frozenset())
        self._laid[name] = laid
        for one in self._present.instances_of(name).values():
            if one.uid in fresh:
                self.wake("instance", one.name)
        if (renewed := self._renewals.tend(self._present, self._host, name)) is not None:
            self.wake("instance", renewed)
        return again_s

    def _turn_leases(self, service: str) -> float:
        changed, again_s = tend_leases(self._present, self._clock, service, self.attendance)
        for one in changed:
            self.wake("instance", one)
        return again_s

    def _call(self, service: str) -> None:
        """As somebody has become ready or is so no more: before his next turn, in which his VM may be stopped."""
        try:
            call_roles(self._present, self._host, service)
        except VmroleError as error:
            log.warning("names of roles: %s", of_error(error))
            self.wake("service", service)

    def _may_start(self, instance: Instance) -> bool:
        """Whether its next turn may start its VM: the phases in which it runs start it again when it is off."""
        here, called_for = instance.phase.traits, lifecycle.detour(instance)
        if called_for is not None:
            return here.is_off and called_for.traits.keeps_vm
        if not here.keeps_vm:
            return here.starts_vm
        try:
            domain = self._host.machine.hypervisor.look(instance.name)
        except Foreign:
            return False
        except VmroleError:
            return True
        return domain is None or domain.power in (Power.OFF, Power.CRASHED)

    def _turn_instance(self, name: InstanceName) -> float:
        instance = self._present.find(Instance, name)
        if instance is None:
            return NEVER_S
        if instance.uid not in self._laid.get(instance.service, frozenset()) and self._may_start(instance):
            why_not = self._unlaid.get(instance.service)
            if not why_not:  # Else it is tried again each second, and all who wait would have it tried at once.
                self.wake("service", instance.service)  # A VM never starts before its guard against spoofing stands.
            kind = Kind.NETWORK_NOT_LAID if why_not else Kind.NETWORK_BEING_LAID
            since_s = instance.sick_since_s or self._clock.now_s()  # Its time begins when there is a network.
            save(
                self._present,
                instance,
                replace(instance, waits_for=Cause(kind, reason=why_not), sick_since_s=since_s),
            )
            return TRANSIENT_AGAIN_S
        if (cause := self._beginning.waits_for(instance, self._present, self._host.machine.hypervisor)) is not None:
            since_s = instance.sick_since_s or self._clock.now_s()
            save(self._present, instance, replace(instance, waits_for=cause, sick_since_s=since_s))
            return AGAIN_S
        after, again_s = turn(self._present, self._host, instance, self._budget)
        for other in self._beginning.after(instance, after):
            self.wake("instance", other)
        if after is None or after.lan_given != instance.lan_given:  # Its guard lets through what it has.
            self.wake("service", instance.service)
        if after is None or _stands_otherwise(instance, after):
            self._call(instance.service)
            for operation in self._present.running_operations(instance.service):
                self.wake("operation", operation.id)
            if instance.leased or self._present.leases_of(instance.service):
                self.wake("lease", instance.service)
        return again_s


def _stands_otherwise(before: Instance, after: Instance) -> bool:
    """Whether others have to know: names of roles, operations and leases count on who is there for anybody."""
    well = after.unwell_since_s == before.unwell_since_s and after.kept_out == before.kept_out
    return after.phase is not before.phase or not well
