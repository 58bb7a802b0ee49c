"""Drives that somebody attaches to an instance by hand, beside what its service's file says, and detaches again.

It is a wish of the instance: whatever VM it gets starts with them, until they are detached or it is gone. The record
comes first where a drive is attached, and last where one is detached: whatever ends between, the same is asked for
again, and at no moment may somebody else have a drive that a VM holds.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from orchestrator.control import records
from orchestrator.control.drives import Drives, Found
from orchestrator.control.present import Present
from orchestrator.errors import Conflict, Permanent, StaleRevision, Transient
from orchestrator.model import Attachment, Event, Instance, Power, Silence
from orchestrator.ports import Machine
from orchestrator.rules import holding

GUEST_ASKED_S: Final = 30.0  # until a guest has mounted a drive or let go of it
UNPLUGGED_S: Final = 30.0  # until a guest's kernel has let go of a disk that nobody uses
TRIES: Final = 5  # of what a turn of the instance comes between
_LOOK_S: Final = 0.2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Attached:
    """A drive that has just been attached."""

    found: Found
    told: str = ""  # what has yet to happen until its guest has it, a sentence; "": it has


class Attaching:
    """The two requests, beside those of `drives`. Thread-safe, as they are."""

    def __init__(
        self,
        present: Present,
        drives: Drives,
        machine: Machine,
        find: Callable[[str], Instance],
        patience: float = 1.0,
    ) -> None:
        """`find` is the instance of a name, and raises NotFound. Waits are `patience` times what they usually are."""
        self._present = present
        self.drives = drives
        self._machine = machine
        self._find = find
        self._patience = patience
        self._never = threading.Condition()

    def attach(self, drive: str, instance: str, *, name: str = "", mounted: bool = False) -> Attached:
        """Gives a drive to an instance, at once where its VM runs; the guest finds it by `name`, "" by its own.

        Asked for again, it is tried again. Raises NotFound, InvalidInput, and Conflict where somebody has the drive.
        """
        with self.drives.alone(drive, though_held=True):
            with self.drives.giving:
                attached = _anew(
                    lambda: self._recorded(self.drives.one(drive), self._find(instance), name, mounted=mounted)
                )
                one = self._find(instance)
            told = self._plugged(one, attached)
        return Attached(self.drives.one(drive), told)

    def detach(self, drive: str, *, force: bool = False) -> Found:
        """Takes a drive from the instance that has it by hand. `force`: though its guest uses it.

        Raises NotFound, and Conflict where nobody has it so, its guest uses it, or does not let go of it.
        """
        with self.drives.alone(drive, though_held=True):
            _anew(lambda: self._detached(drive, force=force))
            return self.drives.one(drive)

    def _detached(self, drive: str, *, force: bool) -> None:
        one, attached = self._holder(self.drives.one(drive))
        holding.refuse_unless_at_rest(one, f"take drive {drive} from it")
        self._unplug(one, attached, force=force)
        with self.drives.giving:
            left = tuple(each for each in self._find(one.name).goal.attached if each.drive != drive)
            self._put(one, left, f"drive {drive} was detached{' by force' if force else ''}")

    def _recorded(self, found: Found, one: Instance, name: str, *, mounted: bool) -> Attachment:
        drive = found.drive.name
        for each in one.goal.attached:
            if (each.drive, each.mounted) == (drive, mounted) and each.name == (name or each.name):
                holding.refuse_unless_at_rest(one, f"attach drive {drive} to it")
                return each
        if found.holder is not None:
            by_hand = drive in holding.by_hand(self._present.instances().values())
            way = f"run: vmrole drive detach {drive}" if by_hand else "take it out of the service's file"
            raise Conflict(f"{found.holder} has drive {drive}", hint=f"each has one instance at a time: {way}")
        attached = holding.attachment(one, drive, name, mounted=mounted)
        self._put(one, (*one.goal.attached, attached), f"drive {drive} was attached")
        return attached

    def _holder(self, found: Found) -> tuple[Instance, Attachment]:
        drive = found.drive.name
        by_hand = holding.by_hand(self._present.instances().values())
        if drive in by_hand:
            return by_hand[drive]
        if found.holder is None:
            raise Conflict(f"drive {drive} is attached to nobody", hint="run: vmrole drive ls")
        hint = "take it out of the file, or scale its role to 0, and wait until that is done"
        raise Conflict(f"{found.holder} has drive {drive} by its service's file", hint=hint)

    def _put(self, one: Instance, attached: tuple[Attachment, ...], told: str) -> None:
        """On the condition that the instance is where it was: nothing has begun with its VM meanwhile."""
        changed = replace(one, goal=replace(one.goal, attached=attached))
        event = Event(at_s=self._machine.clock.now_s(), subject=one.name, message=told)
        checks = [records.state_stands(one)] if one.state_revision else []
        self._present.commit([records.put_wish(changed)], [event], checks=checks)

    def _plugged(self, one: Instance, attached: Attachment) -> str:
        """Gives it to the VM that runs; what has yet to happen."""
        try:
            self._machine.hypervisor.plug(one, attached)
        except (Permanent, Transient) as error:
            return f"{error}" + (f"; {error.hint}" if error.hint else "")
        if not attached.mounted or not self._runs(one):
            return ""
        why_not = self._asked(self._machine.guest.take_up, one, attached)
        return f"its guest has not mounted it: {why_not}; it tries again when it starts" if why_not else ""

    def _unplug(self, one: Instance, attached: Attachment, *, force: bool) -> None:
        if not self._runs(one):
            return
        if not force and (why_not := self._asked(self._machine.guest.let_go, one, attached)):
            hint = f"end what uses it, or stop the instance first: vmrole stop {one.name}; --force tears it out"
            raise Conflict(f"{one.name} keeps drive {attached.drive}: {why_not}", hint=hint)
        for _ in self._looks(UNPLUGGED_S):
            self._refuse_unless_as_asked(one, attached, force=force)
            if self._machine.hypervisor.unplug(one.name, attached.drive):
                return
        hint = f"ask again, or stop the instance first: vmrole stop {one.name}"
        raise Conflict(f"the kernel of {one.name} does not let go of drive {attached.drive}", hint=hint)

    def _refuse_unless_as_asked(self, one: Instance, attached: Attachment, *, force: bool) -> None:
        """Raises Conflict where it is another boot by now than the one that let go: it may use the drive again."""
        now = self._find(one.name)
        holding.refuse_unless_at_rest(now, f"take drive {attached.drive} from it")
        if not force and (now.vm_uuid, now.generation, now.boot) != (one.vm_uuid, one.generation, one.boot):
            told = f"{one.name} has started again meanwhile, and may use drive {attached.drive}"
            raise Conflict(told, hint=f"ask again: vmrole drive detach {attached.drive}")

    def _runs(self, one: Instance) -> bool:
        domain = self._machine.hypervisor.look(one.name)
        return domain is not None and domain.power not in (Power.OFF, Power.CRASHED)

    def _asked(
        self, ask: Callable[[Instance, Attachment], str | Silence], one: Instance, attached: Attachment
    ) -> str:
        reason = ""
        for _ in self._looks(GUEST_ASKED_S):
            if not holding.rests(self._find(one.name)):  # Its disks may be taken from it for its checkpoint.
                return "it is on its way from one thing to another"
            said = ask(one, attached)
            if not isinstance(said, Silence):
                return said
            reason = said.reason
        return reason

    def _looks(self, within_s: float) -> Iterator[None]:
        """At least one, and then one after the other, until the time is over: a look itself may take seconds, where a
        guest answers slowly. They are counted as well, for a clock that stands.
        """
        clock, within_s = self._machine.clock, within_s * self._patience
        until_s = clock.monotonic_s() + within_s
        yield
        for _ in range(1, int(within_s / _LOOK_S)):
            with self._never:
                clock.wait(self._never, _LOOK_S)
            if clock.monotonic_s() >= until_s:
                return
            yield


def _anew(ask: Callable[[], T]) -> T:
    """Asks again where a turn of the instance has written meanwhile how it stands: that is no reason to refuse."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(StaleRevision):
            return ask()
    return ask()
