"""What clients ask of leases: an instance for a while, that they are still there, the end. Each is one commit."""

from __future__ import annotations

import abc
import uuid
from dataclasses import replace

from orchestrator.control import leasing, records
from orchestrator.control.applied import afresh
from orchestrator.control.attendance import Attendance
from orchestrator.control.pausing import Pausing
from orchestrator.errors import Conflict, InvalidInput, NotFound
from orchestrator.model import Event, Instance, Lease, Role, Service
from orchestrator.model.lease import SHORTEST_S, WAITING_MAX
from orchestrator.rules import lease as rules


class Lending(Pausing, abc.ABC):
    """The requests, for a class that applies specs."""

    attendance: Attendance

    def leases(self, service: str = "") -> list[Lease]:
        """All leases, or those of a service, in the order in which they were asked for; raises NotFound."""
        if not service:
            return sorted(self._present.all(Lease), key=lambda one: (one.service, one.number))
        return rules.in_order(self._present.leases_of(self.service(service).name))

    def lease(self, lease_id: str) -> Lease:
        """One lease that has not ended; raises NotFound."""
        found = self._present.find(Lease, lease_id)
        if found is None:
            raise NotFound(f"there is no lease {lease_id[:80]!r}: it may have ended", hint="run: vmrole lease ls")
        return found

    @afresh
    def lend(self, service: str, *, role: str = "", for_s: float, by: int | None = None) -> Lease:
        """Asks for an instance of a role, or of the only one, for a while, which begins when it is given. Who asks
        waits in a queue, and has to say now and then that he is there: see `attend`.

        Raises NotFound, InvalidInput for a time that the role does not allow, Conflict when it has no instances or
        too many wait.
        """
        with self._applying:
            there = self.service(service)
            of = self._leased_role(there, role)
            self._check_time(there, of, for_s)
            past = self._present.leases_of(there.name)
            if there.removing or not of.instances:
                why = "is being deleted" if there.removing else f"has no instances of {of.name}"
                raise Conflict(f"service {there.address} {why}", hint=f"run: vmrole describe {there.address}")
            if sum(one.waits for one in past) >= WAITING_MAX:
                hint = f"more instances: vmrole scale {there.address} {of.name}=N; or try later"
                raise Conflict(f"{WAITING_MAX} wait for instances of {there.address} already", hint=hint)
            now_s = self._clock.now_s()
            lease = Lease(
                id=f"lease-{uuid.uuid4().hex[:12]}",
                service=there.name,
                service_uid=there.uid,
                role=of.name,
                number=max((one.number for one in past), default=0) + 1,
                for_s=for_s,
                asked_at_s=now_s,
                by=by,
            )
            told = f"{lease.id}: an instance of {of.name} was asked for, for {rules.length(for_s)}"
            self.attendance.hear(lease.id)
            with self._waking("lease", there.name):
                revision = self._present.commit(
                    [records.put(lease)],
                    [Event(at_s=now_s, subject=there.name, message=told)],
                    checks=[records.stands(there)],
                )
        return replace(lease, revision=revision)

    @afresh
    def attend(self, lease_id: str, *, on: bool = True) -> Lease:
        """Its client is there still; or, not `on`, he has it and says so no more: it ends by its time, or by a word.

        Returns the lease as it is now. Raises NotFound when it has ended, Conflict for who still waits.
        """
        lease = self.lease(lease_id)
        self.attendance.hear(lease.id)
        if on is lease.attended or on:
            return lease
        if not lease.given:
            raise Conflict(f"{lease.id} is not given yet", hint="who waits has to say that he is there")
        left = replace(lease, attended=False)
        return replace(left, revision=self._present.commit([records.put(left)]))

    @afresh
    def end_lease(self, lease_id: str, *, because: str = "its end was asked for") -> Lease:
        """Ends a lease, whoever's; what its client had is made anew. Raises NotFound when it has ended."""
        lease = self.lease(lease_id)
        instance = self._present.find(Instance, lease.instance) if lease.instance else None
        own = instance if instance is not None and instance.goal.lease == lease.id else None
        change = rules.ended(lease, own, because)
        names = [own.name] if own else []
        with self._waking("lease", lease.service), self._waking("instance", *names):
            self._present.commit(leasing.writes_of(change), leasing.lines_of(change, self._clock.now_s()))
        self.attendance.forget(lease.id)
        return lease

    def lease_place(self, lease: Lease) -> tuple[int, str]:
        """The place of a lease in the queue, 0 when it waits no more; and what it waits for, in words."""
        others = self._present.leases_of(lease.service)
        instances = self._present.instances_of(lease.service).values()
        return rules.place(lease, others), rules.waits_for(lease, instances)

    def leased_instance(self, lease: Lease) -> Instance | None:
        """That its client has; None before it is given to him."""
        return self._present.find(Instance, lease.instance) if lease.given else None

    def address_of(self, deployment: str) -> str:
        """What its user calls a deployment."""
        there = self._present.find(Service, deployment)
        return there.address if there is not None else deployment

    def now_s(self) -> float:
        """Seconds since the epoch, as leases count them."""
        return self._clock.now_s()

    def _leased_role(self, service: Service, name: str) -> Role:
        roles = service.spec.roles
        if not name and len(roles) == 1:
            return roles[0]
        names = ", ".join(role.name for role in roles)
        if not name:
            raise InvalidInput(f"service {service.address} has several roles", hint=f"name one with --role: {names}")
        found = service.spec.role(name)
        if found is None:
            raise NotFound(f"service {service.address} has no role {name[:80]!r}", hint=f"its roles are: {names}")
        return found

    def _check_time(self, service: Service, role: Role, for_s: float) -> None:
        longest = role.lease.longest_s
        if not SHORTEST_S <= for_s <= longest:
            told = f"a lease of {rules.length(for_s)}"
            if for_s < SHORTEST_S:
                most = f"ask for {rules.length(longest)} at most, and for {rules.length(SHORTEST_S)} at least"
                raise InvalidInput(f"{told} is none", hint=f"{most}: --for 30m")
            why = f"roles.{role.name}.lease.longest of {service.address} is {rules.length(longest)}"
            hint = f"ask for {rules.length(longest)} at most, or apply a file with a longer lease: {{longest: …}}"
            raise InvalidInput(f"{told} is not to be had: {why}", hint=hint)
