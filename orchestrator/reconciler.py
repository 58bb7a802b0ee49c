"""turn(): read the record, look at the world, take one step of the table, save; and the loop around it.

Nothing is decided by an event: events only say that now is a good time to look. What must survive is in the store
before it is acted on, and every verb of a port may be repeated, so a crash anywhere resumes on the same line.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal

from orchestrator import healing, lifecycle, records, rollout
from orchestrator.errors import (
    EndpointRefused,
    NoSpace,
    Permanent,
    StaleRevision,
    Transient,
    Unreachable,
    VmroleError,
)
from orchestrator.log import subject
from orchestrator.model import Event, Frontend, Instance, InstanceName, Operation, Phase, Progress, Service, pool_name
from orchestrator.ports import Host, Store
from orchestrator.steps import Done, Failed, Outcome, Wait, blameless_s, kept

log = logging.getLogger(__name__)

TRANSIENT_AGAIN_S = 1.0  # Slow enough for a daemon's restart, quick enough not to be noticed.
AUDIT_S = 60.0  # How often a service's network and endpoints are compared with the record.
HELD_S = 5.0  # Between looks at what is ill and may not be healed now.
NEVER_S = 3600.0

_HEALING = threading.Lock()

Kind = Literal["service", "operation", "instance"]
Key = tuple[Kind, str]


def turn(store: Store, host: Host, before: Instance) -> tuple[Instance | None, float]:
    """Takes one step for the instance; returns the record as saved (None: gone) and when to look again (seconds).

    Raises StaleRevision when the API changed the goal meanwhile (read again), Transient when the store is away.
    """
    now_s = host.clock.now_s()
    before = _follow_goal(before)
    called_for = lifecycle.detour(before)
    if called_for is not None and now_s >= before.retry_at_s:
        return _enter(store, before, called_for, now_s, because=_wish(before)), 0.0
    if before.phase is Phase.GONE:
        store.commit([records.drop(before)], [_event(before, now_s, "gone")])
        return None, NEVER_S
    if before.phase is Phase.FAILED and 0 < before.revisit_at_s <= now_s:
        return _revisit(store, host, before)
    match _attempt(before, host):
        case Done(seen, because):
            return _enter(store, seen, lifecycle.onward(seen), now_s, because=because), 0.0
        case Wait(seen, reason, again_s, True, note):
            sick = replace(seen, waiting=reason, sick_since_s=before.sick_since_s or now_s)
            return _save(store, before, sick, _event(sick, now_s, note) if note else None), again_s
        case Wait(seen, reason, again_s, _, note):
            blamed = replace(seen, waiting=reason, sick_s=blameless_s(before, now_s), sick_since_s=0.0)
            if blamed.phase is Phase.SERVING and not blamed.unwell_since_s:
                blamed = replace(blamed, sick_s=0.0)
            elif blamed.phase is Phase.SERVING or now_s >= lifecycle.deadline_s(blamed):
                late = blamed.phase is not Phase.SERVING
                return _ail(store, host, before, blamed, f"overdue while {seen.phase}: {reason}" if late else "")
            return _save(store, before, blamed, _event(blamed, now_s, note) if note else None), again_s
        case Failed(reason):
            return _ail(store, host, before, before, f"failed while {before.phase}: {reason}")


def _attempt(instance: Instance, host: Host) -> Outcome:
    """The step's outcome, errors of the world included: those that waiting helps are a Wait."""
    try:
        outcome = lifecycle.TABLE[instance.phase].do(instance, host)
        fault = "" if isinstance(outcome, Done) else host.network.fault(instance)
        return _blameless(outcome, instance, fault) if fault else outcome
    except (Unreachable, NoSpace) as error:
        return _blameless(None, instance, _sentence(error))
    except Transient as error:
        return Wait(instance, _sentence(error), TRANSIENT_AGAIN_S)
    except Permanent as error:
        return Failed(_sentence(error))


def _blameless(outcome: Outcome | None, instance: Instance, reason: str) -> Wait:
    """Not the instance's fault: neither its deadline runs meanwhile, nor its ill health."""
    seen, note = (outcome.instance, outcome.note) if isinstance(outcome, Wait) else (instance, "")
    return Wait(replace(seen, unwell_since_s=0.0), reason, TRANSIENT_AGAIN_S, blameless=True, note=note)


