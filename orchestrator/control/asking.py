"""What a verb that is asked of instances comes to: the operation, or why it cannot be. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from orchestrator.control import rollout
from orchestrator.errors import Conflict
from orchestrator.model import Instance, Operation, Phase, Verb


def operation(
    verb: Verb,
    subject: str,
    present: Sequence[Instance],
    running: Sequence[Operation],
    *,
    together: int,
    now_s: float,
) -> Operation:
    """The operation over the instances that the subject names, of which `running` are those of their service.

    Raises Conflict when there is none that the verb could be done to.
    """
    chosen = [one for one in present if one.goal.serve]
    if not chosen:
        raise Conflict(f"{subject} is being removed" if present else f"{subject} has no instances")
    if verb is Verb.RESTART:
        _check_restart(subject, chosen)
    switched = chosen if verb in (Verb.STOP, Verb.START) else []
    alone = len(chosen) == 1 and subject in (chosen[0].name, chosen[0].hostname)
    return Operation(
        id=f"{verb}-{uuid.uuid4().hex[:12]}",
        verb=verb,
        subject=chosen[0].name if alone else subject,
        service=chosen[0].service,
        targets=tuple((one.name, rollout.target(verb, one)) for one in chosen),
        storage=tuple(rollout.storage(one) for one in chosen) if verb is Verb.REBUILD else (),
        halts=tuple(rollout.halts(verb, one, running) for one in switched),
        together=together,
        created_at_s=now_s,
    )


def _check_restart(subject: str, chosen: Sequence[Instance]) -> None:
    """Raises Conflict when a restart is nothing for what was chosen."""
    if not any(one.goal.runs for one in chosen):
        raise Conflict(f"{subject} is stopped", hint=f"run: vmrole start {subject}")
    half = [one.name for one in chosen if one.phase is Phase.FAILED and not one.set_up and one.goal.runs]
    if half:
        why_not = f"{', '.join(half)} failed before setup was complete, which no restart makes up for"
        raise Conflict(why_not, hint=f"run: vmrole reimage {half[0]}")
