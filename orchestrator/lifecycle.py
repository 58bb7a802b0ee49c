"""The lifecycle of an instance, on one screen: the table, where a finished phase leads, and what a goal changes.

The words are the seed document's, "Manage the Lifecycle of VM Role Instances in Windows Azure" (2011).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import replace

from orchestrator.model import Cause, Instance, Phase, Seat
from orchestrator.model.cause import Kind
from orchestrator.ports import Machine
from orchestrator.rules import patience, roads
from orchestrator.rules.healing import Leave, Reimage, Restart
from orchestrator.steps import anew, checkpoints, draining, farewell, health, leased
from orchestrator.steps import phases as steps
from orchestrator.steps.outcomes import Outcome

MINUTE = 60.0
FOREVER = math.inf
REIMAGES_KEPT = 12  # times of an instance: with their pauses, there are no more within an hour
ROOM_S = 2 * MINUTE  # for what we do ourselves around a guest's shutdown


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """While in a phase: `do` this until it is done, within `within_s` seconds, then go to (one of) `then`. `anew`: what
    of the record begins anew as it is entered, besides what does so in every phase.
    """

    do: Callable[[Instance, Machine, Seat | None], Outcome]
    within_s: float | Callable[[Instance], float]
    then: tuple[Phase, ...]
    words: str
    anew: Callable[[Instance], Instance] | None = None


P = Phase
# fmt: off
TABLE: dict[Phase, Line] = {
    P.REQUESTED:  Line(steps.lay_overlay,    2 * MINUTE, (P.LAYERED, P.RESTORING), "creates an additional, ephemeral VHD that it can write to", anew.generation),
    P.LAYERED:    Line(steps.write_answers,  1 * MINUTE, (P.ANSWERED,),   "information provided in the answer file"),
    P.ANSWERED:   Line(steps.start_vm,       2 * MINUTE, (P.SETUP,),      "creates a virtual machine and starts the operating system for the first time"),
    P.SETUP:      Line(steps.watch_setup,    lambda i: i.goal.role.setup.within_s,
                                                         (P.STARTING,),   "restarts automatically to complete the setup process"),
    P.STARTING:   Line(steps.await_services, lambda i: i.goal.role.ready.within_s,
                                                         (P.READY, P.SAVING), "auto-start services are started", anew.setup_complete),
    P.SAVING:     Line(checkpoints.save,     lambda i: 5 * MINUTE + patience.memory_moves_s(i) + patience.stop_within_s(i),
                                                         (P.RESTORING, P.STARTING), "what it is now is kept, for reimages to begin with", anew.setup_lost),
    P.RESTORING:  Line(checkpoints.restore,  lambda i: 5 * MINUTE + checkpoints.TRIES * patience.memory_moves_s(i),
                                                         (P.STARTING, P.LAYERED), "goes on from what was kept"),
    P.READY:      Line(steps.join_pool,      lambda i: 2 * MINUTE + patience.first_check_s(i),
                                                         (P.SERVING, P.STARTING), "brings the instance into load balancer rotation"),
    P.SERVING:    Line(health.watch_health,  FOREVER,    (P.DRAINING,),   "it begins receiving traffic", anew.request),
    P.DRAINING:   Line(draining.drain,       lambda i: i.goal.role.drain_s + MINUTE,
                                                         (P.STARTING, P.LEASED, P.RESTARTING, P.HALTING, P.STOPPING), "leaves the rotation; open connections finish", anew.warning),
    P.LEASED:     Line(leased.stay,          FOREVER,    (P.STOPPING,),   "one client has it, until his lease ends", anew.agent),
    P.RESTARTING: Line(farewell.first(steps.restart_guest),
                                         lambda i: patience.asked_after_s(i) + patience.stop_within_s(i) + patience.restart_within_s(i),
                                                         (P.STARTING,),   "can be restarted any number of times; all data persists", anew.boot),
    P.HALTING:    Line(farewell.first(steps.stop_vm),
                                         lambda i: patience.asked_after_s(i) + patience.stop_within_s(i) + ROOM_S,
                                                         (P.STOPPED,),    "the virtual machine is shut down, and kept", anew.warning),
    P.STOPPED:    Line(steps.stay_off,       FOREVER,    (P.HALTING, P.RESTARTING, P.STOPPING), "it is off until somebody starts it", anew.agent),
    P.STOPPING:   Line(farewell.first(steps.stop_vm),
                                         lambda i: patience.asked_after_s(i) + patience.stop_within_s(i) + ROOM_S,
                                                         (P.ERASING,),    "the virtual machine is shut down", anew.warning),
    P.ERASING:    Line(steps.erase,          2 * MINUTE, (P.REQUESTED, P.STOPPED, P.GONE), "all state that has not been persisted is lost", anew.setup_lost),
    P.FAILED:     Line(steps.keep_evidence,  FOREVER,    (P.STOPPING, P.RESTARTING, P.STARTING, P.HALTING), "keeps the evidence until someone acts", anew.agent),
    P.GONE:       Line(steps.nothing,        FOREVER,    (P.REQUESTED,),  "nothing is left", anew.agent),
}
# fmt: on


def entered(seen: Instance, phase: Phase, now_s: float) -> Instance:
    """The record as it enters the phase: what begins anew in each, and what the table says of this one."""
    begin = TABLE[phase].anew
    return anew.phase(begin(seen) if begin else seen, phase, now_s)


def onward(instance: Instance) -> Phase:
    """Where the finished phase leads. Draining and erasing have a choice, and the goal makes it; what has started for
    the first time is kept before it is ready, where its reimages shall begin with that.
    """
    match instance.phase:
        case P.DRAINING:
            return _calls_for(instance) or P.STARTING
        case P.ERASING if not instance.goal.serve:
            return P.GONE
        case P.ERASING:
            return P.REQUESTED if instance.goal.runs else P.STOPPED
        case P.STARTING if roads.awaits_checkpoint(instance):
            return P.SAVING
        case phase:
            return TABLE[phase].then[0]


def detour(instance: Instance) -> Phase | None:
    """The phase that the goal calls for instead of finishing the present one; None = go on.

    What may be in a pool is drained first; what is leaving already goes on leaving, and what is being shut down goes
    off before it is started again.
    """
    if instance.phase is P.GONE:
        return P.REQUESTED if instance.goal.serve else None
    called_for = _calls_for(instance)
    if called_for is None or instance.phase.traits.leaves or instance.phase in (P.DRAINING, called_for):
        return None
    if instance.phase in (P.READY, P.SERVING):
        return P.DRAINING
    if instance.phase is P.HALTING and called_for is not P.STOPPING:
        return None
    if called_for is P.RESTARTING and not instance.set_up:
        return None  # A setup is never disturbed, nor what has failed in it; its own restart may fulfil the wish.
    return called_for


def deadline_s(instance: Instance) -> float:
    """When the phase is overdue, in seconds since the epoch; infinity for a phase that has no end of its own, and while
    the instance cannot help waiting.
    """
    if instance.sick_since_s:
        return FOREVER
    within_s = TABLE[instance.phase].within_s
    return instance.phase_since_s + instance.sick_s + (within_s(instance) if callable(within_s) else within_s)


def _calls_for(instance: Instance) -> Phase | None:
    """What is stopped takes a reimage that is asked for when it is started, and a removal at once."""
    here = instance.phase.traits
    if instance.held:
        return None
    if instance.leased and instance.goal.serve and (here.serves or here.drains or here.is_leased):
        return P.LEASED
    if here.is_leased or (instance.spent and not here.is_off):  # Nobody gets what somebody else has had.
        return P.STOPPING
    if instance.goal.serve and not instance.goal.runs:
        return None if instance.phase is P.STOPPED else P.HALTING
    if instance.going:
        return P.STOPPING
    if instance.phase is P.STOPPED:  # Half a setup is worth nothing: what was stopped in it begins anew.
        return P.RESTARTING if instance.set_up else P.STOPPING
    return P.RESTARTING if instance.restart_asked else None


def heal(instance: Instance) -> Phase:
    """The healing ladder, for an instance that failed or is overdue: restart, then reimage, then leave it to a human.

    A setup is never restarted from outside: half a setup is worth nothing, so it goes straight to a reimage.
    What fails while stopping or erasing cannot be healed by more of the same. A restart or start that somebody asked
    for keeps everything until it serves: what is done next is his to say. Where a probe alone speaks against it, the
    cause may well lie elsewhere, and no reimage follows the restart.
    """
    here = instance.phase.traits
    if here.ends or (here.restarts and instance.restart_asked):
        return P.FAILED
    if instance.by_request and here.boots:
        return P.FAILED
    rung = max(instance.strikes, 0 if instance.set_up else 1)
    if instance.only_probe and rung:
        return P.FAILED
    return (P.RESTARTING, P.STOPPING, P.FAILED)[min(rung, 2)]


def struck(
    instance: Instance, cause: Cause, now_s: float, taken: Restart | Reimage | Leave
) -> tuple[Instance, Phase]:
    """One rung up the ladder: the record as the failure leaves it, and the phase that follows."""
    here, phase = instance.phase.traits, _led_to(taken)
    leave, reimaged = isinstance(taken, Leave) and taken.again, phase is P.STOPPING
    rung = 2 if reimaged else instance.strikes + 1
    left = replace(instance, strikes=rung, failed_by=cause, set_up=instance.set_up and not reimaged)
    if phase is not P.FAILED:
        left = replace(left, healed_at_s=now_s)
    if reimaged:
        left = reimaged_at(left, now_s)
    if phase is P.FAILED and instance.restart_asked:  # It was tried: the wish is not renewed by itself.
        left = replace(left, boot=instance.goal.wanted.boot, by_request=instance.set_up)
    if here.goes_off:  # Its next boot is that of a start, whenever that comes.
        left = replace(left, by_request=instance.set_up)
    again_at_s = now_s + retry_after_s(instance.strikes)
    if here.ends:
        left = replace(left, retry_at_s=again_at_s)
    elif leave or (phase is P.FAILED and (instance.only_probe or left.by_request)):
        left = replace(left, revisit_at_s=again_at_s)
    if phase is P.FAILED and not leave and (kept_for := _kept_for(instance)):
        left = replace(left, failed_by=cause.besides(Cause(kept_for)))
    return left, phase


def _led_to(taken: Restart | Reimage | Leave) -> Phase:
    match taken:
        case Restart():
            return P.RESTARTING
        case Reimage():
            return P.STOPPING
        case Leave():
            return P.FAILED


def reimaged_at(instance: Instance, now_s: float) -> Instance:
    """The record as it remembers that healing has made it anew: the last few times."""
    return replace(instance, reimages=(*instance.reimages[1 - REIMAGES_KEPT :], now_s))


def _kept_for(instance: Instance) -> Kind | None:
    """Why the ladder goes no further than to a failure; None where it has come to its end."""
    here = instance.phase.traits
    if here.restarts and (instance.restart_asked or instance.by_request):
        return Kind.RESTART_KEEPS
    if here.arrives and instance.by_request:
        return Kind.BOOT_KEEPS
    return Kind.PROBE_KEEPS if instance.only_probe else None


def revisited(failed: Instance) -> Phase:
    """Where another try begins, unasked: with a look; without a complete setup, with a new one."""
    return P.STARTING if failed.set_up else P.STOPPING


def retry_after_s(strikes: int) -> float:
    """How long after a failure while leaving that is tried again, unasked: a minute, then longer."""
    return min(MINUTE * 2.0 ** min(strikes, 8), 10 * MINUTE)


def picture() -> str:
    """The table as a mermaid state diagram; the README holds it and a test compares the two."""
    lines = ["stateDiagram-v2", "    [*] --> requested"]
    lines += [f"    {phase} --> {then}" for phase, line in TABLE.items() for then in line.then]
    return "\n".join([*lines, "    gone --> [*]"])