def _ail(store: Store, host: Host, before: Instance, ill: Instance, reason: str) -> tuple[Instance, float]:
    """Heals an instance that failed or is overdue, if its role can bear it. No reason: it is ill and may get well."""
    now_s = host.clock.now_s()
    last_rung = lifecycle.heal(ill) is Phase.FAILED
    with _HEALING:  # Two at once would each see the other well.
        if reason and last_rung and (ill.phase in lifecycle.LEAVING or ill.restart_asked):
            return _heal(store, host, ill, reason), 0.0
        judgement = healing.judge(ill, records.all_of(store, Instance), now_s)
        told = healing.sentence(judgement, ill)
        match judgement.verdict:
            case healing.Verdict.HOLD:
                held = replace(ill, waiting=told, sick_s=before.sick_s, sick_since_s=before.sick_since_s or now_s)
                return _save(store, before, held, None if before.sick_since_s else _event(ill, now_s, told)), HELD_S
            case _ if not reason:
                return _save(store, before, ill), HELD_S
            case _ if before.sick_since_s and ill.phase in (Phase.STARTING, Phase.READY):
                return _enter(
                    store, ill, ill.phase, now_s, because="its role is well again: it has its time anew"
                ), 0.0
            case healing.Verdict.LEAVE:
                return _heal(store, host, ill, f"{reason}; {told}", leave=True), 0.0
            case healing.Verdict.TURN if not last_rung:
                return _save(store, before, replace(ill, waiting=f"{reason}; {told}")), HELD_S
            case _:
                return _heal(store, host, ill, reason), 0.0


def _revisit(store: Store, host: Host, failed: Instance) -> tuple[Instance, float]:
    """Another try, unasked, of what failed together with others: a look; without a complete setup, a new one."""
    now_s = host.clock.now_s()
    with _HEALING:
        if failed.set_up:
            return _enter(store, failed, Phase.STARTING, now_s, because="it is looked at again"), 0.0
        if healing.ahead(failed, records.all_of(store, Instance)):
            return failed, HELD_S
        return _enter(store, failed, Phase.STOPPING, now_s, because="it is tried again"), 0.0


def _sentence(error: VmroleError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)


def _follow_goal(instance: Instance) -> Instance:
    """Takes over what the goal's role may change without a new generation."""
    if instance.role != instance.goal.role and instance.role.template() == instance.goal.role.template():
        return replace(instance, role=instance.goal.role)
    return instance


def _wish(instance: Instance) -> str:
    if not instance.goal.serve:
        return "removal was asked for"
    if instance.phase is Phase.GONE:
        return "it is wanted again"
    new = instance.goal.wanted.generation > instance.generation
    return "a reimage was asked for" if new else "a restart was asked for"


def _enter(
    store: Store, seen: Instance, phase: Phase, now_s: float, *, because: str = "", note: str = ""
) -> Instance:
    """The record in its next phase, saved together with its lines in the ledger: the note's comes first."""
    entered = replace(seen, phase=phase, phase_since_s=now_s, waiting="", unwell_since_s=0.0)
    entered = replace(entered, sick_s=0.0, sick_since_s=0.0, asked_at_s=0.0, asks=0, forced=False)
    if phase in (Phase.DRAINING, Phase.RESTARTING, Phase.STOPPING):
        entered = replace(entered, warning="")
    if phase is not Phase.FAILED:
        entered = replace(entered, retry_at_s=0.0, revisit_at_s=0.0)
    if phase is Phase.REQUESTED:
        asked_for = seen.goal.wanted.generation > seen.generation
        entered = replace(
            entered,
            generation=seen.generation + 1,
            boot=0,
            boot_id="",
            resets=0,
            role=seen.goal.role
            if asked_for or seen.phase is Phase.GONE
            else seen.role,  # Healing changes no template.
            served_at_s=0.0,
            strikes=0 if asked_for else seen.strikes,
            failure="" if asked_for else seen.failure,
        )
    elif phase is Phase.RESTARTING:
        entered = replace(entered, failure="")
    elif phase in (Phase.STARTING, Phase.ERASING):
        entered = replace(entered, set_up=phase is Phase.STARTING)
    after_s = now_s - seen.phase_since_s if seen.phase_since_s else 0.0
    told = f"{seen.phase} -> {phase}" + (f": {because}" if because else "")
    log.info("%s after=%.1fs generation=%d boot=%d", told, after_s, entered.generation, entered.boot)
    events = [_event(seen, now_s, note)] if note else []
    revision = store.commit([records.put(entered)], [*events, _event(entered, now_s, told)])
    return replace(entered, revision=revision)


