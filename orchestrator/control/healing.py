"""What the rules of healing are given about an instance: the records of now, as far as they concern it."""

from __future__ import annotations

import dataclasses

from orchestrator import lifecycle
from orchestrator.control.present import Present
from orchestrator.control.wards import view_of
from orchestrator.model import Cause, Instance, Service
from orchestrator.rules import healing
from orchestrator.rules.healing import Brakes, Next, Patient, Rung, Spent, Wait


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """How many instances healing may make anew within an hour, unless a service's file says another number of it."""

    of_service: int = 20
    of_host: int = 60


BUDGET = Budget()


def judge(present: Present, instance: Instance, cause: Cause | None, budget: Budget, now_s: float) -> Rung:
    """What is to be done about an instance that is ill. No cause: it may get well by itself."""
    patient = patient_of(instance, cause)
    ward = present.wards().ward(patient.view)
    return healing.decide(patient, ward, brakes_of(present, instance, ward.size, budget, now_s), now_s)


def retry(present: Present, failed: Instance, budget: Budget, now_s: float) -> Wait | None:
    """What keeps one that has failed from another try, unasked; None when nothing does."""
    patient = patient_of(failed, failed.failed_by)
    ward = present.wards().ward(patient.view)
    return healing.retry(patient, ward, brakes_of(present, failed, ward.size, budget, now_s), now_s)


def patient_of(instance: Instance, cause: Cause | None) -> Patient:
    """The instance as it is decided about."""
    rung, here = lifecycle.heal(instance).traits, instance.phase.traits
    human = rung.has_failed
    return Patient(
        view=view_of(instance),
        next=Next.HUMAN if human else Next.RESTART if rung.restarts else Next.REIMAGE,
        cause=cause,
        strikes=instance.strikes,
        healed_at_s=instance.healed_at_s,
        asked=human and (here.ends or instance.restart_asked or instance.by_request),
        serves=instance.serving,
        set_up=instance.set_up,
        served=instance.served_at_s > 0,
        only_probe=instance.only_probe,
        ends=here.ends,
    )


def brakes_of(present: Present, instance: Instance, size: int, budget: Budget, now_s: float) -> Brakes:
    """What its healing is held to."""
    service = present.find(Service, instance.service)
    own = service.spec.healing.reimages_per_hour if service is not None else None
    called = service.address if service is not None else instance.service
    wards = present.wards()
    return Brakes(
        ladder=instance.goal.role.healing.ladder,
        may_miss=instance.goal.role.healing.may_miss(size),
        reimages=(
            Spent(
                whose=f"service {called}",
                times_s=wards.reimages_s(instance.service, now_s),
                most=budget.of_service if own is None else own,
            ),
            Spent(whose="this host", times_s=wards.reimages_s("", now_s), most=budget.of_host),
        ),
    )
