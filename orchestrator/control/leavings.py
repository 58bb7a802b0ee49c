"""VMs that no record knows any more: ended as a deletion ends them, by asking first and for so long."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from orchestrator.control.asides import SetAside
from orchestrator.errors import Busy
from orchestrator.model import Domain, InstanceName, Member, Power
from orchestrator.ports import Host
from orchestrator.rules.patience import STOP_WITHIN_S
from orchestrator.steps.phases import ASK_AGAIN_S

STOP_S: Final = max(STOP_WITHIN_S.values())  # what its role says nobody knows
_POLL_S: Final = 0.2


def still_there(unread: Sequence[SetAside]) -> str:
    """Why a service does not go whose instances cannot all be read."""
    names = ", ".join(aside.key for aside in unread[:3]) + (", …" if len(unread) > 3 else "")
    whose = "its VM" if len(unread) == 1 else "their VMs"
    return f"{names} cannot be read ({unread[0].fault}), and {whose} may run: network and VIP stay"


class Leavings:
    """VMs of services that are being removed, of which nobody knows more than their names. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until_s: dict[InstanceName, float] = {}  # when a VM that was asked to shut down is ended
        self._asked_s: dict[InstanceName, float] = {}
        self._told: dict[str, frozenset[str]] = {}

    def is_news(self, service: str, unread: Iterable[SetAside]) -> bool:
        """Whether nobody was told yet that just these hold the service up."""
        keys = frozenset(aside.key for aside in unread)
        with self._lock:
            before = self._told.get(service)
            self._told[service] = keys
        return before != keys

    def ended(self, host: Host, service: str) -> bool:
        """Whether no VM of the service is left; those that run are asked to shut down, and ended after a time."""
        left = [one for one in host.machine.hypervisor.inventory() if one.name.rpartition(".")[2] == service]
        now_s = host.machine.clock.monotonic_s()
        for one in left:
            if not one.claimed:  # It may be another daemon's.
                continue
            with self._lock:
                until_s = self._until_s.setdefault(one.name, now_s + STOP_S)
                asks = now_s - self._asked_s.get(one.name, float("-inf")) >= ASK_AGAIN_S
                if asks:
                    self._asked_s[one.name] = now_s
            if not _runs(one) or now_s >= until_s:
                end(host, one.name)
                with self._lock:
                    self._until_s.pop(one.name, None)
                    self._asked_s.pop(one.name, None)
            elif asks:
                ask(host, one.name)
        return not any(one.claimed for one in left)


def ask(host: Host, name: InstanceName) -> None:
    """Takes the VM from clients, and asks its guest to shut down."""
    host.front.balancer.leave(name)
    host.front.doors.reach(Member(name=name, address="", pools=()))
    with contextlib.suppress(Busy):  # One that cannot be asked is ended in its time.
        host.machine.hypervisor.ask_shutdown(name)


def end(host: Host, name: InstanceName) -> None:
    """Ends the VM, if it runs still, and forgets it. Its disks stay, and what it keeps of itself."""
    host.front.balancer.leave(name)
    host.front.doors.reach(Member(name=name, address="", pools=()))
    host.machine.hypervisor.power_off(name)
    host.machine.hypervisor.undefine(name)
    host.machine.media.erase(name)


def shut_down(host: Host, names: Collection[InstanceName], within_s: float = STOP_S) -> list[InstanceName]:
    """Has their guests shut down side by side; returns those that still run when the time is over."""
    clock, over = host.machine.clock, threading.Condition()
    until_s = clock.monotonic_s() + within_s
    asked_at_s = float("-inf")
    while True:
        running = [name for name in names if _runs(host.machine.hypervisor.look(name))]
        now_s = clock.monotonic_s()
        if not running or now_s >= until_s:
            return running
        if now_s - asked_at_s >= ASK_AGAIN_S:
            asked_at_s = now_s
            for name in running:
                ask(host, name)
        with over:
            clock.wait(over, min(_POLL_S, until_s - now_s))


def _runs(domain: Domain | None) -> bool:
    return domain is not None and domain.power is Power.RUNNING
