"""turn(): read the record of an instance, look at the world, take one step of the table, save.

What must survive is in the store before it is acted on, and every verb of a port may be repeated, so a crash anywhere
resumes on the same line.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from orchestrator import lifecycle
from orchestrator.control import bridges, healing, keeping, records
from orchestrator.control.present import Present
from orchestrator.errors import Foreign, NoSpace, Permanent, Transient, Unreachable
from orchestrator.model import Cause, Event, Instance, Phase, Power
from orchestrator.model.cause import Kind, of_error
from orchestrator.model.instance import learned
from orchestrator.ports import Host
from orchestrator.rules import words
from orchestrator.rules.healing import HELD_S, Leave, Reimage, Restart, brake_of
from orchestrator.rules.healing import Wait as Held
from orchestrator.rules.patience import blameless_s
from orchestrator.steps import seating
from orchestrator.steps.outcomes import Done, Failed, Outcome, Wait
from orchestrator.steps.phases import PROTECTED, kept

log = logging.getLogger(__name__)

TRANSIENT_AGAIN_S = 1.0  # Slow enough for a daemon's restart, quick enough not to be noticed.
NEVER_S = 3600.0

BRAKE = threading.Lock()  # held by who takes instances out: nobody else counts those that are out meanwhile


def turn(
    present: Present, host: Host, before: Instance, budget: healing.Budget = healing.BUDGET
) -> tuple[Instance | None, float]:
    """`take_step`, after which a guest that has said something learns that this is recorded, and done."""
    saved, again_s = take_step(present, host, before, budget)
    if saved is not None and (word := words.acted_upon(saved)) is not None:
        host.machine.channel.taken(saved.name, word)
    return saved, again_s


def take_step(
    present: Present, host: Host, before: Instance, budget: healing.Budget
) -> tuple[Instance | None, float]:
    """Takes one step for the instance; returns the record as saved (None: gone) and when to look again (seconds).

    Raises StaleRevision when the API changed the goal meanwhile (read again), Transient when the store is away.
    """
    before = bridges.follow(present, host, _follow_goal(before))
    now_s = host.machine.clock.now_s()
    called_for = lifecycle.detour(before)
    if called_for is not None and now_s >= before.retry_at_s:
        return _enter(present, before, called_for, now_s, because=_wish(before)), 0.0
    if before.phase.traits.is_gone:
        present.commit(records.drop_instance(before), [_event(before, now_s, "gone")])
        return None, NEVER_S
    if before.has_failed and not before.held and _is_due(before, now_s):
        return _revisit(present, host, before, budget)
    match _attempt(_heard(before, host), host, healing.stands_still(present, before.service)):
        case Done(seen, because, then):
            then = then or lifecycle.onward(seen)
            with keeping.entrance(present, seen, then) as crowd:
                if crowd is None:
                    return _enter(present, seen, then, now_s, because=because), 0.0
            return _sick(present, before, seen, crowd, now_s), keeping.AGAIN_S
        case Wait(seen, cause, again_s, True, note):
            return _sick(present, before, seen, cause, now_s, note), again_s
        case Wait(seen, cause, again_s, _, note):
            well = seen.serving and not seen.unwell_since_s
            sick_s = 0.0 if well else blameless_s(before, now_s)
            blamed = learned(seen, waits_for=cause, sick_s=sick_s, sick_since_s=0.0)
            if not well and (blamed.serving or now_s >= lifecycle.deadline_s(blamed)):
                if note:  # What becomes of it now has a line of its own.
                    before = blamed = save(present, before, blamed, _event(blamed, now_s, note))
                late = not blamed.serving
                overdue = Cause(Kind.OVERDUE, subject=seen.phase, reason=cause)
                return _ail(present, host, before, blamed, overdue if late else None, budget)
            return save(present, before, blamed, _event(blamed, now_s, note) if note else None), again_s
        case Failed(cause, mendable):
            failed = Cause(Kind.FAILED, subject=before.phase, reason=cause)
            if not mendable and not before.held:  # A look again, now and then: what is in the way may go.
                note = kept(before, host.machine)
                return _heal(present, before, failed, Leave(again=True), host.machine.clock.now_s(), note), 0.0
            return _ail(present, host, before, before, failed, budget)


def _sick(
    present: Present, before: Instance, seen: Instance, cause: Cause | None, now_s: float, note: str = ""
) -> Instance:
    """It cannot help waiting, for as long as it does."""
    sick = learned(seen, waits_for=cause, sick_since_s=before.sick_since_s or now_s)
    return save(present, before, sick, _event(sick, now_s, note) if note else None)


def _heard(instance: Instance, host: Host) -> Instance:
    """With what its guest has said meanwhile."""
    said, parting = host.machine.channel.word(instance.name), host.machine.channel.parting(instance.name)
    heard = instance if said is None else learned(instance, word=said)
    return heard if parting is None else learned(heard, parting=parting)


def _is_due(failed: Instance, now_s: float) -> bool:
    """Whether it is tried again now; also where the clock was set back, to before it failed."""
    return failed.again_at_s > 0 and not failed.phase_since_s <= now_s < failed.again_at_s


def _attempt(instance: Instance, host: Host, still: Cause | None) -> Outcome:
    """The step's outcome, errors of the world included: those that waiting helps are a Wait."""
    try:
        seat, cut = seating.seat(instance, host.machine, host.front)
        if still is not None and (down := _left_down(instance, host)):
            waits = Cause(Kind.VM_DOWN, detail=down, also=still)
            return Wait(instance, waits, HELD_S, blameless=True)
        outcome = lifecycle.TABLE[instance.phase].do(instance, host.machine, seat)
        heedless = isinstance(outcome, Done) or instance.phase.traits.ends  # An end needs no network.
        fault = "" if heedless else host.machine.network.fault(instance)
        if cut and isinstance(outcome, Done):
            return replace(outcome, because=cut)
        return _blameless(outcome, instance, Cause(Kind.NETWORK_FAULT, detail=fault)) if fault else outcome
    except (Unreachable, NoSpace) as error:
        return _blameless(None, instance, of_error(error))
    except Transient as error:
        return Wait(instance, of_error(error), TRANSIENT_AGAIN_S)
    except Foreign as error:  # No restart and no reimage makes it ours.
        return Failed(of_error(error), mendable=False)
    except Permanent as error:
        return Failed(of_error(error))


