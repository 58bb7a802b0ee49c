"""What users ask of automation: that it stands still, and goes on. Each request is one commit, as all are."""

from __future__ import annotations

import abc
from collections.abc import Iterator

from orchestrator.control import records, slots
from orchestrator.control.applied import afresh
from orchestrator.control.swapping import Swapping
from orchestrator.errors import InvalidInput, NotFound
from orchestrator.model import SECOND, Event, Service, deployments_of, service_of
from orchestrator.model.standstill import Standstill, key_of


class Pausing(Swapping, abc.ABC):
    """The requests, for a class that applies specs."""

    def standstills(self) -> list[Standstill]:
        """All there are, the host's first."""
        return sorted(self._present.all(Standstill), key=lambda one: one.service)

    @property
    def is_paused(self) -> bool:
        """Whether there is any. Asks nobody."""
        return self._present.has(Standstill)

    @afresh
    def stand_still(self, service: str = "", *, by: int | None = None) -> list[Standstill]:
        """Does nothing by itself to a service, or for "" to any, from now on; what has begun ends first.

        Asking again changes nothing. Returns all standstills. Raises NotFound, InvalidInput.
        """
        with self._applying:  # A service that is there now does not go meanwhile.
            self._check_whole(service)
            asked = Standstill(service=service, since_s=self._clock.now_s(), by=by)
            if self._present.find(Standstill, asked.key) is None:
                who = "" if by is None else f" by uid {by}"
                told = f"{asked.says}{who}: {asked.until}"
                self._present.commit([records.put(asked)], [self._line(asked, told)])
        return self.standstills()

    @afresh
    def go_on(self, service: str = "") -> list[Standstill]:
        """Ends the standstill of a service, or for "" the host's, and no other one; returns what is left of them.

        Asking again changes nothing. Raises NotFound, InvalidInput.
        """
        there = self._present.find(Standstill, key_of(service))
        if there is None:
            self._check_whole(service)
        else:
            keys = list(self._concerned(service))
            instances = [name for one in keys for name in self._present.instances_of(one)]
            operations = [op.id for one in keys for op in self._present.running_operations(one)]
            told = f"automation of {there.whose} goes on"
            with self._waking("instance", *instances), self._waking("operation", *operations):
                self._present.commit([records.drop(there)], [self._line(there, told)])
        return self.standstills()

    def _check_whole(self, service: str) -> None:
        if not service:
            return
        if slots.AT in service or service.endswith(SECOND):
            whole = service_of(service.partition(slots.AT)[0])
            hint = f"write: {whole}"
            raise InvalidInput(f"{service[:80]!r} is one slot: automation is paused of a whole service", hint=hint)
        if not slots.all_deployed(self._present, service):
            raise NotFound(f"there is no service {service[:80]!r}", hint="run: vmrole get services")

    def _concerned(self, service: str) -> Iterator[str]:
        """The deployments that a standstill is about."""
        if service:
            yield from deployments_of(service)
        else:
            yield from (one.name for one in self._present.all(Service))

    def _line(self, about: Standstill, told: str) -> Event:
        return Event(at_s=self._clock.now_s(), subject=about.service or "host", message=told)
