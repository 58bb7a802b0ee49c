"""The daemon dies at every step of every verb of the balancer; the next daemon finds HAProxy and sets it right."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.errors import Transient
from orchestrator.model import InstanceName
from tests.contract.suites.balancer import ADMIN, HTTP, ONE, ZERO, member, patiently
from tests.contract.test_balancer import ask, kill_all, until
from tests.contract.test_haproxy import origins, place, start

__all__ = ["origins", "place", "start"]  # fixtures


class Killed(BaseException):
    """The daemon dies here. No error of ours, so that nothing on the way handles it."""


@pytest.mark.usefixtures("origins")
@pytest.mark.parametrize("survives", [True, False], ids=["HAProxy lives on", "HAProxy dies too"])
def test_killed_at_any_step_the_next_daemon_sets_it_right(
    start: Callable[[], HaproxyBalancer], monkeypatch: pytest.MonkeyPatch, survives: bool
) -> None:
    """The daemon dies before each thing it tells HAProxy or notes; repeating the verb ends as if it had not."""
    for _, verb, before, seats, answers in VERBS:
        for step in range(100):
            victim = start()
            for one in before:
                patiently(lambda it=victim, one=one: one(it))
            struck = die_at(victim, step, monkeypatch)
            with contextlib.suppress(Killed):
                verb(victim)
            victim.__exit__()
            if not survives:
                kill_all(victim)
            successor = start()
            until(lambda it=successor: stands(it))
            patiently(lambda it=successor, verb=verb: verb(it))
            assert set(successor.seats()) == seats
            assert {ask()[1] for _ in range(6)} == answers
            successor.__exit__()
            if not struck:
                assert step > 1
                break
        else:
            raise AssertionError("the verb never ended")


Verb = Callable[[HaproxyBalancer], None]
BEFORE: list[Verb] = [lambda it: it.shape([HTTP]), lambda it: it.leave(ONE), lambda it: it.join(member(ZERO))]
VERBS: list[tuple[str, Verb, list[Verb], set[InstanceName], set[str]]] = [
    ("shape", lambda it: it.shape([HTTP, ADMIN]), BEFORE, {ZERO}, {"zero"}),
    ("join", lambda it: it.join(member(ONE)), BEFORE, {ZERO, ONE}, {"zero", "one"}),
    ("drain", lambda it: it.drain(ZERO), [*BEFORE, lambda it: it.join(member(ONE))], {ZERO, ONE}, {"one"}),
    (
        "leave",
        lambda it: it.leave(ZERO),
        [*BEFORE, lambda it: it.join(member(ONE)), lambda it: it.drain(ZERO)],
        {ONE},
        {"one"},
    ),
]


def die_at(victim: HaproxyBalancer, step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The victim dies before the step-th command or note; returns a list that is not empty when it did."""
    counted, struck = [0], list[int]()
    loads, asks, notes = victim._process.load, victim._process.ask, victim._remember
    doing = threading.get_ident()

    def counting(call: Callable[..., object]) -> Callable[..., object]:
        def counted_call(*arguments: object) -> object:
            if threading.get_ident() == doing and not struck:
                if counted[0] == step:
                    struck.append(step)
                    raise Killed
                counted[0] += 1
            return call(*arguments)

        return counted_call

    monkeypatch.setattr(victim._process, "load", counting(loads))
    monkeypatch.setattr(victim._process, "ask", counting(asks))
    monkeypatch.setattr(victim, "_remember", counting(notes))
    return struck


def stands(haproxy: HaproxyBalancer) -> bool:
    """Whether HAProxy answers."""
    with contextlib.suppress(Transient):
        haproxy.seats()
        return True
    return False
