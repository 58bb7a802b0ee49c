"""What there is to watch: what each begins with, and what it wants to hear of from then on.

A beginning may be long, and its reader slow: its messages are encoded one by one as he takes them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from orchestrator.api.frames import Frame, MessageKind, frame
from orchestrator.api.views import view_instance
from orchestrator.control.queries import by_role_and_number
from orchestrator.control.requests import Control
from orchestrator.errors import NotFound
from orchestrator.model import Event, Instance, InstanceName, Progress
from orchestrator.rules import selector

Topic = tuple[Literal["instances", "operation", "events"], str]  # what a watch wants to hear of, and of whom
Told = Literal["instance", "gone", ""]  # "": nothing
Known = Mapping[InstanceName, Instance]  # all instances as all watches have been told of them

AGAIN = frame("again", None)  # what was told before is void


class Lookout(Protocol):
    """Something to watch. Its `topics` stand after `begin`, which may be called again to start over."""

    topics: Sequence[Topic]

    def begin(self, control: Control, known: Known, after: int) -> Iterable[Frame]:
        """How things stand; `after` is the last event that the reader has got."""

    def wants(self, event: Event) -> bool:
        """Whether it wants to hear of an event that is of its topics."""

    def tells(self, before: Instance | None, after: Instance | None) -> Told:
        """As what it wants to hear of an instance of its topics that was, and is, so; None: there is none."""


class EventLookout:
    """The ledger from a number on. A reader that falls more than `most` behind is told of the gap."""

    def __init__(self, subject: str, after: int, most: int) -> None:
        self.topics: Sequence[Topic] = [("events", subject)]
        self._subject = subject
        self._after = after
        self._most = most

    def begin(self, control: Control, known: Known, after: int) -> Iterable[Frame]:  # noqa: ARG002 - the shape
        """See Lookout."""
        self.topics = [("events", control.named(self._subject))]
        after = max(self._after, after)
        events = control.events(self._subject, after, self._most)
        gap = []
        if after and len(events) == self._most:
            told = "older events are left out here; read them with GET /v1/events"
            gap.append(frame("gap", Event(at_s=events[0].at_s, subject=self._subject, message=told)))
        self._after = events[-1].number if events else after
        return itertools.chain(gap, map(frame_of_event, events))

    def wants(self, event: Event) -> bool:
        """See Lookout."""
        return event.number > self._after

    def tells(self, before: Instance | None, after: Instance | None) -> Told:  # noqa: ARG002 - the shape
        """See Lookout."""
        return ""


class InstanceLookout:
    """Instances as they change: first all there are, then "current", then each change; "gone" for removed ones.

    `labels` selects among them; raises InvalidInput.
    """

    def __init__(self, subject: str, labels: str = "") -> None:
        self.topics: Sequence[Topic] = [("instances", subject)]
        self._subject = subject
        self._terms = selector.parse(labels)
        self._begun = False

    def begin(self, control: Control, known: Known, after: int) -> Iterable[Frame]:  # noqa: ARG002 - the shape
        """See Lookout."""
        again = [AGAIN] if self._begun else []
        self._begun = True
        named = control.named(self._subject)
        self.topics = [("instances", named)]
        selected = [one for one in chosen(known, named) if self._selects(one)]
        return itertools.chain(again, _all(selected, control))

    def wants(self, event: Event) -> bool:  # noqa: ARG002 - the shape
        """See Lookout."""
        return False

    def tells(self, before: Instance | None, after: Instance | None) -> Told:
        """See Lookout."""
        if after is not None and self._selects(after):
            return "instance"
        return "gone" if before is not None and self._selects(before) else ""

    def _selects(self, instance: Instance) -> bool:
        return selector.matches(self._terms, dict(instance.goal.role.labels))


class OperationLookout:
    """An operation and the instances that it is about, until it is over."""

    def __init__(self, operation_id: str) -> None:
        self.topics: Sequence[Topic] = [("operation", operation_id)]
        self._id = operation_id
        self._begun = False
        self._names: frozenset[str] = frozenset()

    def begin(self, control: Control, known: Known, after: int) -> Iterable[Frame]:  # noqa: ARG002 - the shape
        """See Lookout."""
        again = [AGAIN] if self._begun else []
        self._begun = True
        try:
            operation = control.operation(self._id)
        except NotFound as error:
            return [*again, frame("end", str(error))]
        self._names = frozenset(name for name, _ in operation.targets)
        self.topics = [("operation", self._id), ("instances", operation.service)]
        targets = [known[name] for name, _ in operation.targets if name in known]
        end = [] if operation.progress is Progress.RUNNING else [frame("end", operation)]
        return itertools.chain(again, [frame("operation", operation)], _all(targets, control), end)

    def wants(self, event: Event) -> bool:  # noqa: ARG002 - the shape
        """See Lookout."""
        return False

    def tells(self, before: Instance | None, after: Instance | None) -> Told:
        """See Lookout."""
        present = after or before
        if present is None or present.name not in self._names:
            return ""
        return "instance" if after else "gone"


def frame_of(instance: Instance, control: Control, kind: MessageKind = "instance") -> Frame:
    """An instance as it is shown."""
    return frame(kind, view_instance(instance, control.service_of(instance)))


def frame_of_event(event: Event) -> Frame:
    """A line of the ledger; a reader goes on after it when he comes again."""
    return frame("event", event, number=event.number)


def _all(instances: Sequence[Instance], control: Control) -> Iterable[Frame]:
    """All there are, and that these are all."""
    ordered = sorted(instances, key=by_role_and_number)
    return itertools.chain((frame_of(one, control) for one in ordered), [frame("current", len(ordered))])


def chosen(known: Known, subject: str) -> list[Instance]:
    """As Control.instances: all, or those of a service, of a role, or the one that is named."""
    if not subject:
        return list(known.values())
    if (instance := known.get(InstanceName(subject))) is not None:
        return [instance]
    return [one for one in known.values() if subject in (one.service, f"{one.role_name}.{one.service}")]


def topics_of(instance: Instance) -> list[Topic]:
    """All topics that an instance is of."""
    role = f"{instance.role_name}.{instance.service}"
    return [("instances", subject) for subject in ("", instance.service, role, instance.name)]


def subjects_of(event: Event) -> set[str]:
    """All subjects that an event belongs to (see ports.Store.events), and the short name that may mean its own."""
    steps = event.subject.split(".")
    subjects = {"", steps[0], *(".".join(steps[first:]) for first in range(len(steps)))}
    name, _, service = event.subject.partition(".")
    role, dash, number = name.rpartition("-")
    if service and dash and number.isdigit():
        subjects.add(f"{role}.{service}")
    return subjects