def _heal(store: Store, host: Host, instance: Instance, reason: str, *, leave: bool = False) -> Instance:
    """One rung up the healing ladder, or failed: the evidence is kept in either case. `leave`: failed for a while."""
    phase = Phase.FAILED if leave else lifecycle.heal(instance)
    rung = 2 if phase is Phase.STOPPING else instance.strikes + 1
    note = kept(instance, host)
    log.warning("%s; now %s", reason, phase)
    struck = replace(instance, strikes=rung, failure=reason)
    now_s = host.clock.now_s()
    if instance.phase in lifecycle.LEAVING:
        struck = replace(struck, retry_at_s=now_s + lifecycle.retry_after_s(instance.strikes))
    elif leave:
        struck = replace(struck, revisit_at_s=now_s + lifecycle.retry_after_s(instance.strikes))
    elif phase is Phase.FAILED and instance.restart_asked:
        struck = replace(struck, boot=instance.goal.wanted.boot)  # It was tried: the wish is not renewed by itself.
        struck = replace(struck, failure=f"{reason}; nothing of it was touched (longer: restart.within, stop.within)")
    return _enter(store, struck, phase, now_s, because=reason, note=note)


def _save(store: Store, before: Instance, after: Instance, event: Event | None = None) -> Instance:
    if after == before and event is None:
        return before
    if event is not None:
        log.warning("%s", event.message)
    return replace(after, revision=store.commit([records.put(after)], [event] if event else []))


def _event(instance: Instance, now_s: float, message: str) -> Event:
    return Event(
        at_s=now_s,
        subject=instance.name,
        message=message,
        phase=instance.phase,
        generation=instance.generation,
        boot=instance.boot,
    )


def frontends(services: list[Service], instances: list[Instance]) -> list[Frontend]:
    """Every endpoint of every service, as the balancer shall listen on it: also of one that is being removed, while
    it has instances whose connections may finish.
    """
    peopled = {one.service for one in instances}
    return [
        Frontend(
            pool=pool_name(service.name, role.name, end.name),
            vip=service.spec.vip,
            port=end.port,
            mode=end.mode,
            probe=end.probe,
        )
        for service in services
        if not service.removing or service.name in peopled
        for role in service.spec.roles
        for end in role.endpoints
    ]


def tend(store: Store, host: Host, name: str) -> tuple[frozenset[InstanceName], float]:
    """Lays what the instances of a service share, or lifts it when the last one is gone.

    Returns the instances for which the service's network stands, and when to look again (seconds).
    """
    service = records.find(store, Service, name)
    if service is None:
        return frozenset(), NEVER_S
    everyone = records.all_of(store, Instance)
    instances = [one for one in everyone if one.service == name]
    if not service.removing:
        notices = host.network.lay(service, instances)
        if notices:
            now_s = host.clock.now_s()
            store.commit([], [Event(at_s=now_s, subject=one.subject, message=one.message) for one in notices])
        laid = frozenset(one.name for one in instances)
        try:
            host.balancer.shape(frontends(records.all_of(store, Service), everyone))
        except EndpointRefused as error:  # Whose they are wait to join; nobody else is held up.
            own = {pool_name(name, role.name, end.name) for role in service.spec.roles for end in role.endpoints}
            if own.isdisjoint(error.pools):
                return laid, AUDIT_S
            log.warning("%s", error)
            return laid, TRANSIENT_AGAIN_S
        return laid, AUDIT_S
    if instances:
        return frozenset(), AUDIT_S
    with contextlib.suppress(EndpointRefused):  # Of others: this service has none any more.
        host.balancer.shape(frontends(records.all_of(store, Service), everyone))
    host.network.lift(service)
    gone = Event(at_s=host.clock.now_s(), subject=name, message="service deleted: nothing of it is left")
    store.commit([records.drop(service)], [gone])
    return frozenset(), NEVER_S


def conduct(store: Store, host: Host, operation_id: str) -> tuple[tuple[InstanceName, ...], float]:
    """Moves an operation on; returns the instances whose goals it changed and when to look again (seconds)."""
    operation = records.find(store, Operation, operation_id)
    if operation is None or operation.progress is not Progress.RUNNING:
        return (), NEVER_S
    instances = {one.name: one for one in records.all_of(store, Instance) if one.service == operation.service}
    moved, changed = rollout.advance(operation, instances)
    if moved != operation or changed:
        events = []
        if moved.progress is not Progress.RUNNING:
            told = f"{moved.verb} {moved.progress}: {moved.message}"
            events = [Event(at_s=host.clock.now_s(), subject=moved.subject, message=told)]
        store.commit([records.put(moved), *(records.put(one) for one in changed)], events)
    return tuple(one.name for one in changed), NEVER_S if moved.progress is not Progress.RUNNING else AUDIT_S


