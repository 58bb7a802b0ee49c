"""One whole life with trouble before and after *every* call that has an effect; the world ends the same."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from orchestrator.model import Phase, Size, Verb
from tests.trouble.wishes import WISHES, effects_of_wishes, gone
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role, whole_life


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    whole_life(fabric)
    return tuple(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_daemon_dies_at_every_call(after: bool) -> None:
    """kill -9 before or after any effect changes nothing in the end."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after, die))

        whole_life(fabric)

        assert fabric.deaths == 1, f"call {at} ({effects()[at - 1]}) was not struck"


@pytest.mark.parametrize("after", [False, True], ids=["before", "answer-lost"])
def test_the_peer_hangs_up_at_every_call(after: bool) -> None:
    """A peer that is gone before the effect, or takes effect and never answers, changes nothing in the end."""
    for at in range(1, len(effects()) + 1):
        whole_life(Fabric(Trouble(at, after, hang_up)))


# A wish after one call and a wish before the next meet the same world: they take turns.
@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE], ids=str)
def test_the_operator_wishes_more_at_every_call(verb: Verb) -> None:
    """A further wish at any moment is fulfilled as well, and nothing else goes wrong."""
    for at in range(1, len(effects()) + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.trouble.strike = functools.partial(fabric.act, verb, "web-0.shop")

        whole_life_tolerant(fabric)


def test_the_operator_asks_for_removal_at_every_call() -> None:
    """Whatever was under way, a removal ends with nothing left."""
    met = set[Phase]()
    for at in range(1, effects_of_wishes() + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def remove(fabric: Fabric = fabric) -> None:
            met.update(one.phase for one in fabric.instances())
            fabric.remove()

        fabric.trouble.strike = remove
        for wish in WISHES:
            wish(fabric)
            fabric.until(lambda fabric=fabric, at=at: fabric.trouble.calls >= at or fabric.quiet())
            if fabric.trouble.calls >= at:
                break
        assert fabric.trouble.calls >= at, f"call {at} was not struck"

        gone(fabric)
    stopped = {Phase.HALTING, Phase.STOPPED}  # Nobody stops it in this life: see test_stop_and_start.
    elsewhere = {Phase.SAVING, Phase.RESTORING, Phase.LEASED}  # In no such life: see test_warm and test_leases.
    assert met >= set(Phase) - {Phase.FAILED, Phase.GONE} - stopped - elsewhere, "a removal at every phase of a life"


@pytest.mark.parametrize(
    "change",
    [{"size": Size(vcpus=1, memory_mib=256)}, {"instances": 1}, {"instances": 3}],
    ids=["another size", "fewer", "more"],
)
def test_the_operator_applies_something_else_meanwhile(change: dict[str, Any]) -> None:
    """Another size, fewer instances or more: whatever was under way, in the end there is what was asked for last."""
    role = web_role(**change)
    for at in range(1, effects_of_wishes() + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))
        fabric.trouble.strike = functools.partial(fabric.deploy, role)
        for wish in WISHES:
            wish(fabric)
            fabric.until(fabric.quiet)
            if fabric.trouble.calls >= at:
                break
        assert fabric.trouble.calls >= at, f"call {at} was not struck"
        # What was applied after the last call that was waited for is nobody's task yet.
        fabric.until(lambda fabric=fabric: fabric.quiet() and len(fabric.instances()) == role.instances)
        assert {one.role.size for one in fabric.instances()} == {role.size}

        fabric.remove()
        gone(fabric)


def whole_life_tolerant(fabric: Fabric) -> None:
    """A life in which a further wish may have renewed a system disk earlier than the plan says."""
    fabric.deploy()
    fabric.until(fabric.quiet)
    fabric.act(Verb.RESTART, "shop")
    fabric.until(fabric.quiet)
    fabric.act(Verb.REIMAGE, "shop")
    fabric.until(fabric.quiet)
    assert all(one.generation >= 2 and one.name in fabric.world.seats_taken for one in fabric.instances())
    fabric.remove()
    gone(fabric)
