"""The records of now, decoded once and indexed: what everybody reads, and writes through.

Fed by the store's changes; nobody else lists documents. A look costs what has changed since the last one; a record is
decoded when it changes, and every reader gets the same frozen object. What this version cannot read is set aside with
a word and stops nothing else. Thread-safe: a reader sees everything that was committed before it asked.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from orchestrator.control import asides, indexes, other_versions, records
from orchestrator.control.asides import SetAside
from orchestrator.control.records import Record
from orchestrator.control.template_uses import TemplateUses
from orchestrator.control.touched import Departed, Touched
from orchestrator.control.wards import Wards
from orchestrator.errors import NotFound, Permanent
from orchestrator.model import (
    Event,
    Frontend,
    Image,
    Instance,
    InstanceName,
    Lease,
    Operation,
    Progress,
    Revision,
    Role,
    Rollout,
    Service,
    Unknown,
)
from orchestrator.model.drive import Drive
from orchestrator.model.standstill import Standstill
from orchestrator.model.token import Token
from orchestrator.ports import Check, Document, Store, Write
from orchestrator.rules.frontends import Faced, faced_of, frontends_of

log = logging.getLogger(__name__)

R = TypeVar("R", Image, Service, Revision, Instance, Operation, Rollout, Token, Standstill, Drive, Lease)


class Present:
    """All records as they stand. `decoded` counts what has been decoded since the start, for those who measure."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.unfolding = threading.Lock()  # held by who gives out addresses
        self._seen = -1  # the revision up to which everything is in here
        self._records: dict[str, dict[str, Record]] = {}
        self._templates: dict[str, Role] = {}
        self._template_revisions: dict[str, int] = {}
        self._halves: dict[str, dict[str, Document]] = {records.WISH: {}, records.STATE: {}}
        self._set_aside: dict[tuple[str, str], SetAside] = {}
        self._shadows: dict[str, Instance] = {}  # instances set aside, as far as their wishes can be read
        self._departed = Departed()
        self._wards = Wards()
        self._of_service: dict[str, dict[InstanceName, Instance]] = {}
        self._called: dict[str, dict[InstanceName, Instance]] = {}  # by host name, "web-0"
        self._running: dict[str, dict[str, Operation]] = {}
        self._revisions: dict[str, dict[str, Revision]] = {}
        self._rollouts: dict[str, dict[str, Rollout]] = {}
        self._rolling: dict[str, Record] = {}  # the operation that each rollout is
        self._leases: dict[str, dict[str, Lease]] = {}
        self._uses = TemplateUses()
        self._later: dict[tuple[str, str], Unknown] = {}  # what a newer version has put into which document
        self._endpoints: dict[str, tuple[Frontend, ...]] = {}  # of each service
        self._faced: Faced | None = None  # until a service changes, or the last instance of one that goes
        self.decoded = 0

    # Reading

    def find(self, of: type[R], key: str) -> R | None:
        """The record, or None; raises Permanent when there is one that cannot be read."""
        self._look()
        kind = records.kind_of(of)
        record = self._records.get(kind, {}).get(key) or (self._rolling.get(key) if of is Operation else None)
        if record is None and (aside := self._set_aside.get((kind, key))):
            raise Permanent(str(aside), hint=aside.hint)
        return record if isinstance(record, of) else None

    def load(self, of: type[R], key: str) -> R:
        """The record; raises NotFound."""
        record = self.find(of, key)
        if record is None:
            kind = records.kind_of(of)
            raise NotFound(f"there is no {kind} {key[:80]!r}", hint=f"run: vmrole get {kind}s")
        return record

    def all(self, of: type[R]) -> list[R]:
        """All records of the type, by key. O(their number): for lists that a person reads, and for the start."""
        self._look()
        return self._all(of)

    def _all(self, of: type[R]) -> list[R]:
        present = {**self._records.get(records.kind_of(of), {}), **(self._rolling if of is Operation else {})}
        return [record for _, record in sorted(present.items()) if isinstance(record, of)]

    def has(self, of: type[R]) -> bool:
        """Whether there is a record of the type, as far as it is known already: asks nobody, waits for nothing."""
        return bool(self._records.get(records.kind_of(of)))

    def instances(self) -> dict[InstanceName, Instance]:
        """All instances by name, in no order: what a copy costs, and no more."""
        self._look()
        return cast("dict[InstanceName, Instance]", self._records.get("instance", {}).copy())

    def instances_of(self, service: str) -> Mapping[InstanceName, Instance]:
        """The instances of one service, by name."""
        self._look()
        return dict(self._of_service.get(service, {}))

    def shadows_of(self, service: str) -> Mapping[InstanceName, Instance]:
        """Instances that are set aside for their state, as if they had none: what was given out to them is theirs."""
        self._look()
        return {shadow.name: shadow for shadow in list(self._shadows.values()) if shadow.service == service}

    def wards(self) -> Wards:
        """The instances as the rules of healing see them."""
        self._look()
        return self._wards

    def instances_called(self, hostname: str) -> Sequence[Instance]:
        """The instances of all services that have this host name, "web-0"."""
        self._look()
        return list(self._called.get(hostname, {}).values())

    def running_operations(self, service: str) -> Sequence[Operation]:
        """The operations of a service that are not over, oldest first."""
        self._look()
        return sorted(self._running.get(service, {}).copy().values(), key=lambda one: (one.created_at_s, one.id))

    def revisions_of(self, service: str) -> Sequence[Revision]:
        """The revisions that are stored under a service's name, in no order."""
        self._look()
        return list(self._revisions.get(service, {}).values())

    def rollouts_of(self, service: str) -> Sequence[Rollout]:
        """The rollouts that are stored of services of a name, in no order."""
        self._look()
        return list(self._rollouts.get(service, {}).values())

    def leases_of(self, service: str) -> Sequence[Lease]:
        """The leases of a service, and who waits for one, in no order."""
        self._look()
        return list(self._leases.get(service, {}).values())

    def faced(self) -> Sequence[Service]:
        """The services that clients see, by name: also one that goes, while it has instances, readable or not."""
        return self._those_faced().services

    def frontends(self) -> Sequence[Frontend]:
        """Every endpoint of the services that clients see: the same tuple until a service changes."""
        return self._those_faced().frontends

    def vips(self) -> Mapping[str, tuple[str, ...]]:
        """Whose each virtual address is, of those services: the same mapping until a service changes."""
        return self._those_faced().vips

    def _those_faced(self) -> Faced:
        """Made once: every turn of a service asks for it, and it is as long as there are services."""
        self._look()
        with self._lock:
            if self._faced is None:
                services = self._all(Service)
                lost = set(map(asides.service_of, self._set_aside.values()))
                lost |= self._of_service.keys()
                there = [one for one in services if not one.removing or one.name in lost]
                self._faced = faced_of(there, self._endpoints)
            return self._faced

    def touched(self, after: int) -> Touched | None:
        """What was written after a revision. O(the changes); None when that is too long ago to be remembered."""
        now, changes = self._store.revision(), self._store.changes(after)
        if changes is None:
            return None
        self._look()
        names = {InstanceName(change.key): None for change in changes if change.kind in self._halves}
        ids = {change.key: None for change in changes if change.kind in (records.OPERATION, records.ROLLOUT)}
        instances, operations = (self._records.get(kind, {}) for kind in ("instance", records.OPERATION))
        stand = {name: indexes.narrowed(Instance, instances.get(name)) for name in names}
        return Touched(
            revision=max([now, *(change.revision for change in changes)]),
            instances=stand,
            departed=self._departed.of(name for name, instance in stand.items() if instance is None),
            operations={of: indexes.narrowed(Operation, self._rolling.get(of) or operations.get(of)) for of in ids},
        )

    def set_aside(self) -> Sequence[SetAside]:
        """What cannot be read, by kind and key."""
        self._look()
        return [aside for _, aside in sorted(self._set_aside.items())]

    def unsized(self) -> set[tuple[str, str]]:
        """The documents, by kind and key, that name a template which cannot be read. O(their number)."""
        self._look()
        with self._lock:
            return self._uses.lacking(self._templates)

    def unstored(self, roles: Sequence[Role]) -> list[Write]:
        """The writes that store those of the templates that are not stored yet, each once."""
        self._look()
        wanted = {records.digest(role): role for role in roles}
        return [records.put_template(role) for key, role in wanted.items() if key not in self._templates]

    def unused_templates(self) -> list[Write]:
        """The writes that forget the templates that nobody names; none while what may name any cannot be read."""
        self._look()
        with self._lock:  # While changes are taken in, one may be named by nobody for a moment.
            if any(kind not in records.NAMELESS for kind, _ in self._set_aside):
                return []
            stored = self._template_revisions.items()
            return [Write(records.TEMPLATE, key, None, at) for key, at in stored if not self._uses.is_used(key)]

    def commit(self, writes: Sequence[Write], events: Sequence[Event] = (), *, checks: Sequence[Check] = ()) -> int:
        """See ports.Store.commit. What a newer version has put into a record stays in it."""
        self._look()
        whole = [self._with_later(write) for write in writes] if self._later else writes
        return self._store.commit(whole, events, checks=checks)

    def _with_later(self, write: Write) -> Write:
        later = self._later.get((write.kind, write.key))
        if write.body is None or not later:
            return write
        return dataclasses.replace(write, body=records.with_unknown(dict(write.body), later))

    # Keeping up

    def _look(self) -> None:
        """Takes in what was committed since the last look."""
        if self._store.revision() == self._seen:
            return
        with self._lock:
            now = self._store.revision()
            if now == self._seen:
                return
            changes = self._store.changes(self._seen) if self._seen >= 0 else None
            if changes is None:
                self._read_everything()
            else:
                self._take({(one.kind, one.key): one.document for one in changes})
                now = max([now, *(one.revision for one in changes)])
            self._seen = now

    def _read_everything(self) -> None:
        """At the start, and when the store does not remember so far back."""
        gone = {(kind, key) for kind, of_kind in self._records.items() for key in of_kind if kind != "instance"}
        gone |= {(kind, key) for kind, half in self._halves.items() for key in half}
        documents: dict[tuple[str, str], Document | None] = dict.fromkeys(gone)
        for document in self._store.damaged():
            documents[document.kind, document.key] = document
        for kind in (*records.KINDS, records.FIRST_INSTANCE):
            documents |= {(kind, document.key): document for document in self._store.all(kind)}
        self._take(documents)

    def _take(self, documents: Mapping[tuple[str, str], Document | None]) -> None:
        """Puts documents, or their absence, into the present: templates first, for the others name them."""
        for (kind, key), document in documents.items():
            if kind == records.TEMPLATE:
                self._take_template(key, document)
        halves: dict[str, None] = {}
        for (kind, key), document in documents.items():
            self._uses.count((kind, key), document)
            if kind in self._halves:
                halves[key] = None
                if document is None:
                    self._halves[kind].pop(key, None)
                else:
                    self._halves[kind][key] = document
            elif kind in records.KINDS and kind != records.TEMPLATE:
                record = records.decode(document, self._templates) if document else None
                self._note_later(kind, key, record, document)
                self._put(kind, key, record)
            elif document is not None and (document.damage or kind == records.FIRST_INSTANCE):
                self._set_aside[kind, key] = asides.unread(document)
            elif document is None and self._set_aside.pop((kind, key), None) is not None:
                self._faced = None
        for key in halves:
            wish, state = (self._halves[kind].get(key) for kind in (records.WISH, records.STATE))
            instance = records.decode_instance(wish, state, self._templates) if wish else None
            self._note_later(records.WISH, key, instance, wish)
            self._note_later(records.STATE, key, instance, state)
            if wish is None and state is not None:
                instance = SetAside("instance", key, "nothing is left of what was wished of it", state.body)
            self._put("instance", key, instance)
            shadow = records.shadow(wish, self._templates) if wish and isinstance(instance, SetAside) else None
            if isinstance(shadow, Instance):
                self._shadows[key] = shadow
            else:
                self._shadows.pop(key, None)

    def _note_later(self, kind: str, key: str, record: Record | SetAside | None, document: Document | None) -> None:
        self._later.pop((kind, key), None)
        if document is None or record is None or isinstance(record, SetAside):
            return
        if later := other_versions.unknown(record, document.body):
            self._later[kind, key] = later

    def _take_template(self, key: str, document: Document | None) -> None:
        self._set_aside.pop((records.TEMPLATE, key), None)
        match records.decode_template(document) if document else None:
            case None:
                self._templates.pop(key, None)
                self._template_revisions.pop(key, None)
            case SetAside() as aside:
                self._set_aside[records.TEMPLATE, key] = aside
                log.error("%s", aside)
            case Role() as role:
                self.decoded += 1
                self._templates[key] = role
                self._template_revisions[key] = document.revision if document else 0

    def _put(self, kind: str, key: str, after: Record | SetAside | None) -> None:
        """Puts a record in the place of the one before it, in the indexes as well.

        Where there is one before and after, there is one all the while: readers do not wait for this.
        """
        of_kind = self._records.setdefault(kind, {})
        before = of_kind.get(key)
        if isinstance(after, SetAside):
            log.error("%s", after)
            self._set_aside[kind, key], after = after, None
            self._faced = None
        elif self._set_aside.pop((kind, key), None) is not None:
            self._faced = None
        if kind == "instance":
            self._wards.put(InstanceName(key), after if isinstance(after, Instance) else None)
        if before is not None and (after is None or indexes.group(before) != indexes.group(after)):
            self._unlist(before)
        if after is None:
            if isinstance(before, Instance):
                self._departed.add(before)
            of_kind.pop(key, None)
            return
        self.decoded += 1
        of_kind[key] = after
        self._list(after)

    def _list(self, record: Record) -> None:
        match record:
            case Service():
                self._endpoints[record.name] = frontends_of(record)
                self._faced = None
            case Instance():
                self._of_service.setdefault(record.service, {})[record.name] = record
                self._called.setdefault(record.hostname, {})[record.name] = record
                self._come_or_gone(record)
            case Operation():
                self._list_running(record)
            case Revision():
                self._revisions.setdefault(record.service, {})[record.key] = record
            case Rollout():
                self._rollouts.setdefault(record.service, {})[record.id] = record
                self._rolling[record.id] = record.operation
                self._list_running(record.operation)
            case Lease():
                self._leases.setdefault(record.service, {})[record.id] = record
            case _:
                pass

    def _list_running(self, operation: Operation) -> None:
        if operation.progress is Progress.RUNNING:
            self._running.setdefault(operation.service, {})[operation.id] = operation
        else:
            indexes.remove(self._running, operation.service, operation.id)

    def _unlist(self, record: Record) -> None:
        match record:
            case Service():
                del self._endpoints[record.name]
                self._faced = None
            case Instance():
                indexes.remove(self._of_service, record.service, record.name)
                indexes.remove(self._called, record.hostname, record.name)
                self._come_or_gone(record)
            case Operation():
                indexes.remove(self._running, record.service, record.id)
            case Revision():
                indexes.remove(self._revisions, record.service, record.key)
            case Rollout():
                indexes.remove(self._rollouts, record.service, record.id)
                indexes.remove(self._running, record.service, record.id)
                del self._rolling[record.id]
            case Lease():
                indexes.remove(self._leases, record.service, record.id)
            case _:
                pass

    def _come_or_gone(self, instance: Instance) -> None:
        """Clients see a service that goes as long as it has instances."""
        service = self._records.get(records.kind_of(Service), {}).get(instance.service)
        if isinstance(service, Service) and service.removing:
            self._faced = None