class Reconciler:
    """The loop: a table of what is due when, a pool of threads, at most one turn in flight per record."""

    def __init__(self, store: Store, host: Host, *, workers: int = 16) -> None:
        self._store = store
        self._host = host
        self._due: list[tuple[float, Key]] = []
        self._due_at: dict[Key, float] = {}
        self._in_flight: set[Key] = set()
        self._woken: set[Key] = set()  # woken while in flight: run again at once
        self._laid: dict[str, frozenset[InstanceName]] = {}  # for whom this process has laid the network
        self._unlaid: dict[str, str] = {}  # why the network of a service could not be laid
        self._conducting = threading.Lock()  # Two operations at once would each see the other's instances serve.
        self._changed = threading.Condition()
        self._stopping = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="turn")
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

    def wake(self, kind: Kind, key: str) -> None:
        """Looks at the record now: something may have changed."""
        with self._changed:
            self._schedule((kind, key), 0.0)
            self._changed.notify()

    def wake_instance(self, name: InstanceName, why: str) -> None:
        """The drivers' way to wake: an event of the hypervisor, the monitor or the balancer."""
        log.debug("woken: %s: %s", name, why)
        self.wake("instance", name)

    def wake_all(self) -> None:
        """Looks at every record now: after a start, or when events may have been lost."""
        self._laid.clear()
        for service in records.all_of(self._store, Service):
            self.wake("service", service.name)
        for instance in records.all_of(self._store, Instance):
            self.wake("instance", instance.name)
        for operation in records.all_of(self._store, Operation):
            if operation.progress is Progress.RUNNING:
                self.wake("operation", operation.id)

    def _schedule(self, key: Key, again_s: float) -> None:
        if key in self._in_flight:
            self._woken.add(key)
            return
        due = time.monotonic() + again_s
        if due < self._due_at.get(key, float("inf")):
            self._due_at[key] = due
            heapq.heappush(self._due, (due, key))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and (not self._due or self._due[0][0] > time.monotonic()):
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else NEVER_S)
                if self._stopping:
                    return
                due, key = heapq.heappop(self._due)
                if self._due_at.get(key) != due:
                    continue  # An older entry of a key that was woken earlier than planned.
                del self._due_at[key]
                self._in_flight.add(key)
            self._pool.submit(self._one, key)

    def _one(self, key: Key) -> None:
        again_s = AUDIT_S
        try:
            with subject(key[1]):
                again_s = self.attend(key)
        except Exception:  # A bug in one turn must not end the daemon: it is told in full, once a minute.
            log.exception("a bug: the turn of %s %s failed", *key)
        with self._changed:
            self._in_flight.discard(key)
            if key in self._woken:
                self._woken.discard(key)
                again_s = 0.0
            if again_s < NEVER_S:
                self._schedule(key, again_s)
            self._changed.notify()

    def attend(self, key: Key) -> float:
        """One turn of a record, now and in this thread; returns when it wants the next one (seconds)."""
        try:
            match key:
                case ("service", name):
                    return self._turn_service(name)
                case ("operation", operation_id):
                    with self._conducting:
                        changed, again_s = conduct(self._store, self._host, operation_id)
                    for one in changed:
                        self.wake("instance", one)
                    return again_s
                case ("instance", name):
                    return self._turn_instance(InstanceName(name))
        except StaleRevision:
            return 0.0  # Someone else was first: read again.
        except VmroleError as error:
            log.warning("%s", _sentence(error))
            return TRANSIENT_AGAIN_S
        raise AssertionError(key)

    def _turn_service(self, name: str) -> float:
        try:
            laid, again_s = tend(self._store, self._host, name)
        except VmroleError as error:
            self._unlaid[name] = _sentence(error)
            raise
        self._unlaid.pop(name, None)
        fresh = laid - self._laid.get(name, frozenset())
        self._laid[name] = laid
        for one in fresh:
            self.wake("instance", one)
        return again_s

    def _turn_instance(self, name: InstanceName) -> float:
        instance = records.find(self._store, Instance, name)
        if instance is None:
            return NEVER_S
        starts_next = instance.phase is Phase.ANSWERED and lifecycle.detour(instance) is None
        if starts_next and name not in self._laid.get(instance.service, frozenset()):
            self.wake("service", instance.service)  # A VM never starts before its guard against spoofing stands.
            why_not = self._unlaid.get(instance.service, "")
            told = f"the service's network cannot be laid: {why_not}" if why_not else "its network is being laid"
            _save(self._store, instance, replace(instance, waiting=told))
            return TRANSIENT_AGAIN_S
        after, again_s = turn(self._store, self._host, instance)
        if after is None:
            self.wake("service", instance.service)
        if after is None or after.phase is not instance.phase:
            for operation in self._running_operations(instance.service):
                self.wake("operation", operation.id)
        return again_s

    def _running_operations(self, service: str) -> Iterator[Operation]:
        for operation in records.all_of(self._store, Operation):
            if operation.service == service and operation.progress is Progress.RUNNING:
                yield operation
