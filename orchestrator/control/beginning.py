"""Who waits for his VM's start: for roles that come before his, and after a boot of the host for his turn.

That the host has booted nobody tells: a VM that ought to run, is off, and was not seen to run by this process is
taken for one of a host that comes up. One that dies later is started at once. Nothing here is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from orchestrator import lifecycle
from orchestrator.control.present import Present
from orchestrator.errors import VmroleError
from orchestrator.model import Cause, Instance, InstanceName, Power
from orchestrator.model.cause import Kind
from orchestrator.ports import Clock, Hypervisor
from orchestrator.rules import beginning, patience

AGAIN_S = 5.0  # Between looks of who waits; who comes to serve wakes them earlier.


class Beginning:
    """Thread-safe. Times are those of a clock that nobody sets (seconds)."""

    def __init__(self, together: int, clock: Clock) -> None:
        self._together = together  # how many VMs boot at a time after a boot of the host
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: set[str] = set()  # uids of instances whose VM this process has seen to run
        self._waiting: dict[str, tuple[InstanceName, float]] = {}  # by uid: who waits for roles, since when
        self._in_line: dict[str, InstanceName] = {}  # by uid: who waits for a turn, the first one first
        self._booting: dict[str, float] = {}  # by uid: since when

    def waits_for(self, instance: Instance, present: Present, hypervisor: Hypervisor) -> Cause | None:
        """What it waits for before its VM may be started; None: for nothing, or its turn tells what is wrong."""
        if not self._may_be_held(instance) or lifecycle.detour(instance) is not None:
            if (
                instance.uid in self._waiting or instance.uid in self._in_line
            ):  # Most never were: the lock is for these.
                with self._lock:  # Stopped or protected while it waited: others would wait behind it for ever.
                    self._let_go(instance.uid)
            return None
        try:
            domain = hypervisor.look(instance.name)
        except VmroleError:
            return None
        off = domain is None or domain.power is Power.OFF
        return self._hold(instance, present.instances_of(instance.service).values(), off=off)

    def _may_be_held(self, instance: Instance) -> bool:
        """Whether its VM has to be looked at before its turn; cheap."""
        if instance.held:
            return False
        first = beginning.begins_first(instance) and bool(instance.goal.role.after)
        return first or (beginning.boots_again(instance) and instance.uid not in self._seen)

    def _hold(self, instance: Instance, present: Collection[Instance], *, off: bool) -> Cause | None:
        """`present`: all of its service."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            if not off:
                self._arrive(instance.uid)
                return None
            if (cause := self._for_roles(instance, present, now_s)) is not None or beginning.begins_first(instance):
                return cause
            return self._for_turn(instance, now_s)

    def _for_roles(self, instance: Instance, present: Collection[Instance], now_s: float) -> Cause | None:
        """The wait for a role begins when that one itself has not to wait any more."""
        missing = beginning.awaited(instance.goal.role.after, present, self._seen)
        held = any(one.uid in self._waiting for of in missing.values() for one in of)
        since_s = now_s if held else self._waiting.get(instance.uid, (instance.name, now_s))[1]
        if not missing or now_s - since_s >= patience.AFTER_WITHIN_S:
            if instance.uid in self._waiting and not missing:
                del self._waiting[instance.uid]
            return None
        self._waiting[instance.uid] = (instance.name, since_s)
        at_most = f"{patience.AFTER_WITHIN_S / 60:.0f} min"
        return Cause(Kind.AFTER_AWAITED, names=tuple(missing), detail=at_most)

    def _for_turn(self, instance: Instance, now_s: float) -> Cause | None:
        """A guest that takes long gives its place up: it holds up nobody for ever."""
        uid = instance.uid
        within_s = patience.BOOT_TOGETHER_WITHIN_S
        self._booting = {one: since_s for one, since_s in self._booting.items() if now_s - since_s < within_s}
        self._in_line.setdefault(uid, instance.name)
        if uid not in self._booting and [*self._in_line].index(uid) >= self._together - len(self._booting):
            return Cause(Kind.BOOTS_IN_TURN, detail=str(self._together))
        del self._in_line[uid]
        self._waiting.pop(uid, None)
        self._booting.setdefault(uid, now_s)
        return None

    def after(self, before: Instance, after: Instance | None) -> list[InstanceName]:
        """Takes note of a turn that has ended; returns whom that lets go on, perhaps."""
        if after is not None and after.phase is before.phase and after.uid in self._seen:
            return []
        with self._lock:
            uid, comes = before.uid, False
            if after is not None and after.serving:
                comes = uid not in self._seen
                self._arrive(uid)
            if after is None or after.phase.traits.leaves:
                self._let_go(uid)
            if after is None:
                self._seen.discard(uid)
            settled = after is None or after.phase.traits.is_settled or after.phase.traits.leaves
            freed = settled and self._booting.pop(uid, None) is not None
            roles = [name for name, _ in self._waiting.values()] if comes or settled else []
            return roles + ([*self._in_line.values()][: self._together] if freed else [])

    def _arrive(self, uid: str) -> None:
        self._seen.add(uid)
        self._let_go(uid)

    def _let_go(self, uid: str) -> None:
        """It keeps no place, wherever it waited."""
        self._waiting.pop(uid, None)
        self._in_line.pop(uid, None)
