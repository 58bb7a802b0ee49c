"""Lives drawn from seeds, under the daemon's own loop. More of them: make simulate SEEDS=20000."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.control import loop, turns, verify
from orchestrator.drivers.fake.parts import FakeBalancer
from orchestrator.model import Frontend, Phase, Slot
from orchestrator.rules import swap
from orchestrator.steps import phases
from tests.trouble.simulate import attempt, main, replay
from tests.world.simulation import Simulation

SEEDS_MAX, SEEDS_MIN = 500, 20
MINUTE_S = 60.0  # of this machine's time: a slow one sees fewer of them
CAUGHT_WITHIN = 12  # seeds
HASHED_SEEDS = 4


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Lives full of trouble have much to say."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def test_whole_lives_keep_every_invariant() -> None:
    """Deployments, rollouts, restarts, reimages, rebuilds, removals, among faults, crashes and jumps of the clock."""
    end = time.monotonic() + MINUTE_S
    for seed in range(SEEDS_MAX):
        if seed >= SEEDS_MIN and time.monotonic() > end:
            break
        _, fault = attempt(seed)
        assert not fault, f"{fault}\nreplay: {replay(seed)}"


def course(seed: int) -> str:
    """A life from its beginning to its end, to be compared."""
    life = Simulation(seed)
    life.run()
    return repr((seed, life.store.revision(), life.world.time_s, list(life.steps), life.store.events()))


def test_a_seed_is_a_life() -> None:
    """The same seed makes the same life, step by step: else a failure could not be seen again."""
    assert course(7) == course(7)
    assert course(8) == course(8)  # with a staging slot


def test_a_seed_is_a_life_in_another_process() -> None:
    """Whatever order the sets of a process have: a failure of one machine is seen again on another."""
    lives = f"from {__name__} import course; print(*map(course, range({HASHED_SEEDS})), sep='\\n')"
    told = [
        subprocess.run(
            [sys.executable, "-c", lives],
            env={**os.environ, "PYTHONHASHSEED": str(order)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.splitlines()
        for order in (1, 2)
    ]
    assert len(told[0]) == HASHED_SEEDS
    for one, other in zip(*told, strict=True):
        assert one == other


def _stays_in_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeBalancer, "leave", lambda _self, _name: None)


def _has_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "conduct", broken)


def _moves_recorded_times(monkeypatch: pytest.MonkeyPatch) -> None:
    save = turns.save

    def moving(present: Any, before: Any, after: Any, note: Any = None) -> Any:
        moved = dataclasses.replace(after, phase_since_s=after.phase_since_s + 1.0)
        return save(present, before, moved if after.sick_since_s else after, note)

    monkeypatch.setattr(turns, "save", moving)


def _forgets_who_was_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Reconciler, "wake", lambda _self, _kind, _key: None)


def _heals_with_the_new_template(monkeypatch: pytest.MonkeyPatch) -> None:
    enter = turns._enter

    def careless(present: Any, seen: Any, phase: Phase, now_s: float, **words: Any) -> Any:
        if phase is Phase.REQUESTED:
            seen = dataclasses.replace(seen, role=seen.goal.role)
        return enter(present, seen, phase, now_s, **words)

    monkeypatch.setattr(turns, "_enter", careless)


def _repairs_what_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(host: Any, strays: Any, recorded: Any) -> Any:
        removed = [one for one in strays if one.stray and not recorded(one.subject)]
        for one in removed:
            verify._remove(host, one)
        return removed

    monkeypatch.setattr(verify, "repair", careless)


def _is_held_up_by_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    def insisting(evidence: Any) -> str:
        evidence()
        return ""

    monkeypatch.setattr(phases, "_unless_refused", insisting)


@pytest.mark.parametrize(
    "daemon",
    [
        _stays_in_the_pool,
        _has_a_bug,
        _moves_recorded_times,
        _forgets_who_was_woken,
        _heals_with_the_new_template,
        _repairs_what_is_not_ours,
        _is_held_up_by_evidence,
    ],
    ids=lambda daemon: daemon.__name__.strip("_"),
)
def test_a_daemon_that_breaks_a_promise_is_caught(monkeypatch: pytest.MonkeyPatch, daemon: Any) -> None:
    """By one of the first seeds, which says how it is seen again."""
    daemon(monkeypatch)
    faults = (attempt(seed)[1] for seed in range(CAUGHT_WITHIN))
    caught = next((fault for fault in faults if fault), "")
    assert "AssertionError" in caught
    assert "the last steps" in caught


def _swaps_one_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        swap, "exchanged", lambda there: [dataclasses.replace(one, slot=Slot.PRODUCTION) for one in there]
    )


def _leads_to_both(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = FakeBalancer.shape

    def adding(balancer: Any, frontends: Any) -> None:
        before = balancer._world.frontends
        moved = {one.vip for one in before if one.vip and replaced(one, "") in frontends}
        shape(balancer, [*frontends, *(one for one in before if one.vip in moved and one not in frontends)])

    monkeypatch.setattr(FakeBalancer, "shape", adding)


def _swaps_by_taking_away_first(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = FakeBalancer.shape

    def taking(balancer: Any, frontends: Any) -> None:
        before = balancer._world.frontends
        if moved := {one.vip for one in before if one.vip and replaced(one, "") in frontends}:
            frontends = [replaced(one, "") if one.vip in moved else one for one in frontends]
        shape(balancer, frontends)

    monkeypatch.setattr(FakeBalancer, "shape", taking)


def _swaps_with_members_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = FakeBalancer.shape

    def taking(balancer: Any, frontends: Any) -> None:
        if any(one.vip and replaced(one, "") in frontends for one in balancer._world.frontends):
            balancer._world.seats_taken.clear()
        shape(balancer, frontends)

    monkeypatch.setattr(FakeBalancer, "shape", taking)


def replaced(frontend: Frontend, vip: str) -> Frontend:
    """The same at another address."""
    return dataclasses.replace(frontend, vip=vip)


@pytest.mark.parametrize(
    ("daemon", "words"),
    [
        (_swaps_one_alone, "two deployments are in production"),
        (_leads_to_both, "leads to both deployments"),
        (_swaps_by_taking_away_first, "leads nowhere in between"),
        (_swaps_with_members_out, "a swap has taken members out"),
    ],
    ids=lambda daemon: getattr(daemon, "__name__", "").strip("_"),
)
def test_a_swap_that_clients_would_notice_is_caught(monkeypatch: pytest.MonkeyPatch, daemon: Any, words: str) -> None:
    """By one of the first lives with a staging slot, and as what it is."""
    daemon(monkeypatch)
    faults = (attempt(seed)[1] for seed in staged(CAUGHT_WITHIN))
    assert words in next((fault for fault in faults if words in fault), "")


def test_lives_with_a_staging_slot_have_swaps() -> None:
    """The front follows them, in more than one life."""
    lives = [Simulation(seed) for seed in staged(CAUGHT_WITHIN)]
    for life in lives:
        life.run()
    assert sum(life.swaps.seen > 0 for life in lives) > 1


def staged(number: int) -> Iterator[int]:
    """So many of the first seeds whose lives have a staging slot."""
    return itertools.islice((seed for seed in itertools.count() if Simulation(seed).staged), number)


def test_many_seeds_are_told_with_their_replay(capsys: pytest.CaptureFixture[str]) -> None:
    """As `make simulate` does it."""
    assert main(["--seeds", "2"]) == 0
    assert "2 lives" in capsys.readouterr().out
    assert main(["--seed", "1"]) == 0
