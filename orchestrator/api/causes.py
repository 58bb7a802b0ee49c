"""Why an instance waits or has failed, as the API shows it to scripts."""

from __future__ import annotations

import dataclasses

from orchestrator.errors import Whose
from orchestrator.model import Instance
from orchestrator.model.cause import Kind


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CauseView:
    """What is the matter with an instance, for scripts; people read `waiting` and `failure`."""

    kind: Kind
    whose: Whose | None  # with whom it lies, and so whose turn it is; null: not known
    subject: str  # what it is about: the instance, or services, other instances, a role


def view_cause(instance: Instance) -> CauseView | None:
    """The cause of its failure where it has failed, else of its waiting; None: it waits for nothing."""
    cause = instance.cause
    return CauseView(kind=cause.kind, whose=cause.whose, subject=cause.about or instance.name) if cause else None
