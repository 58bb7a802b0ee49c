"""A stop and a start with trouble before and after every call that has an effect; the world ends the same."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from orchestrator.model import Phase, Power, Verb
from tests.trouble.wishes import WISHES, effects_of_wishes, gone
from tests.world.fabric import Fabric, Trouble, die, hang_up, web_role

ROLE = web_role(instances=1)


def stopped_and_started(fabric: Fabric) -> None:
    """Deploy, stop, start, stop with a reimage asked for, start, delete: off in between, and as it was after it."""
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    fabric.world.machines[fabric.instance().name].system_marker = "written"
    fabric.world.storage[fabric.instance().name]["cache"] = "written"
    for verbs, marker in (((), "written"), ((Verb.REIMAGE,), "")):
        before = fabric.instance()
        fabric.act(Verb.STOP, "shop")
        fabric.until(fabric.quiet)
        for verb in verbs:
            fabric.act(verb, "shop")
        fabric.until(fabric.quiet)
        assert fabric.instance().phase is Phase.STOPPED
        assert fabric.world.machines[before.name].power is Power.OFF
        assert before.name not in fabric.world.seats_taken
        fabric.act(Verb.START, "shop")
        fabric.until(fabric.quiet)
        after = fabric.instance()
        assert after.phase is Phase.SERVING
        assert after.generation == before.generation + len(verbs)
        assert fabric.world.machines[before.name].system_marker == marker
        assert fabric.world.storage[before.name] == {"cache": "written"}
        assert after.name in fabric.world.seats_taken
    fabric.remove()
    gone(fabric)


@functools.cache
def effects() -> tuple[str, ...]:
    """The verbs with an effect of one untroubled life, in order."""
    fabric = Fabric()
    stopped_and_started(fabric)
    return tuple(fabric.trouble.verbs)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("strike", [die, hang_up], ids=["daemon-dies", "peer-hangs-up"])
def test_trouble_at_every_call(strike: Callable[[], None], after: bool) -> None:
    """kill -9 of the daemon, or a peer that is gone or never answers, changes nothing in the end."""
    for at in range(1, len(effects()) + 1):
        stopped_and_started(Fabric(Trouble(at, after, strike)))


def test_the_operator_stops_at_every_call() -> None:
    """Whatever was under way: off and out of the pool; started again all serve, and a removal leaves nothing."""
    met = set[Phase]()
    for at in range(1, effects_of_wishes() + 1):
        fabric = Fabric(Trouble(at, after=bool(at % 2)))

        def stop(fabric: Fabric = fabric) -> None:
            met.update(one.phase for one in fabric.instances())
            fabric.act(Verb.STOP, "shop")

        fabric.trouble.strike = stop
        for wish in WISHES:
            wish(fabric)
            fabric.until(fabric.quiet)
            if fabric.trouble.calls >= at:
                break
        assert fabric.trouble.calls >= at, f"call {at} was not struck"
        if all(one.phase is Phase.STOPPED for one in fabric.instances()):
            assert {one.power for one in fabric.world.machines.values()} <= {Power.OFF}
            assert not fabric.world.seats_taken
        fabric.act(Verb.START, "shop")
        fabric.until(fabric.quiet)
        assert all(one.name in fabric.world.seats_taken for one in fabric.instances())
        fabric.remove()
        gone(fabric)
    elsewhere = {Phase.SAVING, Phase.RESTORING, Phase.LEASED}  # In no such life: see test_warm and test_leases.
    assert met >= set(Phase) - {Phase.FAILED, Phase.GONE, Phase.HALTING, Phase.STOPPED} - elsewhere


@pytest.mark.parametrize("strike", ["start", "remove"])
def test_the_operator_starts_or_removes_at_every_call_of_a_stop(strike: str) -> None:
    """A start or a removal in the middle of it is met, and the last word counts."""
    fabric = Fabric()
    fabric.deploy(ROLE)
    fabric.until(fabric.quiet)
    deployed = fabric.trouble.calls
    fabric.act(Verb.STOP, "shop")
    fabric.until(fabric.quiet)
    for at in range(deployed + 1, fabric.trouble.calls + 1):
        struck = Fabric(Trouble(at, after=bool(at % 2)))
        struck.trouble.strike = (
            struck.remove if strike == "remove" else functools.partial(struck.act, Verb.START, "shop")
        )
        struck.deploy(ROLE)
        struck.until(struck.quiet)
        struck.act(Verb.STOP, "shop")
        struck.until(struck.quiet)
        assert struck.trouble.calls >= at, f"call {at} was not struck"
        struck.act(Verb.START, "shop")
        struck.until(struck.quiet)
        assert all(one.phase is Phase.SERVING for one in struck.instances())
        struck.remove()
        gone(struck)