def _left_down(instance: Instance, host: Host) -> str:
    """How the VM is down of one that has served and that nobody has asked to boot; "" where it may be started."""
    here = instance.phase.traits
    if not (here.arrives and here.keeps_vm and instance.served_at_s) or instance.by_request:
        return ""
    domain = host.machine.hypervisor.look(instance.name)
    if domain is None:
        return "not there"
    return domain.power if domain.power in (Power.OFF, Power.CRASHED) else ""


def _blameless(outcome: Outcome | None, instance: Instance, cause: Cause) -> Wait:
    """Not the instance's fault: neither its deadline runs meanwhile, nor its ill health."""
    seen, note = (outcome.instance, outcome.note) if isinstance(outcome, Wait) else (instance, "")
    seen = replace(seen, unwell_since_s=0.0) if seen.unwell_since_s else seen
    return Wait(seen, cause, TRANSIENT_AGAIN_S, blameless=True, note=note)


def _ail(
    present: Present, host: Host, before: Instance, ill: Instance, cause: Cause | None, budget: healing.Budget
) -> tuple[Instance, float]:
    """Heals an instance that failed or is overdue, if its role can bear it. No cause: it is ill and may get well."""
    now_s = host.machine.clock.now_s()
    if ill.held:
        known = cause or ill.waits_for
        waits = replace(ill, waits_for=known.besides(PROTECTED) if known else PROTECTED)
        kept_back = replace(waits, sick_s=before.sick_s, sick_since_s=before.sick_since_s or now_s)
        note = None if before.sick_since_s else _event(ill, now_s, kept_back.waiting)
        return save(present, before, kept_back, note), HELD_S
    unkept, due = "", cause is not None and not isinstance(healing.judge(present, ill, cause, budget, now_s), Held)
    if due:  # Before the brake, for a guest may take its time: nobody else's healing waits for it.
        unkept = kept(replace(ill, failed_by=cause), host.machine)
        now_s = host.machine.clock.now_s()
    with BRAKE:  # Two at once would each see the other well.
        rung = healing.judge(present, ill, cause, budget, now_s)
        asked = healing.patient_of(ill, cause).asked
        if cause is not None and not due and not isinstance(rung, Held):  # Since then its turn has come.
            return save(present, before, ill), 0.0
        match rung:
            case Leave() if asked and cause:
                return _heal(present, ill, cause, rung, now_s, unkept), 0.0
            case Held(until_s, why, True):
                return _hold(present, before, ill, why, now_s), until_s - now_s
            case _ if cause is None:
                return save(present, before, ill), HELD_S
            case _ if before.sick_since_s and ill.phase.traits.arrives:
                well = "its role is well again: it has its time anew"
                return _enter(present, ill, ill.phase, now_s, because=well), 0.0
            case Held(until_s, why):
                waits = replace(ill, waits_for=cause.besides(why) if why else cause)
                return save(present, before, waits, _braked(before, ill, why, now_s)), until_s - now_s
            case Restart() | Reimage() | Leave():
                why = rung.why if isinstance(rung, Leave) else None
                suspect = healing.suspected(present, ill, why, now_s)
                failed_by = cause.besides(why) if why else cause
                return _heal(present, ill, failed_by, rung, now_s, unkept, suspect), 0.0


