"""Before a guest is shut down that was not drained: it has the time that its role drains, if it has asked so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.model import Farewell, Instance, Power, Seat
from orchestrator.model.cause import Cause, Kind
from orchestrator.ports import Machine
from orchestrator.rules import parting
from orchestrator.steps.hearing import identity_of
from orchestrator.steps.outcomes import Done, Failed, Outcome, Wait

Step = Callable[[Instance, Machine, Seat | None], Outcome]
LOOK_S = 5.0  # Between looks whether it still answers; it wakes us when it lets go.
GONE = "its guest answers no more, and is not waited for"


def first(step: Step) -> Step:
    """The step, after that."""

    def do(instance: Instance, host: Machine, seat: Seat | None) -> Outcome:
        if instance.farewell is Farewell.NONE or instance.asked_at_s:
            return step(instance, host, seat)
        left_s = parting.left_s(instance, host.clock.now_s())
        lives = left_s > 0 and _lives(instance, host)
        if lives:
            return _await(instance, left_s)
        over = GONE if left_s > 0 and instance.farewell is Farewell.TOLD else parting.over(instance)
        return _noted(step(replace(instance, farewell=Farewell.NONE), host, seat), over)

    return do


def _await(instance: Instance, left_s: float) -> Wait:
    told = instance.farewell is Farewell.TOLD
    note = "" if told else parting.learns(instance)
    seen = instance if told else replace(instance, farewell=Farewell.TOLD)
    return Wait(seen, Cause(Kind.PARTING_AWAITED), min(left_s, LOOK_S), note=note)


def _lives(instance: Instance, host: Machine) -> bool:
    """Whether something in it answers, in the boot in which it has asked."""
    domain = host.hypervisor.look(instance.name)
    if domain is None or domain.power is not Power.RUNNING or domain.stuck or instance.powered_on:
        return False
    return not instance.agent_silent_since_s and parting.answers(instance, identity_of(instance, host))


def _noted(outcome: Outcome, over: str) -> Outcome:
    """With how the wait has ended, for the ledger."""
    match outcome:
        case Wait(note="") if over:
            return replace(outcome, note=over)
        case Done(because="") if over:
            return replace(outcome, because=over)
        case Done() | Wait() | Failed():
            return outcome
