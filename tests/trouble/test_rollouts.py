"""A change, a pause, a return and another change, with trouble at every commit of a request or of a rollout."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.errors import Conflict, Unreachable
from orchestrator.model import OnFailure, Operation, Phase, Progress, Revision, Rollout, ServiceSpec, Upgrade
from orchestrator.ports import Write
from tests.trouble.struck_requests import StruckRequests
from tests.trouble.wishes import gone
from tests.world.fabric import Died, Trouble, die, hang_up, web_role


def spec(name: str) -> ServiceSpec:
    """Two instances whose VMs are of that kind."""
    role = web_role(user_data=f"#!/bin/sh\n# {name}\n")
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,))


class AtCommits(Trouble):
    """Strikes at commits of more than an instance's state, which the other lives strike at."""

    def around(self, verb: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, with the strike before or after it when it is such a commit and its turn has come."""
        if verb != "commit":
            return call
        struck = super().around(verb, call)

        def commit(writes: Sequence[Write], *args: Any, **kwargs: Any) -> Any:
            own = all(write.kind == records.STATE for write in writes)
            return (call if own else struck)(writes, *args, **kwargs)

        return commit


class Asked(StruckRequests):
    """Who gets no answer asks again, of a daemon that is new."""

    def __init__(self, trouble: Trouble | None = None) -> None:
        super().__init__(trouble or AtCommits())
        self._start()

    def ask(self, request: Callable[[], object]) -> None:
        """Until it is answered; that it has been done already is an answer."""
        for _ in range(3):
            try:
                request()
            except Died:
                self.deaths += 1
                self._start()
            except Unreachable:
                continue
            except Conflict as refused:
                if "no rollout" not in str(refused):
                    raise
                return
            else:
                return
        raise AssertionError("it is never answered")

    def apply(self, name: str) -> None:
        """Asks for VMs of that kind."""
        self.ask(lambda: self.control.apply_spec(spec(name)))

    def built(self) -> str:
        """Of which kind each VM is."""
        return "".join(one.role.user_data[-2] for one in self.instances())

    def rests(self) -> bool:
        """Whether both serve, and a rollout that is paused has nobody under way."""
        rollouts = self.present.all(Rollout)
        running = [one for one in self.present.all(Operation) if one.progress is Progress.RUNNING and not one.paused]
        under_way = [one for one in self.instances() if one.goal.wanted > one.at]
        serve = len(self.instances()) == 2 and all(one.phase is Phase.SERVING for one in self.instances())
        paused = [one for one in rollouts if one.paused and one.progress is Progress.RUNNING]
        return serve and not running and not under_way and all("not begun" in one.message for one in paused)


def rolled(fabric: Asked) -> None:
    """Deploy; a change that is paused halfway and undone; a change that is paused and resumed; the end."""
    fabric.apply("a")
    fabric.until(fabric.rests)
    fabric.apply("b")
    fabric.until(lambda: "b" in fabric.built())
    fabric.ask(lambda: fabric.control.pause("shop"))
    fabric.until(fabric.rests)
    halfway = fabric.built()
    for _ in range(20):
        fabric.round()
    assert fabric.built() == halfway, "nobody is begun while it is paused"
    assert sorted(halfway) == ["a", "b"]
    fabric.ask(lambda: fabric.control.undo("shop", to=1))
    fabric.until(fabric.rests)
    assert fabric.built() == "aa"
    fabric.apply("c")
    fabric.ask(lambda: fabric.control.pause("shop"))
    fabric.until(fabric.rests)
    assert fabric.built() == "aa"
    fabric.ask(lambda: fabric.control.resume("shop"))
    fabric.until(fabric.rests)
    assert fabric.built() == "cc"
    kept = fabric.control.revisions("shop")
    assert [(one.number, one.restores, one.spec.roles[0].user_data[-2]) for one in kept] == [
        (1, 0, "a"),
        (2, 0, "b"),
        (3, 1, "a"),
        (4, 0, "c"),
    ]
    assert [one.progress for one in fabric.control.rollouts("shop")][-1] is Progress.DONE
    assert not fabric.present.set_aside()
    fabric.ask(fabric.remove)
    gone(fabric)
    assert not fabric.present.all(Revision)


def gone_back(fabric: Asked) -> None:
    """Deploy; a release that is bad, by a file that says to go back."""
    fabric.world.faults.bad_user_data.add(spec("x").roles[0].user_data)
    upgrade = Upgrade(on_failure=OnFailure.UNDO, within_s=60.0)
    fabric.apply("a")
    fabric.until(fabric.rests)
    fabric.ask(lambda: fabric.control.apply_spec(replace(spec("x"), upgrade=upgrade)))
    fabric.until(lambda: fabric.rests() and fabric.control.service("shop").file_revision > 2)
    assert fabric.built() == "aa"
    assert [one.generation for one in fabric.instances()] == [3, 1], "who was not changed has the VM that he had"
    assert [(one.number, one.restores) for one in fabric.control.revisions("shop")] == [(1, 0), (2, 0), (3, 1)]
    progress = [one.progress for one in fabric.control.rollouts("shop")]
    assert progress == [Progress.FAILED, Progress.DONE]
    assert "cannot go back" not in fabric.control.rollouts("shop")[0].message
    fabric.ask(fabric.remove)
    gone(fabric)


Life = Callable[[Asked], None]


@functools.cache
def effects(life: Life) -> int:
    """How many such commits an untroubled life has."""
    fabric = Asked()
    life(fabric)
    return fabric.trouble.calls


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("strike", [die, hang_up], ids=["daemon-dies", "peer-hangs-up"])
@pytest.mark.parametrize("life", [rolled, gone_back])
def test_trouble_at_every_commit(strike: Callable[[], None], after: bool, life: Life) -> None:
    """kill -9 of the daemon, or a peer that is gone or never answers, changes nothing in the end."""
    for at in range(1, effects(life) + 1):
        life(Asked(AtCommits(at, after, strike)))
