"""What users ask for, turned into records: the only writer of goals. Nothing here touches the host.

Every request is one commit: it holds completely or not at all, and what was answered survives a crash.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator import servicefile
from orchestrator.control import asking, deployment, records, revisions, slots, unread
from orchestrator.control.applied import Applied, Author, Memory, Plan, afresh, read_again
from orchestrator.control.attendance import Attendance
from orchestrator.control.custody import Custody
from orchestrator.control.deployment import Capacity
from orchestrator.control.host_keys import Kept
from orchestrator.control.loop import Noun
from orchestrator.control.present import Present
from orchestrator.control.removing import Removing
from orchestrator.control.unfolding import unfold
from orchestrator.errors import Conflict, InvalidInput, NotFound, StaleRevision, VmroleError
from orchestrator.model import (
    INSTANCES_MAX,
    Agent,
    Carried,
    Event,
    Image,
    Instance,
    InstanceName,
    Operation,
    PoolName,
    Probed,
    Progress,
    Role,
    Rollout,
    Seat,
    Service,
    ServiceSpec,
    Silence,
    Slot,
    Upgrade,
    Verb,
)
from orchestrator.model.drive import Drive
from orchestrator.ports import Clock, Inside, Store, Write
from orchestrator.rules import addressing, holding
from orchestrator.rules.standing import course_by
from orchestrator.servicefile.difference import Change, difference, unfinished
from orchestrator.servicefile.resolution import SecretFault, no_fault

OPERATIONS_KEPT = 50  # finished ones, for `get operations`
FORGOTTEN_AT_ONCE = 5  # of those that are more; each request adds one


class Control(Removing):
    """The requests of users, each one commit. Thread-safe by the store's compare-and-swap, which guards each record;
    what is given out over all services is guarded by a lock, for there is one daemon. What the reconciler writes
    meanwhile refuses no request: only a revision that the caller named can be stale.
    """

    def __init__(
        self,
        store: Store,
        *,
        find_image: Callable[[str], Image | None],
        secret_fault: SecretFault = no_fault,
        capacity: Capacity,
        clock: Clock,
        wake: Callable[[Noun, str], None],
        seats: Callable[[], Mapping[InstanceName, Seat]],
        traffic: Callable[[Collection[PoolName]], Mapping[PoolName, Carried]] = lambda _: {},
        probed: Callable[
            [Collection[PoolName]], Mapping[PoolName, Mapping[InstanceName, Sequence[Probed]]]
        ] = lambda _: {},
        agent: Callable[[Instance], Agent | Silence] = lambda _: Silence(reason="there is no agent"),
        inside: Inside | None = None,
        kept_keys: Kept = lambda _: {},
        present: Present | None = None,
        attendance: Attendance | None = None,
    ) -> None:
        super().__init__(store, present or Present(store), clock, find_image)
        self._secret_fault = secret_fault
        self._capacity = capacity
        self._wake = wake
        self.seats = seats
        self.traffic = traffic
        self.probed = probed
        self.agent = agent
        self.inside = inside
        self.kept_keys = kept_keys
        self.attendance = attendance or Attendance(clock)
        self.custody = Custody()
        self._applying = self.custody.giving

    # Services

    @read_again
    def apply(
        self,
        text: str,
        *,
        slot: Slot = Slot.PRODUCTION,
        dry_run: bool = False,
        expected: int | None = None,
        by: int | None = None,
    ) -> Applied:
        """Records the service of the file `text`, in a slot; raises InvalidInput (with lines), Conflict or
        StaleRevision.
        """
        memory = Memory(self._present, slot)
        spec = self._parsed(text, memory)
        with servicefile.placed_in(text):
            return self.apply_spec(spec, slot=slot, dry_run=dry_run, expected=expected, by=by, memory=memory)

    def _parsed(self, text: str, memory: Memory) -> ServiceSpec:
        return servicefile.parse(text, self._find_image, self._secret_fault, memory.role)

    def diff(self, text: str) -> tuple[Change, ...]:
        """What apply would change."""
        return self.apply(text, dry_run=True).changes

    def check(self, texts: Sequence[str], slot: Slot = Slot.PRODUCTION) -> tuple[Applied | VmroleError, ...]:
        """What applying the files one after the other would do, each to what those before it leave; nothing is done.

        In the place of what cannot be done stands the error that `apply` would raise.
        """
        found: list[Applied | VmroleError] = []
        planned: dict[str, Service] = {}
        with self._applying:
            for text in texts:
                try:
                    spec = self._in_slot(self._parsed(text, Memory(self._present, slot)), slot)
                    with servicefile.placed_in(text):
                        plan = self._planned(spec, None, planned, slot=slot)
                except VmroleError as error:
                    found.append(error)
                else:
                    found.append(Applied(service=plan.service, changes=plan.changes, operation=None))
                    planned[spec.name] = plan.service
        return tuple(found)

    @afresh
    def apply_spec(
        self,
        spec: ServiceSpec,
        *,
        slot: Slot = Slot.PRODUCTION,
        dry_run: bool = False,
        expected: int | None = None,
        by: int | None = None,
        memory: Memory | None = None,
    ) -> Applied:
        """Records the service, in a slot; changes of what a VM is built from are rolled out one instance at a time.

        `expected` is the revision that the caller has read (0: there must be none); raises StaleRevision else, and
        Overtaken when what the spec keeps by its `memory` stands no more.
        """
        with self._applying:
            spec = self._in_slot(spec, slot)
            if memory is not None:
                memory.check(spec.name)
            return self._apply_spec(spec, dry_run, expected, Author(uid=by, slot=slot))

    def _in_slot(self, spec: ServiceSpec, slot: Slot) -> ServiceSpec:
        """The service of a file, as what is in that slot, or would be."""
        return replace(spec, name=slots.place(self._present, spec.name, slot))

    def _apply_spec(self, spec: ServiceSpec, dry_run: bool, expected: int | None, author: Author) -> Applied:
        """Instances that a halted rollout has not reached are part of what there is to do, unless one only scales."""
        plan = self._planned(spec, expected, {}, slot=author.slot, resumes=not author.scales, retries=author.resumes)
        if dry_run or not plan.changes:
            return Applied(service=plan.old, changes=plan.changes, operation=None)
        keys = "; ".join(one.key for one in plan.changes)
        told = Event(at_s=self._now_s(), subject=spec.name, message=f"{author.deed}: {keys}")
        revised = revisions.revise(
            plan.old,
            plan.service,
            self._present.revisions_of(spec.name),
            now_s=self._now_s(),
            by=author.uid,
            restores=author.restores,
            scales=not author.has_a_file,
        )
        rollout = self._rollout(plan, revised.service, author.restores) if plan.stale else None
        writes = [records.put(revised.service), *(records.put(one) for one in revised.fresh)]
        writes += [*self._touch_images(spec), *(records.put(one) for one in plan.ended)]
        writes += [records.drop(one) for one in revised.dropped]
        if rollout is not None:
            writes += [records.put(rollout), *self._forget_old_operations()]
        self._store_templates(spec)
        with self._waking("service", spec.name), self._waking("operation", *([rollout.id] if rollout else [])):
            revision = self._present.commit(writes, [told])
            self._unfold(spec.name)
        operation = replace(rollout, revision=revision).operation if rollout else None
        if revised.dropped:
            self._forget_templates()
        service = replace(revised.service, revision=revision)
        return Applied(service=service, changes=plan.changes, operation=operation)

    def _rollout(self, plan: Plan, service: Service, restores: int) -> Rollout:
        past = self._present.rollouts_of(service.name)
        before = revisions.known(plan.old, self._present.revisions_of(service.name)) if plan.old else []
        from_revision = before[-1].number if before else 0
        return deployment.rollout(
            service, plan.stale, past, from_revision=from_revision, restores=restores, now_s=self._now_s()
        )

    def _planned(
        self,
        spec: ServiceSpec,
        expected: int | None,
        planned: Mapping[str, Service],
        *,
        slot: Slot = Slot.PRODUCTION,
        resumes: bool = True,
        retries: bool = False,
    ) -> Plan:
        """What an apply would do, were the `planned` services applied already; raises what keeps it from that."""
        services = {**{one.name: one for one in self.services()}, **planned}
        old = services.pop(spec.name, None)
        asking.expect(old, expected, spec.name)
        if old is not None and old.removing:
            raise Conflict(
                f"service {old.address} is being deleted",
                hint=f"run: vmrole wait {old.address} --for=gone; then apply",
            )
        others, asides = list(services.values()), self._present.set_aside()
        known = {spec.name, *services}
        readable = [*others, old] if old else others
        unread.refuse_vips(spec, readable, asides, self._capacity.held() if asides else ())
        lost = unread.deployed(self._present, asides)
        unsized = unread.unsized(self._present, asides)
        before, drives_mib = old.spec if old else None, sum(one.size_mib for one in self._present.all(Drive))
        deployment.check(
            spec, others, self._capacity, before=before, unread=lost, unsized=unsized, drives_mib=drives_mib
        )
        self._check_drives(spec, others)
        beside = [*(one.spec for one in others), *lost]
        all_there = list(self.by_name().values())
        deployment.check_bridges(spec, before, beside, all_there, self._capacity)
        deployment.check_pci(spec, before, beside, all_there, asides, self._capacity)
        present = self._present.instances_of(spec.name)
        running = self._present.running_operations(spec.name)
        ended = deployment.superseded(old.spec, spec, self._present.rollouts_of(spec.name)) if old else []
        going_on = [one for one in running if one.id not in {rollout.id for rollout in ended}]
        stale = deployment.stale(spec, list(present.values()), going_on) if resumes else []
        failed = deployment.failed(self._present.rollouts_of(spec.name), old, present) if retries and old else []
        stale += [one for one in failed if one not in stale]
        asking.check_staying(spec, present.values())
        left = [one for one in stale if not deployment.wished_anew(one, spec) and not one.goal.protected]
        spared = asking.left_as_they_are(spec, present.values())
        changes = difference(old.spec if old else None, spec) + unfinished(left, spec.upgrade)
        if changes:
            changes += spared
            addressing.check_room(spec, present)
        if old is None:
            taken = [one.network for one in others]
            nics = (one.nic for one in self.by_name().values() if one.service not in known) if asides else ()
            routed = [*self._capacity.routed(), *addressing.networks_beside(nics), *unread.subnets(asides)]
            network = addressing.allocate_network(spec.name, self._capacity.pool, taken, routed)
            service = Service(spec=spec, network=network, created_at_s=self._now_s(), slot=slot)
        else:
            service = replace(old, spec=spec)
        service = replace(service, network=deployment.network_for(service, others, self._capacity))
        return Plan(old=old, service=service, changes=changes, stale=stale, ended=ended)

    @afresh
    def scale(self, service: str, counts: Mapping[str, int], *, expected: int | None = None) -> Service:
        """Changes how many instances roles have, all or none; raises NotFound, InvalidInput, StaleRevision."""
        for name, instances in counts.items():
            if not 0 <= instances <= INSTANCES_MAX:
                told = f"role {name} cannot have {instances} instances"
                raise InvalidInput(told, hint=f"a role has 0 to {INSTANCES_MAX}")
        with self._applying:
            before = self.service(service)
            for role in counts:
                if before.spec.role(role) is None:
                    raise NotFound(f"service {service} has no role {role!r}", hint=f"run: vmrole describe {service}")
            roles = tuple(replace(one, instances=counts.get(one.name, one.instances)) for one in before.spec.roles)
            asking.check_doors(roles)
            wanted = before.revision if expected is None else expected
            applied = self._apply_spec(replace(before.spec, roles=roles), False, wanted, Author(scales=True))
            return applied.service or before

    # Instances

    @afresh
    def act(
        self, verb: Verb, subject: str, *, together: int | None = None, labels: str = "", cold: bool = False
    ) -> Operation:
        """Asks for a restart, reimage, rebuild, stop or start of an instance, a role ("web.shop") or a service.

        `labels` selects among them, `together` how many at a time: as the service's file says for None, of a stop or
        start one; of others no more of a role than its `healing.maxUnavailable`, if it has that. What is stopped is
        left out of a restart, and takes a reimage or rebuild when it is started. `cold`: a reimage begins with the
        image. Raises Conflict when there is nothing to do it to.
        """
        if together is not None and not 1 <= together <= INSTANCES_MAX:
            raise InvalidInput(f"{together} together", hint=f"use 1 to {INSTANCES_MAX}")
        if not subject:
            raise InvalidInput("no instance, role or service is named", hint="write web-0, web.shop or shop")
        present = asking.narrowed(subject, self.chosen(subject), labels)
        running = self._present.running_operations(present[0].service) if present else ()
        now_s, many = self._now_s(), self._together(verb, present, together)
        operation = asking.operation(verb, subject, present, running, together=many, cold=cold, now_s=now_s)
        told = Event(at_s=now_s, subject=operation.subject, message=f"{verb} was asked for")
        with self._waking("operation", operation.id):
            revision = self._present.commit([records.put(operation), *self._forget_old_operations()], [told])
        return replace(operation, revision=revision)

    @afresh
    def protect(self, subject: str, *, on: bool, labels: str = "") -> list[Instance]:
        """Protects instances from every verb and from healing, or ends that; what has begun already ends first.

        `labels` selects among them. Protected, an instance takes back what was asked of it and has not begun.
        Raises NotFound, Conflict.
        """
        with self._applying:  # Of a removal and a protection at the same time, the later is refused.
            named = asking.narrowed(subject, self.chosen(subject), labels)
            staying = asking.staying(named, {one.name: one for one in self.services()})
            chosen = [one for one in staying if one.goal.protected is not on]
            with self._waking("instance", *(one.name for one in chosen)):
                for batch in asking.protections(chosen, on=on):
                    lines = asking.protection_told(batch, self._now_s(), on=on)
                    states = [records.state_stands(one) for one in batch if one.state_revision]
                    self._present.commit([records.put_wish(one) for one in batch], lines, checks=states)
        return asking.selected(self.chosen(subject), labels)

    # Inside

    def _now_s(self) -> float:
        return self._clock.now_s()

    def _check_drives(self, spec: ServiceSpec, others: Sequence[Service]) -> None:
        """Raises InvalidInput where the service cannot have the drives that it wants."""
        fault = holding.beside(spec, self._present.instances_of(spec.name).values())
        if fault is None and any(role.drives for role in spec.roles):
            held = holding.holders((one.spec for one in others), self.by_name().values())
            known, by_hand = {one.name for one in self._present.all(Drive)}, holding.by_hand(self.by_name().values())
            fault = holding.fault(spec, held, known, self.custody.busy, by_hand)
        if fault is not None:
            raise InvalidInput(fault.message, problems=(fault,), hint=fault.hint)

    def _together(self, verb: Verb, instances: Sequence[Instance], asked: int | None) -> int:
        """As many at a time as are asked for, or as the service's file says of what makes its instances anew."""
        service = self._present.find(Service, instances[0].service) if instances else None
        if service is None or verb in (Verb.STOP, Verb.START):
            return asked or 1
        course = course_by(service.spec, Upgrade(max_unavailable=asked) if asked else None)
        return course.together({one.role_name for one in instances})

    def _touch_images(self, spec: ServiceSpec) -> list[Write]:
        """Writes each image of the spec as it is: of an apply and a removal at the same time one is refused."""
        writes = []
        for digest in sorted({role.image_sha256 for role in spec.roles}):
            image = self._present.find(Image, digest)
            if image is None:
                raise Conflict(f"image {digest[:12]} was removed meanwhile", hint="run: vmrole image ls")
            writes.append(records.put(image))
        return writes

    def _store_templates(self, spec: ServiceSpec) -> None:
        """What the service will name is there before it does: a template may be as large as a commit may be.

        With it goes what nobody names any more. Both under the lock of all who name templates.
        """
        for write in self._present.unstored(spec.roles):
            self._present.commit([write])
        self._forget_templates(spec.roles)

    def _forget_templates(self, but: Sequence[Role] = ()) -> None:
        named = {records.digest(role) for role in but}
        for write in self._present.unused_templates():
            if write.key not in named:
                self._present.commit([write])

    def _forget_old_operations(self) -> list[Write]:
        over = [one for one in self.operations() if one.progress is not Progress.RUNNING]
        forgotten = over[:-OPERATIONS_KEPT][:FORGOTTEN_AT_ONCE]
        return [records.drop(self._present.find(Rollout, one.id) or one) for one in forgotten]

    def _unfold(self, service: str) -> None:
        """Writes the wishes of the instances now, so that whoever asks next sees them, and wakes whom it concerns.

        What a crash or somebody else's write leaves out is written in the service's turn.
        """
        with contextlib.suppress(StaleRevision):
            for name in unfold(self._present, service, self._now_s(), self._capacity.laid, self._capacity.pci):
                self._wake("instance", name)

    @contextlib.contextmanager
    def _waking(self, kind: Noun, *keys: str) -> Iterator[None]:
        """Wakes them in any case: what the store gave no answer to may stand in it."""
        try:
            yield
        finally:
            for key in keys:
                self._wake(kind, key)
