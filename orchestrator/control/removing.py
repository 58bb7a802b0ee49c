"""What users ask to be gone: services with all that they have, and what of them cannot be read any more."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.control import asides, asking, records, slots
from orchestrator.control.applied import afresh
from orchestrator.control.leavings import still_there
from orchestrator.control.lending import Lending
from orchestrator.model import Event, Service, ServiceSpec
from orchestrator.ports import Write


class Removing(Lending, abc.ABC):
    """The requests, for a class that applies specs."""

    @abc.abstractmethod
    def _store_templates(self, spec: ServiceSpec) -> None:
        """Has the templates that the service names stored, under the lock."""

    @abc.abstractmethod
    def _unfold(self, service: str) -> None:
        """Writes the wishes of the service's instances."""

    @afresh
    def remove(self, service: str, *, expected: int | None = None, forgets: bool = False) -> Service:
        """Asks for the removal of a service with all its instances, SERVICE@SLOT for one of its deployments alone;
        asking again changes nothing. What cannot be read of its instances keeps it there, until it can be, or
        `forgets`: their records go now, and their VMs, where there are any, are shut down.

        Raises NotFound, and StaleRevision when it is no longer at the revision that the caller has read.
        """
        there = slots.to_remove(self._present, service)
        asking.expect(there[0], expected, service)
        if forgets:
            self._forget_unread(there)
        going = [one for one in there if not one.removing]
        if not going:
            return there[0]
        told = [Event(at_s=self._clock.now_s(), subject=one.name, message="deletion was asked for") for one in going]
        with self._applying:
            for one in going:
                asking.check_removal(self._present.instances_of(one.name).values())
                self._store_templates(one.spec)
            with self._waking("service", *(one.name for one in going)):
                writes = [records.put(replace(one, removing=True)) for one in going]
                revision = self._present.commit(writes, told)
                for one in going:
                    self._unfold(one.name)
        return replace(there[0], removing=True, revision=revision)

    def held_up(self, service: Service) -> str:
        """Why the service does not go, though its removal was asked for; "" when nothing but its turns is lacking."""
        unread = asides.instances_of(self._present.set_aside(), service.name) if service.removing else []
        return still_there(unread) if unread else ""

    def _forget_unread(self, services: Sequence[Service]) -> None:
        unread = [one for of in services for one in asides.instances_of(self._present.set_aside(), of.name)]
        now_s = self._clock.now_s()
        for one in unread:
            there = [self._store.get(kind, one.key) for kind in (records.WISH, records.STATE, records.FIRST_INSTANCE)]
            writes = [Write(document.kind, document.key, None, document.revision) for document in there if document]
            told = "its record, which cannot be read, was forgotten, as was asked for; its VM is shut down"
            self._present.commit(writes, [Event(at_s=now_s, subject=one.key, message=told)])
        with self._waking("service", *(one.name for one in services)):
            pass
