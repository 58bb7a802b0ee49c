"""Who gets which instance, and when a lease ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model import (
    Goal,
    Incarnation,
    Instance,
    InstanceName,
    Lease,
    Phase,
    Service,
    ServiceNetwork,
    ServiceSpec,
    Slot,
)
from orchestrator.rules import lease as rules
from tests.world.fabric import web_role
from tests.world.instances import instance_of

NOW_S = 10_000.0
NETWORK = ServiceNetwork(name="n", bridge="b", subnet="10.90.0.0/24", gateway="10.90.0.1")
SERVICE = Service(
    spec=ServiceSpec(name="shop", vip="", roles=(web_role(),)),
    network=NETWORK,
    created_at_s=0.0,
    uid="u",
    slot=Slot.PRODUCTION,
)


def one(index: int = 0, **changes: Any) -> Instance:
    """An instance that serves since the beginning."""
    role = web_role()
    made = replace(
        instance_of(role), name=InstanceName(f"web-{index}.shop"), index=index, phase=Phase.SERVING, boot=2
    )
    goal = Goal(role=role, wanted=Incarnation(1, 2), **changes.pop("goal", {}))
    return replace(made, goal=goal, role=role, **changes)


def lease(number: int = 1, **changes: Any) -> Lease:
    """A lease of which its client has said just now that he is there."""
    made = Lease(
        id=f"lease-{number:012x}",
        service="shop",
        service_uid="u",
        role="web",
        number=number,
        for_s=60.0,
        asked_at_s=NOW_S,
    )
    return replace(made, **changes)


def leased(number: int = 1, phase: Phase = Phase.LEASED, **changes: Any) -> tuple[Lease, Instance]:
    """One that has its instance."""
    mine = lease(number, instance=InstanceName("web-0.shop"), given_at_s=NOW_S - 10, until_s=NOW_S + 50)
    return replace(mine, **changes), one(goal={"lease": mine.id, "lent": 1}, phase=phase)


def turn(leases: list[Lease], *instances: Instance, now_s: float = NOW_S, **how: Any) -> rules.Turn:
    """One turn of the service."""
    return rules.turn(how.pop("service", SERVICE), leases, {each.name: each for each in instances}, now_s, **how)


def test_first_come_first_served() -> None:
    """By their numbers, whatever the order of the records; who comes later waits."""
    done = turn([lease(3), lease(1), lease(2)], one(0), one(1))
    assert [change.lease.number for change in done.changes] == [1, 2]
    assert {change.instance.goal.lease for change in done.changes if change.instance} == {lease(1).id, lease(2).id}


def test_who_is_as_the_file_says_goes_first_then_who_has_rested() -> None:
    """And nobody gets one of another role."""
    old = replace(one(0), role=web_role(local_storage=()))
    rested = one(2, phase_since_s=1.0)
    done = turn([lease(1), lease(2), lease(3), lease(4, role="db")], old, one(1, phase_since_s=5.0), rested)
    given = [change.lease.instance for change in done.changes if not change.ends]
    assert given == ["web-2.shop", "web-1.shop", "web-0.shop"]


@pytest.mark.parametrize(
    "changes",
    [
        {"goal": {"protected": True}},
        {"goal": {"halts": 1}},
        {"goal": {"serve": False}},
        {"goal": {"lease": "lease-ffffffffffff"}},
        {"goal": {"lent": 1}},
        {"phase": Phase.FAILED},
        {"phase": Phase.STARTING},
        {"phase": Phase.DRAINING},
        {"phase": Phase.LEASED},
        {"unwell_since_s": 1.0},
        {"sick_since_s": 1.0},
        {"boot": 1},
    ],
    ids=lambda changes: str(changes),
)
def test_what_is_not_free_is_given_to_nobody(changes: dict[str, Any]) -> None:
    """Protected, stopped, leaving, leased, spent, failed, unwell, or asked for something else."""
    assert rules.may_be_given(one())
    assert not rules.may_be_given(one(**changes))
    assert not [change for change in turn([lease()], one(**changes)).changes if change.lease.instance]


def test_one_that_a_reimage_is_asked_of_is_given_to_nobody() -> None:
    """As a rollout asks for it."""
    asked = one()
    asked = replace(asked, goal=replace(asked.goal, wanted=Incarnation(2, 1)))
    assert not rules.may_be_given(asked)


def test_it_is_given_when_it_has_left_rotation_and_spent_from_then_on() -> None:
    """Its time begins then, not before; and the same commit marks the generation."""
    mine, drains = leased(phase=Phase.DRAINING, given_at_s=0.0, until_s=0.0)
    drains = replace(drains, goal=replace(drains.goal, lent=0))
    assert turn([mine], drains).changes == ()
    (given,) = turn([mine], replace(drains, phase=Phase.LEASED)).changes
    assert (given.lease.given_at_s, given.lease.until_s, given.ends) == (NOW_S, NOW_S + 60, False)
    assert given.instance is not None
    assert (given.instance.goal.lease, given.instance.goal.lent) == (mine.id, 1)


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.STARTING, Phase.RESTARTING, Phase.STOPPING])
def test_what_becomes_unwell_before_it_is_given_is_taken_back(phase: Phase) -> None:
    """Its client waits on, at his place; nobody has had it, so it is not spent."""
    mine, bad = leased(phase=phase, given_at_s=0.0, until_s=0.0)
    bad = replace(bad, goal=replace(bad.goal, lent=0))
    (back,) = turn([mine], bad).changes
    assert (back.lease.instance, back.lease.number, back.ends) == ("", 1, False)
    assert back.instance is not None
    assert (back.instance.goal.lease, back.instance.goal.lent) == ("", 0)


def test_who_is_protected_before_it_is_given_is_taken_back() -> None:
    """It would never leave rotation."""
    mine, kept = leased(phase=Phase.SERVING, given_at_s=0.0, until_s=0.0)
    kept = replace(kept, goal=replace(kept.goal, lent=0, protected=True))
    (back,) = turn([mine], kept).changes
    assert back.lease.waits


@pytest.mark.parametrize(
    ("now_s", "how", "why"),
    [
        (NOW_S + 50, {}, "its time is over"),
        (NOW_S - 100_000, {}, "its time is over"),
        (NOW_S, {"silent": [lease(1).id]}, "nothing is heard of its client"),
        (NOW_S, {"service": None}, "its service is being deleted"),
        (NOW_S, {"service": replace(SERVICE, removing=True)}, "its service is being deleted"),
        (NOW_S, {"service": replace(SERVICE, uid="another")}, "its service is being deleted"),
    ],
)
def test_the_end_marks_what_its_client_has_had(now_s: float, how: dict[str, Any], why: str) -> None:
    """The lease goes, and its instance is spent: both stand in one change."""
    mine, his = leased()
    (end,) = turn([mine], his, now_s=now_s, **how).changes
    assert end.ends
    assert end.told.endswith(why)
    assert end.instance is not None
    assert (end.instance.goal.lease, end.instance.goal.lent, end.instance.spent, end.instance.going) == (
        "",
        1,
        True,
        True,
    )


def test_what_has_left_rotation_for_a_client_is_spent_though_he_was_never_told() -> None:
    """He may have been: the answer can be lost."""
    _, his = leased()
    his = replace(his, goal=replace(his.goal, lent=0))
    assert rules.released(his).spent
    assert not rules.released(replace(his, phase=Phase.DRAINING)).spent


def test_who_has_left_it_to_its_time_need_not_say_that_he_is_there() -> None:
    """And who attends has to."""
    mine, his = leased(attended=False)
    assert turn([mine], his, silent=[mine.id]).changes == ()


def test_who_waits_for_a_role_that_is_gone_waits_no_more() -> None:
    """Or for one that has no instances any more."""
    none = replace(SERVICE, spec=replace(SERVICE.spec, roles=(web_role(instances=0),)))
    assert [change.ends for change in turn([lease(), lease(2, role="db")], service=none).changes] == [True, True]


def test_a_lease_without_its_instance_ends_and_an_instance_without_its_lease_is_freed() -> None:
    """As after a record that cannot be read; what a client may have had is spent."""
    mine, his = leased()
    assert [change.ends for change in turn([mine]).changes] == [True]
    (freed,) = turn([], his).freed
    assert (freed.goal.lease, freed.spent) == ("", True)
    stolen = replace(his, name=InstanceName("web-1.shop"), index=1)
    assert [each.name for each in turn([mine], his, stolen).freed] == ["web-1.shop"]


def test_it_looks_again_when_the_first_is_over() -> None:
    """And not before."""
    mine, his = leased()
    assert turn([mine], his).again_s == 50


def test_a_client_is_told_his_place_and_what_he_waits_for() -> None:
    """Among those of his role alone."""
    mine, his = leased()
    waiting = [lease(2), lease(3), lease(1, role="db")]
    assert [rules.place(each, [mine, *waiting]) for each in (mine, *waiting)] == [0, 1, 2, 1]
    told = rules.waits_for(waiting[0], [his, one(1, phase=Phase.SETUP), one(2, phase=Phase.FAILED), one(3)])
    assert told == "1 failed, 1 leased, 1 on the way, 1 ready"
    assert rules.waits_for(mine, [his]) == ""
