"""The brake on healing: pure, over many fleets, and in the fake world with a cause that lies outside."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from orchestrator.control import records
from orchestrator.control.healing import patient_of
from orchestrator.control.wards import Wards, in_healing, view_of
from orchestrator.model import (
    Cause,
    Instance,
    InstanceName,
    LocalStorage,
    Phase,
    Progress,
    Ready,
    Setup,
    Verb,
    instance_name,
)
from orchestrator.model.cause import Kind, recorded
from orchestrator.rules.healing import Brakes, Leave, Reimage, Restart, Rung, Wait, decide
from tests.world.fabric import Fabric, web_role
from tests.world.recorded import instance as record

NOW_S = 1_800_000_000.0
ILL = Cause(Kind.CHECK_FAILS)
SICK = InstanceName("web-0.shop")


def judged(one: Instance, members: list[Instance], now_s: float = NOW_S, brakes: Brakes | None = None) -> Rung:
    """What is done about one of them."""
    counted = Wards()
    for each in members:
        counted.put(each.name, each)
    patient = replace(patient_of(one, ILL), asked=False)
    return decide(patient, counted.ward(patient.view), brakes or Brakes(), now_s)


def is_held(rung: Rung) -> bool:
    """Whether most of its role are ill with it: it waits blamelessly, or is failed and looked at again."""
    match rung:
        case Wait(_, Cause(Kind.ILL_TOGETHER), True) | Leave(Cause(Kind.FAILED_TOGETHER), True):
            return True
        case _:
            return False


def is_healed(rung: Rung) -> bool:
    """Whether something is done to it."""
    return isinstance(rung, Restart | Reimage)


def fleet(seed: int) -> list[Instance]:
    """One to nine instances of a role, each somewhere, most of them well."""
    chance = random.Random(seed)
    members = []
    for index in range(chance.randint(1, 9)):
        phase = Phase.SERVING if chance.random() < 0.6 else chance.choice(list(Phase))
        members.append(
            replace(
                record(phase, (1, 2), (1, 2)),
                name=instance_name("shop", "web", index),
                index=index,
                set_up=chance.random() < 0.8,
                served_at_s=chance.choice([0.0, NOW_S - 5000]),
                phase_since_s=NOW_S - chance.choice([1.0, 400.0, 4000.0]),
                unwell_since_s=NOW_S - 400.0 if phase is Phase.SERVING and chance.random() < 0.4 else 0.0,
                strikes=chance.choice([0, 0, 0, 1, 2]),
            )
        )
    return members


@pytest.mark.parametrize("decade", range(20))
def test_no_fleet_is_healed_more_than_one_at_a_time(decade: int) -> None:
    """Whatever a fleet looks like: when its ill ones are judged one after the other, at most one of them is healed
    beside nobody, and none when most are ill together.
    """
    for seed in range(decade * 250, decade * 250 + 250):
        members = fleet(seed)
        before = sum(in_healing(one) for one in members)
        ill = [one for one in members if view_of(one).is_ill(NOW_S) and one.phase is not Phase.FAILED]
        healed = 0
        for one in ill:
            present = next(each for each in members if each.name == one.name)
            others = [each for each in members if each.name != one.name]
            many = sum(view_of(each).is_ill(NOW_S) for each in others) + 1
            rung = judged(present, members)
            if many >= 2 and 2 * many > len(members):
                assert is_held(rung), seed
                assert isinstance(rung, Wait) is bool(present.set_up and present.served_at_s), seed
            elif is_healed(rung):
                assert not any(in_healing(each) for each in others) or in_healing(present), seed
                healed += not in_healing(present)
                begun = replace(present, phase=Phase.RESTARTING, strikes=1, served_at_s=NOW_S - 5000)
                members = [*others, begun]
        assert healed <= (1 if before == 0 else 0), seed


def test_of_two_that_are_healed_already_one_goes_on() -> None:
    """Records of a time without a brake do not wait for each other for ever."""
    members = [
        replace(one, phase=Phase.STARTING, strikes=1, index=index, name=instance_name("shop", "web", index))
        for index, one in enumerate([record(Phase.STARTING, (1, 2), (1, 2))] * 2)
    ]
    members += [replace(members[0], phase=Phase.SERVING, name=instance_name("shop", "web", n)) for n in range(2, 6)]
    first, second = (judged(one, members, members[0].phase_since_s) for one in members[:2])
    assert is_healed(first)
    assert isinstance(second, Wait)
    assert second.why is not None
    assert second.why.kind is Kind.HEALED_IN_TURN


def test_another_role_and_another_service_are_no_fellows() -> None:
    """What is ill elsewhere says nothing."""
    ill = replace(record(Phase.SERVING, (1, 2), (1, 2)), unwell_since_s=1.0, set_up=True)
    elsewhere = [
        replace(ill, name=InstanceName("db-0.shop"), role_name="db"),
        replace(ill, name=InstanceName("web-0.blog"), service="blog"),
    ]
    assert is_healed(judged(ill, [ill, *elsewhere]))


def serving(instances: int, **changes: object) -> Fabric:
    """A fabric in which so many serve."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=instances, **changes))
    fabric.until(fabric.quiet)
    return fabric


