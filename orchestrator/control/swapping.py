"""The swap: what is in production and what is in staging change places, in one commit."""

from __future__ import annotations

import abc
from dataclasses import replace

from orchestrator.control import records, slots
from orchestrator.control.applied import afresh
from orchestrator.control.rolling import Rolling
from orchestrator.errors import NotFound
from orchestrator.model import Event, Progress, Service
from orchestrator.rules import swap as rules


class Swapping(Rolling, abc.ABC):
    """The request, for a class that applies specs."""

    @afresh
    def swap(self, service: str, *, force: bool = False) -> list[Service]:
        """Exchanges the slots of a service's deployments, and with them their VIPs; no instance is touched.

        The front follows in the turns that this wakes. Returns what there is, production first. Raises NotFound, and
        Conflict where clients would notice, unless `force`: nothing in staging, or nobody there who serves.
        """
        with self._applying:
            there = slots.all_deployed(self._present, service)
            if not there:
                raise NotFound(f"there is no service {service[:80]!r}", hint="run: vmrole get services")
            rules.check(service, [self._deployed(one) for one in there], force=force)
            after = rules.exchanged(there)
            told = [
                Event(at_s=self._clock.now_s(), subject=one.name, message=f"swapped: it is in {one.slot} now")
                for one in after
            ]
            with self._waking("service", *(one.name for one in after)):
                revision = self._present.commit([records.put(one) for one in after], told)
        return sorted((replace(one, revision=revision) for one in after), key=lambda one: one.slot)

    def _deployed(self, service: Service) -> rules.Deployed:
        rolls = any(one.progress is Progress.RUNNING for one in self._present.rollouts_of(service.name))
        return rules.Deployed(
            service=service, instances=self._present.instances_of(service.name).values(), rolls=rolls
        )
