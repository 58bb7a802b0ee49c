"""The table is total, the README's picture is the table's, and the goal bends the road only where it may."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator import lifecycle
from orchestrator.model import Goal, Incarnation, Instance, Phase, Role, Setup
from tests.world.fabric import Fabric, web_role
from tests.world.places import REPOSITORY

POSSIBLY_IN_POOL = (Phase.READY, Phase.SERVING)
LEAVING = (Phase.STOPPING, Phase.ERASING, Phase.GONE)


@pytest.fixture
def instance() -> Instance:
    """A record in generation 1, boot 2, that serves."""
    fabric = Fabric()
    fabric.deploy()
    return dataclasses.replace(fabric.instance(), phase=Phase.SERVING, boot=2)


def wish(instance: Instance, **changes: object) -> Instance:
    """The same record with another goal."""
    return dataclasses.replace(instance, goal=dataclasses.replace(instance.goal, **changes))  # type: ignore[arg-type]


def test_every_phase_has_its_line() -> None:
    """The table knows every phase, and every phase it leads to."""
    assert set(lifecycle.TABLE) == set(Phase)
    assert {then for line in lifecycle.TABLE.values() for then in line.then} | {Phase.REQUESTED} >= set(Phase) - {
        Phase.FAILED
    }


def test_the_readme_shows_the_table() -> None:
    """The picture in the README is generated from the table."""
    assert lifecycle.picture() in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_onward_stays_on_the_table(instance: Instance, phase: Phase) -> None:
    """Wherever a finished phase leads, the table has that road, whatever the goal."""
    for goal in (
        instance.goal,
        wish(instance, serve=False).goal,
        wish(instance, wanted=Incarnation(2, 1)).goal,
        wish(instance, wanted=Incarnation(1, 3)).goal,
    ):
        here = dataclasses.replace(instance, phase=phase, goal=goal)
        if phase is not Phase.GONE:
            assert lifecycle.onward(here) in lifecycle.TABLE[phase].then


@pytest.mark.parametrize("phase", list(Phase), ids=str)
def test_nobody_is_stopped_while_in_a_pool(instance: Instance, phase: Phase) -> None:
    """From a phase that may be in a pool every wish leads to draining first."""
    for goal in (wish(instance, serve=False).goal, wish(instance, wanted=Incarnation(2, 1)).goal):
        called_for = lifecycle.detour(dataclasses.replace(instance, phase=phase, goal=goal))
        if phase is Phase.GONE:
            assert called_for is (Phase.REQUESTED if goal.serve else None)
        elif phase in POSSIBLY_IN_POOL:
            assert called_for is Phase.DRAINING
        elif phase in LEAVING or phase is Phase.DRAINING:
            assert called_for is None
        else:
            assert called_for is Phase.STOPPING


def test_a_setup_is_not_disturbed_by_a_restart(instance: Instance) -> None:
    """A restart that is wished during setup waits for its end."""
    early = dataclasses.replace(wish(instance, wanted=Incarnation(1, 3)), phase=Phase.SETUP)
    assert lifecycle.detour(early) is None


@pytest.mark.parametrize(("set_up", "called_for"), [(False, None), (True, Phase.RESTARTING)])
def test_no_restart_makes_up_for_a_setup(instance: Instance, set_up: bool, called_for: Phase | None) -> None:
    """What failed before its setup was complete would come into rotation half set up: only a reimage leads out."""
    failed = dataclasses.replace(wish(instance, wanted=Incarnation(1, 3)), phase=Phase.FAILED, set_up=set_up)
    assert lifecycle.detour(failed) is called_for
    assert lifecycle.detour(wish(failed, wanted=Incarnation(2, 1))) is Phase.STOPPING


def test_a_wish_is_a_level(instance: Instance) -> None:
    """A wish for something that has been passed already calls for nothing."""
    assert lifecycle.detour(dataclasses.replace(wish(instance, wanted=Incarnation(2, 1)), generation=3)) is None
    assert lifecycle.detour(wish(instance, wanted=Incarnation(1, 2))) is None


@pytest.mark.parametrize(
    ("phase", "set_up", "strikes", "rung"),
    [
        (Phase.STARTING, True, 0, Phase.RESTARTING),
        (Phase.STARTING, True, 1, Phase.STOPPING),
        (Phase.STARTING, True, 2, Phase.FAILED),
        (Phase.SETUP, False, 0, Phase.STOPPING),
        (Phase.SETUP, False, 2, Phase.FAILED),
        (Phase.ERASING, False, 0, Phase.FAILED),
    ],
)
def test_the_healing_ladder(instance: Instance, phase: Phase, set_up: bool, strikes: int, rung: Phase) -> None:
    """Restart, reimage, then a human; a setup is never restarted from outside."""
    assert lifecycle.heal(dataclasses.replace(instance, phase=phase, set_up=set_up, strikes=strikes)) is rung


def test_equal_templates_need_no_reimage(instance: Instance) -> None:
    """What a VM is not built from may change under it."""
    role = instance.role
    assert dataclasses.replace(role, instances=9, drain_s=1.0, endpoints=()).template() == role.template()
    assert dataclasses.replace(role, image_sha256="b" * 64).template() != role.template()


@pytest.mark.parametrize(
    "change",
    [
        *({field.name: object()} for field in dataclasses.fields(Role) if field.name != "setup"),
        {"setup": Setup(restart=False)},
        {"setup": Setup(within_s=1.0)},
    ],
    ids=lambda change: ",".join(change),
)
def test_two_roles_build_alike_when_their_templates_are_equal(change: dict[str, Any]) -> None:
    """The comparison without a copy draws on the same fields as the copy does, each of them by itself."""
    role = web_role()
    other = dataclasses.replace(role, **change)
    assert role.builds_like(other) == other.builds_like(role) == (role.template() == other.template())
    assert Goal(role=role).wanted == Incarnation(1, 1)
