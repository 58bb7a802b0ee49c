"""What is done to an instance that is ill, decided of values alone."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import Whose
from orchestrator.model import Cause, InstanceName, Ladder
from orchestrator.model.cause import Kind
from orchestrator.rules import healing
from orchestrator.rules.blame import Blame
from orchestrator.rules.healing import (
    BACK_OFF_MAX_S,
    HOUR_S,
    Brakes,
    Leave,
    Next,
    Patient,
    Reimage,
    Restart,
    Spent,
    View,
    Wait,
    Ward,
    decide,
    retry,
)

NOW_S = 1_800_000_000.0
ILL = Cause(Kind.CHECK_FAILS)
WELL_SIZE = 9
BLAME = Blame(Whose.HOST, "its memory is short")


def view(name: str, **changes: Any) -> View:
    return View(name=InstanceName(f"{name}.shop"), service="shop", role="web", **changes)


def patient(**changes: Any) -> Patient:
    """One of a set-up role that has served."""
    whole: dict[str, Any] = {"view": view("web-5", ill_from_s=0.0), "next": Next.RESTART, "cause": ILL}
    return Patient(**{**whole, "set_up": True, "served": True, **changes})


def ward(*others: View, size: int = WELL_SIZE) -> Ward:
    return Ward(others=others, size=size)


def reason(rung: healing.Rung) -> Kind | None:
    """Why nothing is done, or no more."""
    return rung.why.kind if isinstance(rung, Wait | Leave) and rung.why else None


@pytest.mark.parametrize(
    ("ladder", "step", "set_up", "serves", "rung"),
    [
        (Ladder.REIMAGE, Next.RESTART, True, False, Restart),
        (Ladder.REIMAGE, Next.REIMAGE, True, False, Reimage),
        (Ladder.REIMAGE, Next.HUMAN, True, False, Leave),
        (Ladder.RESTART, Next.RESTART, True, False, Restart),
        (Ladder.RESTART, Next.REIMAGE, True, False, Restart),
        (Ladder.RESTART, Next.HUMAN, True, False, Restart),
        (Ladder.RESTART, Next.REIMAGE, False, False, Leave),
        (Ladder.OFF, Next.RESTART, True, True, Wait),
        (Ladder.OFF, Next.RESTART, True, False, Leave),
        (Ladder.OFF, Next.REIMAGE, True, True, Wait),
        (Ladder.OFF, Next.REIMAGE, False, False, Leave),
    ],
)
def test_a_role_says_how_far_up_healing_goes(
    ladder: Ladder, step: Next, set_up: bool, serves: bool, rung: type
) -> None:
    """`restart` restarts again and again, and makes nothing anew; `off` does nothing."""
    decided = decide(patient(next=step, set_up=set_up, serves=serves), ward(), Brakes(ladder=ladder), NOW_S)
    assert isinstance(decided, rung)


def test_what_only_a_probe_speaks_against_is_not_restarted_for_ever() -> None:
    """Its cause may well lie elsewhere."""
    probed = patient(next=Next.HUMAN, only_probe=True, strikes=3)
    assert isinstance(decide(probed, ward(), Brakes(ladder=Ladder.RESTART), NOW_S), Leave)


def test_pauses_double_from_ten_seconds_to_ten_minutes() -> None:
    """Between two rungs of one that keeps failing; the first comes at once."""
    pauses = [healing.back_off_s(strikes) for strikes in range(12)]
    assert pauses[:8] == [0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, BACK_OFF_MAX_S]
    assert pauses[-1] == healing.back_off_s(10_000) == BACK_OFF_MAX_S == 600.0


@pytest.mark.parametrize(("healed_ago_s", "waits_s"), [(0.0, 20.0), (19.0, 1.0), (20.0, None), (-3600.0, None)])
def test_a_pause_is_counted_from_the_last_rung(healed_ago_s: float, waits_s: float | None) -> None:
    """As it is recorded; a clock that was set back makes nobody wait for an hour."""
    again = patient(strikes=2, healed_at_s=NOW_S - healed_ago_s)
    rung = decide(again, ward(), Brakes(), NOW_S)
    if waits_s is None:
        assert rung == Restart()
    else:
        assert (reason(rung), isinstance(rung, Wait) and rung.until_s) == (Kind.HEALED_OFTEN, NOW_S + waits_s)


@pytest.mark.parametrize("out", range(4))
@pytest.mark.parametrize("may_miss", [1, 2, 3])
def test_no_more_are_out_by_our_own_doing_than_the_role_can_bear(out: int, may_miss: int) -> None:
    """Whatever took them out: healing, a rollout, a verb."""
    others = [view(f"web-{index}", ours=True) for index in range(out)]
    rung = decide(patient(), ward(*others), Brakes(may_miss=may_miss), NOW_S)
    assert isinstance(rung, Restart) is (out < may_miss)
    assert reason(rung) is (None if out < may_miss else Kind.HEALED_IN_TURN)


def test_who_is_protected_or_off_is_in_nobody_s_way() -> None:
    """It is out by somebody's wish, for as long as he likes."""
    others = [view(f"web-{index}", ours=True, counts=False) for index in range(4)]
    assert decide(patient(), ward(*others), Brakes(), NOW_S) == Restart()


