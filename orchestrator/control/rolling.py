"""What users ask of rollouts: back, a pause, on, the next domain. Each request is one commit, as all are."""

from __future__ import annotations

import abc
import contextlib
import threading
from dataclasses import replace

from orchestrator.control import records, revisions
from orchestrator.control.applied import Applied, Author, afresh
from orchestrator.control.loop import Noun
from orchestrator.control.queries import Queries
from orchestrator.control.walking import course_of
from orchestrator.errors import Conflict
from orchestrator.model import Event, Image, Progress, Rollout, ServiceSpec
from orchestrator.rules import rollout as rules
from orchestrator.servicefile.resolution import SecretFault


class Rolling(Queries, abc.ABC):
    """The requests about rollouts, for a class that applies specs."""

    _applying: threading.Lock
    _secret_fault: SecretFault

    @abc.abstractmethod
    def _apply_spec(self, spec: ServiceSpec, dry_run: bool, expected: int | None, author: Author) -> Applied:
        """Records the service, under the lock; see `Control.apply_spec`."""

    @abc.abstractmethod
    def _waking(self, kind: Noun, *keys: str) -> contextlib.AbstractContextManager[None]:
        """Wakes whom a commit concerns."""

    @afresh
    def undo(
        self,
        service: str,
        *,
        to: int | None = None,
        dry_run: bool = False,
        expected: int | None = None,
        by: int | None = None,
        by_itself: bool = False,
    ) -> Applied:
        """Applies an old revision of the service's file again, the one before the last for None, as a new one.

        A number of instances that somebody has scaled to since the last file stays. Supersedes a rollout that runs.
        One that goes back `by_itself` removes no instance.
        Raises NotFound, Conflict when the revision's image is gone, and what `apply_spec` does.
        """
        with self._applying:
            before = self.service(service)
            known = self.revisions(service)
            wanted = revisions.to_restore(known, to)
            revisions.check_whole(wanted, lambda digest: self._present.find(Image, digest), self._secret_fault)
            spec = revisions.restored(known, wanted, before.spec, by_itself=by_itself)
            revision = before.revision if expected is None else expected
            return self._apply_spec(spec, dry_run, revision, Author(uid=by, restores=wanted.number))

    @afresh
    def pause(self, service: str) -> Rollout:
        """Begins no further instance of the rollout that runs until it is resumed; who is under way goes on.

        Asking again changes nothing. Raises NotFound, or Conflict when there is none that runs.
        """
        running = self._running_rollout(service)
        if running is None:
            raise Conflict(
                f"no rollout of service {service} is running", hint=f"ask: vmrole rollout status {service}"
            )
        return running if running.paused else self._set_paused(running, on=True)

    @afresh
    def resume(self, service: str, *, by: int | None = None) -> Rollout:
        """Goes on with the rollout that is paused; what a halted one has left to do becomes another rollout.

        Asking again changes nothing. Raises NotFound, or Conflict when there is nothing to go on with.
        """
        with self._applying:
            running = self._running_rollout(service)
            if running is not None:
                return self._set_paused(running, on=False) if running.paused else running
            before = self.service(service)
            applied = self._apply_spec(before.spec, False, before.revision, Author(uid=by, resumes=True))
        rollout = self._present.find(Rollout, applied.operation.id) if applied.operation else None
        if rollout is None:
            why_not = f"no rollout of service {service} is paused or has left anything to do"
            raise Conflict(why_not, hint=f"ask: vmrole rollout status {service}")
        return rollout

    @afresh
    def next_domain(self, service: str) -> Rollout:
        """Lets the next domain of a manual rollout go.

        Raises NotFound, or Conflict when none waits for that: it goes by itself, is paused, or has some under way.
        """
        running = self._running_rollout(service)
        hint = f"ask: vmrole rollout status {service}"
        if running is None:
            raise Conflict(f"no rollout of service {service} is running", hint=hint)
        course = course_of(running, self._present)
        operation, instances = running.operation, self._present.instances_of(running.service)
        name, let_go = rules.release(operation, instances, course, self._clock.now_s())
        told = f"{name} of the rollout to revision {running.to_revision} may go"
        event = Event(at_s=self._clock.now_s(), subject=running.service, message=told)
        after = running.at(let_go)
        with self._waking("operation", running.id):
            revision = self._present.commit([records.put(after)], [event])
        return replace(after, revision=revision)

    def _running_rollout(self, service: str) -> Rollout | None:
        return next((one for one in self.rollouts(service) if one.progress is Progress.RUNNING), None)

    def _set_paused(self, rollout: Rollout, *, on: bool) -> Rollout:
        told = f"the rollout to revision {rollout.to_revision} is {'paused' if on else 'resumed'}"
        event = Event(at_s=self._clock.now_s(), subject=rollout.service, message=told)
        walk = (
            rollout.walk if on else replace(rollout.walk, asks=False, judged=rollout.walk.judged or rollout.walk.asks)
        )
        after = replace(rollout, paused=on, walk=walk)
        with self._waking("operation", rollout.id):
            revision = self._present.commit([records.put(after)], [event])
        return replace(after, revision=revision)
