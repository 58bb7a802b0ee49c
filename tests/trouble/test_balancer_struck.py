"""The daemon dies at every step of every verb of the balancer; the next daemon finds HAProxy and sets it right."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.errors import Transient
from orchestrator.model import Instance, InstanceName, Phase, PoolName, Standing
from orchestrator.steps import draining, seating
from orchestrator.steps.outcomes import Outcome, Wait
from tests.world.balancing import ask, kill_all, origins, place, start
from tests.world.endpoints import ADMIN, HTTP, ONE, PORT, VIP, ZERO, member, patiently
from tests.world.fabric import Fabric, web_role
from tests.world.waiting import until

__all__ = ["origins", "place", "start"]  # fixtures
pytestmark = pytest.mark.xdist_group("HAProxy")  # All of them bind the same addresses: in one process.


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
            for name, seat in successor.seats().items():
                if seat.standing is Standing.DRAINING:
                    assert name.partition(".")[0] not in answered_by(), "what is said to drain gets no new request"
            patiently(lambda it=successor, verb=verb: verb(it))
            assert set(successor.seats()) == seats
            assert answered_by() == answers
            successor.__exit__()
            if not struck:
                assert step > 1
                break
        else:
            raise AssertionError("the verb never ended")


@pytest.mark.usefixtures("origins")
def test_a_drain_that_was_cut_short_is_made_by_the_next_turn(
    start: Callable[[], HaproxyBalancer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon dies at any moment of a turn that drains a member of two pools: the next turn drains both."""
    fabric = Fabric()
    fabric.deploy(web_role(drain_s=30.0))
    fabric.until(fabric.quiet)
    instance = replace(fabric.instance(ZERO), phase=Phase.DRAINING, phase_since_s=fabric.world.now_s())
    both = HTTP.pool, ADMIN.pool
    for step in range(100):
        victim = start()
        victim.shape([HTTP, ADMIN])
        patiently(lambda it=victim: it.leave(ONE))
        victim.join(member(ZERO, *both))
        with socket.create_connection((VIP, ADMIN.port)) as busy:  # The drain has something to wait for.
            busy.sendall(b"G")
            until(lambda it=victim: it.seats()[ZERO].connections == 1)
            victim.join(member(ONE, *both))
            struck = die_at(victim, step, monkeypatch)
            with contextlib.suppress(Killed):
                drained(instance, fabric, victim)
            victim.__exit__()
            successor = start()
            until(lambda it=successor: stands(it))
            outcome = drained(instance, fabric, successor)
            assert isinstance(outcome, Wait), outcome
            assert answered_by(HTTP.port) == answered_by(ADMIN.port) == {"web-1"}, f"step {step}"
        successor.__exit__()
        if not struck:
            assert step > 3
            return
    raise AssertionError("the turn never ended")


def drained(instance: Instance, fabric: Fabric, balancer: HaproxyBalancer) -> Outcome:
    """A turn in the fake world, with a real balancer."""
    machine = fabric.host.machine
    seat, _ = seating.seat(instance, machine, replace(fabric.host.front, balancer=balancer))
    return draining.drain(instance, machine, seat)


def answered_by(port: int = PORT) -> set[str]:
    """The hostnames of the members that answer new requests."""
    return {{"zero": "web-0", "one": "web-1"}[ask(port=port)[1]] for _ in range(6)}


Verb = Callable[[HaproxyBalancer], None]
BEFORE: list[Verb] = [lambda it: it.shape([HTTP]), lambda it: it.leave(ONE), lambda it: it.join(member(ZERO))]
BESIDE = replace(HTTP, pool=PoolName("shop--b.web.http"), vip="")  # of the deployment in staging
VERBS: list[tuple[str, Verb, list[Verb], set[InstanceName], set[str]]] = [
    (
        "exchange",
        lambda it: it.shape([replace(HTTP, vip=""), replace(BESIDE, vip=VIP)]),
        [lambda it: it.shape([HTTP, BESIDE]), *BEFORE[1:], lambda it: it.join(member(ONE, BESIDE.pool))],
        {ZERO, ONE},
        {"web-1"},
    ),
    ("shape", lambda it: it.shape([HTTP, ADMIN]), BEFORE, {ZERO}, {"web-0"}),
    ("join", lambda it: it.join(member(ONE)), BEFORE, {ZERO, ONE}, {"web-0", "web-1"}),
    ("drain", lambda it: it.drain(ZERO), [*BEFORE, lambda it: it.join(member(ONE))], {ZERO, ONE}, {"web-1"}),
    (
        "leave",
        lambda it: it.leave(ZERO),
        [*BEFORE, lambda it: it.join(member(ONE)), lambda it: it.drain(ZERO)],
        {ONE},
        {"web-1"},
    ),
]


def die_at(victim: HaproxyBalancer, step: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The victim dies before the step-th command or note; returns a list that is not empty when it did."""
    counted, struck = [0], list[int]()
    loads, asks, notes = victim.process.load, victim.process.ask, victim.desired.keep
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

    monkeypatch.setattr(victim.process, "load", counting(loads))
    monkeypatch.setattr(victim.process, "note_leads", counting(victim.process.note_leads))
    monkeypatch.setattr(victim.process, "lead", counting(victim.process.lead))
    monkeypatch.setattr(victim.process, "ask", counting(asks))
    monkeypatch.setattr(victim.desired, "keep", counting(notes))
    return struck


def stands(haproxy: HaproxyBalancer) -> bool:
    """Whether HAProxy answers."""
    with contextlib.suppress(Transient):
        haproxy.seats()
        return True
    return False