@pytest.mark.parametrize("whose", [0, 1])
def test_an_hour_has_so_many_reimages(whose: int) -> None:
    """Of the service, and of the host; a restart is none of them, and when the first is forgotten it goes on."""
    times = tuple(NOW_S - 60.0 * minute for minute in (50, 10, 5))
    budgets = [Spent(whose="service shop", times_s=(), most=3), Spent(whose="this host", times_s=(), most=3)]
    budgets[whose] = replace(budgets[whose], times_s=times)
    brakes = Brakes(reimages=tuple(budgets))
    rung = decide(patient(next=Next.REIMAGE), ward(), brakes, NOW_S)
    assert isinstance(rung, Wait)
    assert (reason(rung), rung.until_s) == (Kind.REIMAGES_SPENT, NOW_S + 600.0)
    assert budgets[whose].whose in str(rung.why)
    assert decide(patient(next=Next.RESTART), ward(), brakes, NOW_S) == Restart()
    assert decide(patient(next=Next.REIMAGE), ward(), brakes, NOW_S + 601.0) == Reimage()


def test_a_service_may_say_that_nothing_is_made_anew() -> None:
    """A budget of none is none, and nobody is asked again at once."""
    rung = decide(patient(next=Next.REIMAGE), ward(), Brakes(reimages=(Spent(whose="x", most=0),)), NOW_S)
    assert rung == Wait(NOW_S + HOUR_S, Cause(Kind.REIMAGES_SPENT, subject="x", detail="0"))


def test_what_somebody_asked_for_and_fails_is_his() -> None:
    """No brake keeps it from being failed."""
    asked = patient(next=Next.HUMAN, asked=True)
    assert decide(asked, ward(), Brakes(ladder=Ladder.OFF, blame=BLAME), NOW_S) == Leave()


@pytest.mark.parametrize("step", [Next.RESTART, Next.REIMAGE])
def test_nothing_is_done_while_something_shared_is_to_blame(step: Next) -> None:
    """It waits, and no time runs against it."""
    rung = decide(patient(next=step), ward(), Brakes(blame=BLAME), NOW_S)
    assert isinstance(rung, Wait)
    assert rung.holds
    assert rung.why == BLAME.cause


@pytest.mark.parametrize("seed", range(200))
def test_no_fleet_loses_more_to_us_than_it_can_bear(seed: int) -> None:
    """Ill ones are decided about one after the other, in any order, until nothing more is begun."""
    chance = random.Random(seed)
    size, may_miss = chance.randint(1, 12), chance.randint(1, 4)
    fleet = {
        index: view(
            f"web-{index:02}",
            ill_from_s=chance.choice([0.0, float("inf"), float("inf")]),
            ours=chance.random() < 0.15,
            counts=chance.random() < 0.9,
        )
        for index in range(size)
    }
    before = sum(one.ours and one.counts for one in fleet.values())
    for _, (index, own) in itertools.product(range(3), list(fleet.items())):
        others = [one for number, one in fleet.items() if number != index]
        counted = sum(one.counts for one in others) + 1
        sick = replace(fleet[index], ill_from_s=0.0)
        if not own.counts:
            continue
        rung = decide(patient(view=sick), ward(*others, size=counted), Brakes(may_miss=may_miss), NOW_S)
        if isinstance(rung, Restart | Reimage):
            fleet[index] = replace(sick, ours=True)
    assert sum(one.ours and one.counts for one in fleet.values()) <= max(before, may_miss)


STILL = Cause(Kind.STANDSTILL, subject="this host", detail="vmrole resume")


