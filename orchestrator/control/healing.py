"""What the rules of healing are given about an instance: the records of now, as far as they concern it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from orchestrator import lifecycle
from orchestrator.control import records
from orchestrator.control.present import Present
from orchestrator.control.standstill import standstill_of
from orchestrator.control.wards import view_of
from orchestrator.errors import Whose
from orchestrator.model import Cause, Event, Image, Instance, Service
from orchestrator.model.cause import Kind
from orchestrator.ports import Write
from orchestrator.rules import blame, healing
from orchestrator.rules.blame import Evidence
from orchestrator.rules.healing import Brakes, Next, Patient, Rung, Spent, View, Wait


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """What the host gives to healing: how many instances it may make anew within an hour, unless a service's file
    says another number of it; and what the host itself is short of now, in words, "" for nothing.
    """

    of_service: int = 20
    of_host: int = 60
    strain: Callable[[], str] = str


BUDGET = Budget()


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """What is to be written and told besides, where an image is to blame."""

    writes: tuple[Write, ...] = ()
    lines: tuple[Event, ...] = ()


NOBODY = Suspect()


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
        waits_for=instance.waits_for,
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
        standstill=stands_still(present, instance.service),
        ladder=instance.goal.role.healing.ladder,
        blame=blame.judge(evidence(present, instance, budget.strain(), now_s)),
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


def stands_still(present: Present, deployment: str) -> Cause | None:
    """Why nothing is done to it unasked, where automation is paused."""
    still = standstill_of(present, deployment)
    return Cause(Kind.STANDSTILL, subject=still.says, detail=still.until) if still else None


def evidence(present: Present, instance: Instance, strain: str, now_s: float) -> Evidence:
    """What there is to see of one that is ill, and of those that share something with it. O(those that are ill)."""
    wards, own = present.wards(), view_of(instance)
    fell_ill_s = min(own.fell_ill_s, now_s)
    ward, image = wards.ward(own), present.find(Image, own.image)
    older = [one for one in present.instances_of(own.service).values() if _older(one, instance)]
    alike = [
        one for one in ward.others if one.template == own.template and not one.proven and _fails(one, image, now_s)
    ]
    at_once = [
        service
        for name, service in wards.fell_ill(fell_ill_s - blame.AT_ONCE_S, fell_ill_s + blame.AT_ONCE_S, now_s)
        if name != own.name and _changed_ago_s(present, service, fell_ill_s) > blame.CHANGED_S
    ]
    changed_ago_s = _changed_ago_s(present, own.service, fell_ill_s)
    mine = [own.service] if changed_ago_s > blame.CHANGED_S else []
    cause = instance.cause
    trusted = image is not None and image.trusted_at_s >= fell_ill_s
    twice = instance.strikes >= 2 and bool(instance.reimages)
    again = 2 if twice and (not own.has_failed or _fails(own, image, now_s)) else 1
    return Evidence(
        kind=cause.kind if cause else None,
        strain=strain,
        at_once=len(at_once) + len(mine),
        services=len({*at_once, *mine}),
        of_host=wards.size(),
        arriving=not instance.served_at_s,
        proven=own.proven or wards.is_proven(own) or trusted,
        template_failures=len(alike) + again,
        older=sum(not view_of(one).is_ill(now_s) for one in older),
        older_ill=sum(view_of(one).is_ill(now_s) for one in older),
        same_image=any(one.role.image_sha256 == own.image for one in older),
        ill=sum(one.counts and one.is_ill(now_s) for one in ward.others) + 1,
        size=ward.size,
        changed_ago_s=changed_ago_s,
    )


def _fails(one: View, image: Image | None, now_s: float) -> bool:
    """Whether it speaks against its template: for a while, for nobody says when a passing trouble is over. But an
    image that is suspect is no better for having failed long ago, and has somebody to trust it.
    """
    return one.is_ill(now_s) or (one.has_failed and image is not None and bool(image.suspect))


def _older(one: Instance, instance: Instance) -> bool:
    """Whether it is of the same role, has served, and is built from another template."""
    same = one.role_name == instance.role_name and one.name != instance.name
    return same and one.served_at_s > 0 and one.goal.runs and not one.role.builds_like(instance.role)


def _changed_ago_s(present: Present, service: str, fell_ill_s: float) -> float:
    """How long before then the service's file was changed last."""
    applied = [one.applied_at_s for one in present.revisions_of(service) if one.applied_at_s <= fell_ill_s]
    return fell_ill_s - max(applied, default=float("-inf"))


def suspected(present: Present, instance: Instance, why: Cause | None, now_s: float) -> Suspect:
    """The image of one that is failed by it, as suspect from now on; nobody, where it is not the image's fault."""
    image = present.find(Image, instance.role.image_sha256)
    if why is None or why.kind is not Kind.BLAMED or why.blames is not Whose.IMAGE or image is None or image.suspect:
        return NOBODY
    words = f"{instance.role_name}.{instance.service}: {why.detail}"
    name = (image.names or (image.sha256[:12],))[0]
    told = f"the image is suspect: {words}; to take that back: vmrole image trust {name}"
    line = Event(at_s=now_s, subject=name, message=told)
    return Suspect((records.put(dataclasses.replace(image, suspect=words)),), (line,))