def ats(fabric: Fabric) -> list[tuple[int, int]]:
    """Generation and boot of each VM, as the world has them."""
    machines = (fabric.world.machines[one.name] for one in fabric.instances())
    return [(machine.instance.generation, machine.boots) for machine in machines]


@pytest.mark.parametrize("instances", [2, 3, 10])
@pytest.mark.parametrize("ill", ["all", "most"])
def test_a_database_that_is_away_costs_nothing(instances: int, ill: str) -> None:
    """For ten minutes the check of most instances fails: said, out of rotation, none restarted, all back."""
    fabric = serving(instances)
    before = ats(fabric)
    names = [one.name for one in fabric.instances()]
    sick = names if ill == "all" else names[: instances // 2 + 1]
    fabric.world.faults.check_fails.update(sick)
    for _ in range(300):
        fabric.round(2.0)
    assert ats(fabric) == before
    assert any("are ill together" in line for line in fabric.control.why("web-0"))
    assert any("are ill together" in event.message for event in fabric.control.events("web-0"))
    assert "are ill together" in fabric.instance().waiting
    fabric.world.faults.check_fails.clear()
    fabric.until(fabric.quiet)
    for _ in range(100):
        fabric.round(2.0)
    assert (ats(fabric), {one.phase for one in fabric.instances()}) == (before, {Phase.SERVING})
    assert {(one.strikes, one.waiting, one.failure) for one in fabric.instances()} == {(0, "", "")}


def test_services_that_miss_their_database_at_boot_are_waited_for() -> None:
    """All guests restart by themselves and their services do not start: none is touched, all come back."""
    fabric = serving(3, ready=Ready(within_s=30.0))
    for one in fabric.instances():
        fabric.world.machines[one.name].start_boot(fabric.world.time_s)
    before = ats(fabric)
    fabric.world.faults.services_never_start.update(one.name for one in fabric.instances())
    for _ in range(300):
        fabric.round(2.0)
    assert ats(fabric) == before
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert ats(fabric) == before


def test_one_after_the_other_is_healed() -> None:
    """Two of five are ill: the second waits, says so, and has its turn when the first serves again."""
    fabric = serving(5)
    first, second = (one.name for one in fabric.instances()[:2])
    before = {one.name: one.boot for one in fabric.instances()}
    fabric.world.faults.check_fails.update((first, second))
    most = 0
    waited = False
    for _ in range(600):
        fabric.round(1.0)
        out = [one for one in fabric.instances() if one.phase is not Phase.SERVING]
        most = max(most, len(out))
        waited = waited or any("one instance of a role at a time" in one.waiting for one in fabric.instances())
        for name in (first, second):
            if fabric.instance(name).boot > before[name]:
                fabric.world.faults.check_fails.discard(name)
    assert (most, waited) == (1, True)
    assert all(fabric.instance(name).boot == before[name] + 1 for name in (first, second))
    fabric.until(fabric.quiet)


def test_a_bad_first_deployment_fails_and_is_tried_again() -> None:
    """Setups that never end, all together: failed, said, and tried again with ever longer pauses until they do."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.update(instance_name("shop", "web", index) for index in range(3))
    fabric.deploy(web_role(instances=3, setup=Setup(within_s=30.0)))
    fabric.until(lambda: any(one.phase is Phase.FAILED for one in fabric.instances()))
    for _ in range(60):
        fabric.round(10.0)
    (failed, *_) = [one for one in fabric.instances() if one.phase is Phase.FAILED]
    assert any("It is tried again at " in line for line in fabric.control.why(failed.name))
    assert max(one.generation for one in fabric.instances()) <= 6, "with back-off"
    fabric.world.faults.setup_never_ends.clear()
    for _ in range(600):
        fabric.round(2.0)
    assert {one.phase for one in fabric.instances()} == {Phase.SERVING}


def test_an_operator_may_act_on_what_is_held() -> None:
    """The brake holds healing, not people."""
    fabric = serving(2)
    fabric.world.faults.check_fails.update(one.name for one in fabric.instances())
    for _ in range(200):
        fabric.round(2.0)
    boot = fabric.instance().boot
    fabric.act(Verb.RESTART, "web-0")
    for _ in range(30):
        fabric.round()
    assert fabric.instance().boot == boot + 1


def test_healing_keeps_the_template() -> None:
    """An instance that a halted rollout never reached is healed as it was; the next rollout reaches it, too."""
    fabric = serving(3, ready=Ready(within_s=30.0))
    changed = {"ready": Ready(within_s=30.0), "local_storage": (LocalStorage(name="x", size_mib=9),)}
    fabric.world.faults.services_never_start.update(one.name for one in fabric.instances())
    fabric.deploy(web_role(instances=3, **changed))
    fabric.until(lambda: fabric.control.operations()[-1].progress is Progress.FAILED)
    old = next(one for one in fabric.instances() if one.stale)
    fabric.world.faults.services_never_start.clear()
    heal(replace(old, phase=Phase.STOPPING, strikes=2, failed_by=recorded("ill")), fabric)
    fabric.until(lambda: fabric.instance(old.name).phase is Phase.SERVING)
    assert fabric.instance(old.name).generation == 2
    assert fabric.instance(old.name).role == old.role, "its template is the one it had"
    assert fabric.instance(old.name).stale

    fabric.deploy(web_role(instances=3, **changed))
    fabric.until(fabric.quiet)
    assert not any(one.stale for one in fabric.instances())


def heal(sick: Instance, fabric: Fabric) -> None:
    """The ladder has just begun to reimage an instance."""
    fabric.host.front.balancer.leave(sick.name)
    fabric.store.commit([records.put_state(sick)])


def test_an_instance_that_was_healed_before_its_turn_has_its_turn() -> None:
    """A rollout is not done with an instance because the ladder has renewed it as it was."""
    fabric = serving(3)
    fabric.deploy(web_role(instances=3, user_data="#cloud-config\nb: 1\n"))
    fabric.round()
    waiting = next(one for one in fabric.instances() if not one.going)
    heal(replace(waiting, phase=Phase.STOPPING, strikes=2), fabric)
    fabric.until(fabric.quiet)
    assert all("b: 1" in one.role.user_data for one in fabric.instances())
    assert fabric.control.operations()[-1].progress is Progress.DONE


@pytest.mark.parametrize("keeps", [True, False])
def test_the_disk_of_what_healing_makes_anew_is_kept_where_its_role_says_so(*, keeps: bool) -> None:
    """Of what failed alone: a reimage that somebody asks for has nothing to explain."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2, keep_failed_disk=keeps, setup=Setup(within_s=60.0)))
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, "web-1.shop")
    fabric.until(fabric.quiet)
    assert fabric.world.kept_disks == set()
    fabric.world.faults.setup_never_ends.add(SICK)
    fabric.act(Verb.REIMAGE, SICK)
    fabric.until(lambda: fabric.instance().generation == 3)
    assert fabric.world.kept_disks == ({(SICK, 2)} if keeps else set())
