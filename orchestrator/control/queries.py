"""What users ask to see: the records of now, the ledger, and sentences about them. Nothing is written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.control import asking, explain, renewing, revisions, slots
from orchestrator.control.present import Present
from orchestrator.control.standstill import standstill_of
from orchestrator.control.touched import Touched
from orchestrator.errors import Conflict
from orchestrator.model import Event, Image, Instance, InstanceName, Operation, Progress, Revision, Rollout, Service
from orchestrator.ports import Clock, Store
from orchestrator.rules import standing
from orchestrator.servicefile.write import written


class Queries:
    """Answers about the records. Thread-safe, as what it reads is."""

    def __init__(
        self, store: Store, present: Present, clock: Clock, find_image: Callable[[str], Image | None]
    ) -> None:
        self._find_image = find_image
        self._store = store
        self._present = present
        self._clock = clock

    def services(self) -> list[Service]:
        """All services, by name."""
        return self._present.all(Service)

    def service(self, name: str) -> Service:
        """What is in production of the service, or SERVICE@SLOT; raises NotFound, InvalidInput."""
        return slots.meant(self._present, name)

    def service_of(self, instance: Instance) -> Service | None:
        """The instance's service; None when it is gone meanwhile."""
        return self._present.find(Service, instance.service)

    def file_of(self, name: str) -> str:
        """The service as a file that `apply` takes, without texts that may hold secrets; raises NotFound."""
        return written(self.service(name).spec, self._find_image)

    def revisions(self, service: str) -> list[Revision]:
        """The last versions of the service's file, the newest last; raises NotFound."""
        there = self.service(service)
        return revisions.known(there, self._present.revisions_of(there.name))

    def rollouts(self, service: str) -> list[Rollout]:
        """The service's rollouts that are known, the one that runs last, else the newest; raises NotFound."""
        there = self.service(service)
        own = [one for one in self._present.rollouts_of(there.name) if one.service_uid == there.uid]
        return sorted(own, key=lambda one: (one.progress is Progress.RUNNING, one.to_revision, one.created_at_s))

    def by_name(self) -> dict[InstanceName, Instance]:
        """All instances, in no order: for who only looks some of them up."""
        return self._present.instances()

    def instances(self, subject: str = "") -> list[Instance]:
        """All instances, or those of a service ("shop", "shop@staging"), a role ("web.shop") or the one named."""
        if not subject:
            return sorted(self._present.all(Instance), key=by_role_and_number)
        subject = self.named(subject)
        if (instance := self._present.find(Instance, subject)) is not None:
            return [instance]
        role, dot, service = subject.rpartition(".")
        of_service = self._present.instances_of(service).values()
        return sorted((one for one in of_service if not dot or one.role_name == role), key=by_role_and_number)

    def chosen(self, subject: str) -> list[Instance]:
        """As `instances`; the short name of an instance will do as well, unless it is a service's.

        Of a service or role without instances there are none; raises NotFound for what is unknown, and Conflict.
        """
        found = self.instances(subject)
        if found or not subject:
            return found
        role, dot, name = self.named(subject).rpartition(".")
        known = self._present.find(Service, name)
        if known is not None and (not dot or known.spec.role(role) is not None):
            return []
        if not self._present.instances_called(subject):
            raise asking.nobody(subject)
        return [self.instance(subject)]

    def instance(self, name: str) -> Instance:
        """The instance `web-0.shop`, or `web-0` when only one service has it; raises NotFound or Conflict."""
        named = self.named(name)
        whole = self._present.find(Instance, named)
        found = [whole] if whole is not None else self._present.instances_called(name)
        if not found:
            role, _, service = named.rpartition(".")
            raise asking.no_instance(name, role, self._present.find(Service, service), self.instances(name))
        if len(found) > 1:
            names = ", ".join(one.name for one in found)
            raise Conflict(f"{name!r} is the name of {len(found)} instances", hint=f"use one of: {names}")
        return found[0]

    def operations(self) -> list[Operation]:
        """Running operations and the last finished ones, oldest first."""
        return sorted(self._present.all(Operation), key=lambda one: one.created_at_s)

    def operation(self, operation_id: str) -> Operation:
        """The operation; raises NotFound."""
        return self._present.load(Operation, operation_id)

    def events(self, subject: str = "", after: int = 0, limit: int = 1000) -> Sequence[Event]:
        """The ledger, oldest first (see ports.Store.events); the short name of an instance will do."""
        return self._store.events(subject=self.in_ledger(self.named(subject)), after=after, limit=limit)

    def in_ledger(self, subject: str) -> str:
        """What the ledger calls a subject: the whole name of the only instance that has this short one."""
        matches = self._present.instances_called(subject)
        return matches[0].name if len(matches) == 1 else subject

    def named(self, subject: str) -> str:
        """What a user names, by the deployment's own name, which no swap changes; see `slots.subject`."""
        return slots.subject(self._present, subject) if subject else ""

    def touched(self, after: int) -> Touched | None:
        """What was written after a revision; see Present."""
        return self._present.touched(after)

    def wait(self, after: int, timeout_s: float) -> int:
        """Blocks until anything changed after the revision, or the time is over; returns the revision now."""
        return self._store.wait(after, timeout_s)

    def why(self, name: str) -> tuple[str, ...]:
        """In sentences: what the instance waits for, since when, until when, and what came before."""
        instance = self.instance(name)
        past = self._store.events(subject=instance.name, limit=6)
        still = standstill_of(self._present, instance.service)
        now_s = self._clock.now_s()
        renewed = renewing.sentence(self._present, instance, now_s)
        return explain.why(instance, past, now_s, self._of_revision(instance), still, renewed, self._yet(instance))

    def _yet(self, instance: Instance) -> list[str]:
        """What runs over several instances and has yet to begin with this one, and what it waits for."""
        return [
            f"{'The rollout' if self._present.find(Rollout, one.id) else f'A {one.verb} of {one.subject}'} "
            f"has yet to begin with it: {one.message}."
            for one in self._present.running_operations(instance.service)
            for number, (name, _) in enumerate(one.targets)
            if one.message and name == instance.name and standing.is_waiting(one, number, instance)
        ]

    def _of_revision(self, instance: Instance) -> explain.OfRevision | None:
        """What there is to say of an instance whose VM is not as its service's file says; None of others."""
        service = self._present.find(Service, instance.service)
        if service is None or not instance.stale:
            return None
        known = revisions.known(service, self._present.revisions_of(service.name))
        rollouts = self.rollouts(service.address)
        running = rollouts[-1] if rollouts and rollouts[-1].progress is Progress.RUNNING else None
        number = revisions.of_instance(instance, known)
        return explain.OfRevision(number=number, newest=known[-1].number, rollout=running, service=service.address)


def by_role_and_number(instance: Instance) -> tuple[str, str, int]:
    """The order in which people are shown instances."""
    return (instance.service, instance.role_name, instance.index)
