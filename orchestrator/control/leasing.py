"""What becomes of a service's leases: the rule decides; a decision is one commit, the lease with its instance."""

from __future__ import annotations

from orchestrator.control import records
from orchestrator.control.attendance import Attendance
from orchestrator.control.present import Present
from orchestrator.control.turns import NEVER_S
from orchestrator.errors import StaleRevision
from orchestrator.model import Event, InstanceName, Service
from orchestrator.ports import Clock, Write
from orchestrator.rules import lease as rules


def tend_leases(
    present: Present, clock: Clock, service: str, attendance: Attendance
) -> tuple[tuple[InstanceName, ...], float]:
    """Gives, takes back and ends the leases of a service; returns whose wishes that has changed, and when to look
    again (seconds). What somebody has changed meanwhile is decided anew, at once.
    """
    leases, there = present.leases_of(service), present.find(Service, service)
    instances = present.instances_of(service)
    if not leases and not any(one.leased for one in instances.values()):
        return (), NEVER_S
    left_s = attendance.left_s(one.id for one in leases if one.attended)
    silent = [of for of, for_s in left_s.items() if for_s <= 0]
    now_s = clock.now_s()
    turn = rules.turn(there, leases, instances, now_s, silent)
    changed: list[InstanceName] = []
    again_s = min([turn.again_s, *(for_s for for_s in left_s.values() if for_s > 0)])
    for change in turn.changes:
        checks = [records.stands(there)] if there is not None and not change.ends else []
        try:
            present.commit(writes_of(change), lines_of(change, now_s), checks=checks)
        except StaleRevision:
            again_s = 0.0
            continue
        if change.ends:
            attendance.forget(change.lease.id)
        if change.instance is not None:
            changed.append(change.instance.name)
    for one in turn.freed:
        told = Event(at_s=now_s, subject=one.name, message="its lease is not recorded any more")
        present.commit([records.put_wish(one)], [told])
        changed.append(one.name)
    return tuple(changed), 0.0 if changed else max(again_s, 0.0)


def writes_of(change: rules.Change) -> list[Write]:
    """Both in one commit: a lease never ends without what makes its instance anew."""
    lease = records.drop(change.lease) if change.ends else records.put(change.lease)
    return [lease, *([records.put_wish(change.instance)] if change.instance is not None else [])]


def lines_of(change: rules.Change, now_s: float) -> list[Event]:
    """What the ledger says of it: of its instance, or of its service while there is none."""
    subject = change.lease.instance or change.lease.service
    return [Event(at_s=now_s, subject=subject, message=change.told)] if change.told else []
