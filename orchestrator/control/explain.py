"""Sentences for people: what an instance waits for, since when, until when, and what came before. Pure."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from orchestrator import lifecycle
from orchestrator.model import Event, Instance, Road, Rollout
from orchestrator.model.cause import TURN
from orchestrator.model.standstill import Standstill
from orchestrator.rules import patience, roads


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OfRevision:
    """Of which revision of a service's file a VM is (0: of none that is kept), and the rollout that runs, if any."""

    number: int
    newest: int
    rollout: Rollout | None
    service: str = ""  # what its user calls it


def why(
    instance: Instance,
    past: Sequence[Event],
    now_s: float,
    behind: OfRevision | None = None,
    still: Standstill | None = None,
    renewed: str = "",
    yet: Sequence[str] = (),
) -> tuple[str, ...]:
    """The sentences of `vmrole why`: the state first, then the deadline, the wish, and the last events. `renewed`:
    what becomes of its checkpoint by itself. `yet`: what has not begun with it, and why.
    """
    at = f"generation {instance.generation}, boot {instance.boot}"
    since = f"since {_clock(instance.phase_since_s)} ({duration(now_s - instance.phase_since_s)} ago)"
    lines = [f"{instance.name} is {instance.phase} ({at}) {since}."]
    lines.append(_reason(instance))
    if instance.cause is not None and instance.cause.whose is not None:
        lines.append(f"{TURN[instance.cause.whose]}.")
    deadline_s = lifecycle.deadline_s(instance)
    if not math.isinf(deadline_s):
        left = f"in {duration(deadline_s - now_s)}" if deadline_s > now_s else "now overdue"
        lines.append(f"This may last until {_clock(deadline_s)} ({left}); then: {_next_rung(instance)}.")
    if instance.held:
        lines.append(f"It is protected: no verb and no healing touches it until: vmrole unprotect {instance.name}.")
    if still is not None:
        since = f" since {_clock(still.since_s)}" if still.since_s else ""
        lines.append(f"{still.says[0].upper()}{still.says[1:]}{since}: {still.until}.")
    if not instance.goal.serve:
        lines.append("Its removal was asked for.")
    elif not instance.goal.runs and not instance.is_off:
        lines.append("Its stop was asked for.")
    elif instance.goal.wanted > instance.at:
        wanted = instance.goal.wanted
        lines.append(f"Asked for: generation {wanted.generation}, boot {wanted.boot}.")
    elif instance.stale:
        lines.append(f"Its VM is not yet what the service file says{_behind(behind)}.")
    lines += yet
    if instance.goal.role.reimage is not Road.COLD and instance.goal.serve:
        lines.append(" ".join(filter(None, (_road(instance, now_s), renewed))))
    if instance.warning:
        lines.append(f"Warning: {instance.warning}.")
    if instance.clock_off_s:
        way = "ahead of" if instance.clock_off_s > 0 else "behind"
        lines.append(f"Its clock is {abs(instance.clock_off_s):.0f} s {way} the host's: nothing is healed for that.")
    if instance.lacks:
        remedy = f"vmrole stop {instance.name}, then vmrole start {instance.name}"
        lines.append(f"Its VM does not have {', '.join(instance.lacks)}, its role's: {remedy}.")
    if instance.agent_fault:
        lines.append(f"Its agent is broken since {_clock(instance.agent_fault_since_s)}: {instance.agent_fault}.")
    if patience.blameless_s(instance, now_s) >= 1:
        until = f"since {_clock(instance.sick_since_s)}" if instance.sick_since_s else "now over"
        told = duration(patience.blameless_s(instance, now_s))
        lines.append(f"For {told} of this phase it could not help waiting ({until}): that time does not count.")
    if instance.failure and not instance.has_failed:
        lines.append(f"The last failure: {instance.failure}.")
    lines += [f"  {_clock(event.at_s)}  {event.message}" for event in past]
    return tuple(lines)


def _road(instance: Instance, now_s: float) -> str:
    """Which road its next reimage takes, as far as records tell: the host is asked when it begins."""
    of = instance.checkpoint
    made = "was made of its image"
    if of and instance.from_checkpoint and of.generation != instance.generation:
        made = "was restored from its checkpoint" if of.memory else "was booted from its checkpoint"
    after = dataclasses.replace(instance, generation=instance.generation + 1, strikes=0)
    chosen = roads.chosen(after, of.fit if of else None, now_s)
    taken = f" Its checkpoint was taken at {_clock(of.taken_at_s)}." if of and chosen.road is not Road.COLD else ""
    if why_not := instance.road.partition(": ")[2]:
        made += f" ({why_not})"
    if taken and chosen.road is Road.WARM and instance.goal.role.checkpoint.memory and instance.memory_on_disk:
        taken += f" Its memory lies on disk: {instance.memory_on_disk}."
    return f"This generation {made}; the next reimage is {chosen}.{taken}"


def _behind(behind: OfRevision | None) -> str:
    """Of which revision its VM is, and what it awaits."""
    if behind is None:
        return ": it awaits a rollout, or: vmrole apply"
    of = f" (revision {behind.number or 'that is no longer kept'}, and {behind.newest} is the newest)"
    match behind.rollout:
        case None:
            return f"{of}: it awaits a rollout: vmrole rollout resume {behind.service}, or undo, or: vmrole apply"
        case Rollout(paused=True):
            return f"{of}: its rollout is paused until: vmrole rollout resume {behind.service}"
        case _:
            return f"{of}: it awaits its turn in the rollout"


def _reason(instance: Instance) -> str:
    if instance.has_failed:
        keeps = f"vmrole restart {instance.name} (keeps everything), or: " if instance.set_up else ""
        again = f"It is tried again at {_clock(instance.again_at_s)}. " if instance.again_at_s else ""
        return f"It failed: {instance.failure}. {again}To try again: {keeps}vmrole reimage {instance.name}."
    if instance.phase.traits.is_leased:
        until = f"until its lease ends, and is made anew then: vmrole lease end {instance.goal.lease}"
        return f"A client has it {until}." if instance.leased else "Its lease has ended, and it is made anew."
    if instance.is_off and not instance.goal.runs:
        anew = instance.going or not instance.set_up
        how = "it is made anew then" if anew else "it boots then, as it is"
        return f"It was stopped, and nothing starts or heals it until: vmrole start {instance.name} ({how})."
    if instance.serving and not instance.waiting:
        where = "is in rotation" if instance.goal.role.endpoints else "serves, is in no rotation"
        return f"It {where} and waits for nothing."
    waiting = instance.waiting or lifecycle.TABLE[instance.phase].words
    return f"It waits: {waiting}."


def _next_rung(instance: Instance) -> str:
    here, rung = instance.phase.traits, lifecycle.heal(instance).traits
    if rung.restarts:
        return "it is restarted"
    if rung.leaves:
        return "it is reimaged"
    if here.ends:
        return "it is failed, and tried again later"
    if here.boots and instance.by_request:
        return "it is failed, keeps everything, and is looked at again; its restart was asked for"
    if instance.only_probe:
        return "it is failed and looked at again; only a probe speaks against it, so it is not reimaged"
    return "it is failed and left to you"


def duration(seconds: float) -> str:
    """A length of time as people say it: '0.4 s', '42 s', '3 min 5 s', '2 h 10 min'."""
    whole = int(seconds)
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _clock(at_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at_s))