def _hold(present: Present, before: Instance, ill: Instance, why: Cause | None, now_s: float) -> Instance:
    """It cannot help waiting: no time of it counts."""
    held = replace(ill, waits_for=why, sick_s=before.sick_s, sick_since_s=before.sick_since_s or now_s)
    return save(present, before, held, _braked(before, ill, why, now_s))


def _braked(before: Instance, ill: Instance, why: Cause | None, now_s: float) -> Event | None:
    """The line that tells what has held it back: once, not with every look."""
    if why is None or why.kind is brake_of(before.waits_for):
        return None
    return _event(ill, now_s, str(why))


def _revisit(present: Present, host: Host, failed: Instance, budget: healing.Budget) -> tuple[Instance, float]:
    """Another try, unasked, of what failed together with others, or while it was leaving for no wish of anybody's: a
    look; without a complete setup, a new one.
    """
    now_s = host.machine.clock.now_s()
    with BRAKE:
        if (wait := healing.retry(present, failed, budget, now_s)) is not None:
            held = learned(failed, waits_for=wait.why)
            return save(present, failed, held, _braked(failed, failed, wait.why, now_s)), wait.until_s - now_s
        because = "it is looked at again" if failed.set_up else "it is tried again"
        again = failed if failed.set_up else lifecycle.reimaged_at(failed, now_s)
        return _enter(present, again, lifecycle.revisited(failed), now_s, because=because), 0.0


def _follow_goal(instance: Instance) -> Instance:
    """Takes over what the goal's role may change without a new generation."""
    if instance.role is instance.goal.role:
        return instance
    if instance.role != instance.goal.role and instance.role.builds_like(instance.goal.role):
        other = instance.role.ready != instance.goal.role.ready
        revisit_at_s = min(instance.revisit_at_s, 1.0) if other else instance.revisit_at_s  # At once, if at all.
        return replace(instance, role=instance.goal.role, revisit_at_s=revisit_at_s)
    return instance


def _wish(instance: Instance) -> str:
    if not instance.goal.serve:
        return "removal was asked for"
    if instance.phase.traits.is_gone:
        return "it is wanted again"
    if instance.leased and not instance.phase.traits.is_leased:
        return f"it is given to a client: {instance.goal.lease}"
    if instance.spent:
        return "its lease has ended"
    if not instance.goal.runs:
        return "a stop was asked for"
    if instance.is_off:
        return "a start was asked for"
    new = instance.goal.wanted.generation > instance.generation
    if instance.goal.renews > instance.generation:
        return "its checkpoint is to be renewed"
    return "a reimage was asked for" if new else "a restart was asked for"


def _enter(
    present: Present,
    seen: Instance,
    phase: Phase,
    now_s: float,
    *,
    because: str = "",
    note: str = "",
    besides: healing.Suspect = healing.NOBODY,
) -> Instance:
    """The record in its next phase, saved together with its lines in the ledger: the note's comes first."""
    entered = lifecycle.entered(seen, phase, now_s)
    after_s = now_s - seen.phase_since_s if seen.phase_since_s else 0.0
    told = f"{seen.phase} -> {phase}" + (f": {because}" if because else "")
    log.info("%s after=%.1fs generation=%d boot=%d", told, after_s, entered.generation, entered.boot)
    events = [_event(seen, now_s, note)] if note else []
    lines = [*events, _event(entered, now_s, told), *besides.lines]
    writes = [records.put_state(entered), *besides.writes]
    revision = present.commit(writes, lines, checks=[records.wish_stands(seen)])
    return replace(entered, state_revision=revision)


def _heal(
    present: Present,
    instance: Instance,
    cause: Cause,
    rung: Restart | Reimage | Leave,
    now_s: float,
    note: str,
    suspect: healing.Suspect = healing.NOBODY,
) -> Instance:
    """One rung up the healing ladder, or failed. `note`: that its evidence could not be kept."""
    struck, phase = lifecycle.struck(instance, cause, now_s, rung)
    log.warning("%s; now %s", cause, phase)
    return _enter(present, struck, phase, now_s, because=str(cause), note=note, besides=suspect)


def save(present: Present, before: Instance, after: Instance, note: Event | None = None) -> Instance:
    """The record as it is now, written when it differs or there is a line for the ledger."""
    if (after is before or after == before) and note is None:
        return before
    if note is not None:
        log.warning("%s", note.message)
    revision = present.commit([records.put_state(after)], [note] if note else [])
    return replace(after, state_revision=revision)


def _event(instance: Instance, now_s: float, message: str) -> Event:
    return Event(
        at_s=now_s,
        subject=instance.name,
        message=message,
        phase=instance.phase,
        generation=instance.generation,
        boot=instance.boot,
    )