@pytest.mark.parametrize("step", list(Next))
@pytest.mark.parametrize("ladder", list(Ladder))
@pytest.mark.parametrize("cause", [ILL, None])
@pytest.mark.parametrize("blame", [BLAME, None])
@pytest.mark.parametrize("others", [(), tuple(view(f"web-{n}", ill_from_s=0.0) for n in range(8))])
def test_paused_automation_takes_no_rung(
    step: Next, ladder: Ladder, cause: Cause | None, blame: Blame | None, others: tuple[View, ...]
) -> None:
    """Whatever else is so: it waits, no time runs, and what is the matter is said behind it."""
    brakes = Brakes(ladder=ladder, blame=blame, standstill=STILL)
    rung = decide(patient(next=step, cause=cause, waits_for=ILL), ward(*others), brakes, NOW_S)
    assert rung == Wait(NOW_S + healing.HELD_S, replace(STILL, also=ILL), holds=True)


def test_paused_automation_lets_an_asked_verb_fail() -> None:
    """What somebody asked for, and what is on its way to its end, has its own end."""
    brakes = Brakes(standstill=STILL)
    assert decide(patient(next=Next.HUMAN, asked=True), ward(), brakes, NOW_S) == Leave()
    assert retry(patient(ends=True), ward(), brakes, NOW_S) is None


@pytest.mark.parametrize("set_up", [True, False])
def test_paused_automation_tries_nothing_again(set_up: bool) -> None:
    """Neither a look, which could end in a boot, nor another VM; without the pause each of them is done."""
    failed = patient(set_up=set_up)
    assert retry(failed, ward(), Brakes(), NOW_S) is None
    assert retry(failed, ward(), Brakes(standstill=STILL), NOW_S) == Wait(NOW_S + healing.HELD_S, STILL)


FAILED = patient(set_up=False, served=False)
SPENT = Spent(whose="this host", times_s=(NOW_S - 60.0,), most=1)


@pytest.mark.parametrize(
    ("brakes", "others", "kind"),
    [
        (Brakes(), (), None),
        (Brakes(ladder=Ladder.RESTART), (), Kind.HEALING_OFF),
        (Brakes(ladder=Ladder.OFF), (), Kind.HEALING_OFF),
        (Brakes(blame=BLAME), (), Kind.BLAMED),
        (Brakes(blame=Blame(Whose.IMAGE, "it is new")), (), Kind.BLAMED),
        (Brakes(blame=Blame(Whose.SERVICE, "its file was changed")), (), None),
        (Brakes(), (view("web-1", ours=True),), Kind.HEALED_IN_TURN),
        (Brakes(may_miss=2), (view("web-1", ours=True),), None),
        (Brakes(), (view("web-1", ours=True, counts=False),), None),
        (Brakes(reimages=(SPENT,)), (), Kind.REIMAGES_SPENT),
        (Brakes(reimages=(replace(SPENT, most=2),)), (), None),
    ],
)
def test_what_holds_back_another_try(brakes: Brakes, others: tuple[View, ...], kind: Kind | None) -> None:
    """Of what failed before its setup was complete: another try is a reimage, and counted as one."""
    wait = retry(FAILED, ward(*others), brakes, NOW_S)
    assert (wait.why.kind if wait and wait.why else None) is kind
    assert wait is None or wait.until_s > NOW_S


@pytest.mark.parametrize("failed", [patient(), patient(ends=True, set_up=False)])
def test_a_look_is_held_back_by_nothing(failed: Patient) -> None:
    """What is set up is looked at, and what is on its way to its end goes on."""
    assert retry(failed, ward(view("web-1", ours=True)), Brakes(blame=BLAME, reimages=(SPENT,)), NOW_S) is None


@pytest.mark.parametrize("whose", [one for one in Whose if one is not Whose.GUEST])
@pytest.mark.parametrize("cause", [ILL, None])
@pytest.mark.parametrize("set_up", [True, False])
def test_whose_fault_it_is_decides_what_becomes_of_it(whose: Whose, cause: Cause | None, set_up: bool) -> None:
    """What is set up waits, what is not is failed and tried again, and a template that is to blame fails what is."""
    blame = Blame(whose, "so it is")
    rung = decide(patient(cause=cause, set_up=set_up), ward(), Brakes(blame=blame), NOW_S)
    match whose:
        case Whose.SERVICE:
            assert isinstance(rung, Restart if cause else Wait)
        case Whose.IMAGE | Whose.ANSWERS if cause:
            assert rung == Leave(blame.cause, again=True)
        case _ if cause and not set_up:
            assert rung == Leave(blame.cause, again=True)
        case _:
            assert rung == Wait(NOW_S + healing.HELD_S, blame.cause, holds=True)
