"""What may be missing of a role by all our doings together: `healing.maxUnavailable`, in a fake world."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.model import Healing, Phase, Ready, ServiceSpec, Upgrade, Verb
from tests.unit.control.fleet import OTHER, WEB
from tests.world.fabric import Fabric, web_role


def spec(
    name: str = "a", *, upgrade: Upgrade, healing: Healing, instances: int = 6, ready: Ready | None = None
) -> ServiceSpec:
    """The service whose VMs are of that kind."""
    role = web_role(user_data=f"#!/bin/sh\n# {name}\n", instances=instances, healing=healing, ready=ready or Ready())
    return ServiceSpec(name="shop", vip="203.0.113.10", roles=(role,), upgrade=upgrade)


def serving(upgrade: Upgrade, healing: Healing, instances: int = 6) -> Fabric:
    """So many that serve."""
    fabric = Fabric()
    fabric.control.apply_spec(spec(upgrade=upgrade, healing=healing, instances=instances))
    fabric.until(fabric.quiet)
    return fabric


def most_out(fabric: Fabric, settled: Callable[[], bool], rounds: int = 3000) -> int:
    """How many served nobody at a time, at the most, until then."""
    most = 0
    for _ in range(rounds):
        if settled():
            return most
        fabric.round()
        most = max(most, sum(one.phase is not Phase.SERVING for one in fabric.instances()))
    raise AssertionError([(one.name, one.phase, one.waiting, one.failure) for one in fabric.instances()])


def anew(fabric: Fabric, generation: int = 2) -> bool:
    """Whether all were made anew, and serve."""
    return fabric.quiet() and all(one.generation >= generation for one in fabric.instances())


@pytest.mark.parametrize(
    ("upgrade", "healing", "most"),
    [
        (Upgrade(max_unavailable=3), Healing(), 3),
        (Upgrade(max_unavailable=3), Healing(max_unavailable=1), 1),
        (Upgrade(max_unavailable=3), Healing(max_unavailable_percent=34), 2),
        (Upgrade(max_unavailable_percent=50), Healing(max_unavailable=2), 2),
        (Upgrade(max_unavailable=1), Healing(max_unavailable=3), 1),
        (Upgrade(), Healing(max_unavailable=3), 1),
    ],
)
def test_a_rollout_keeps_to_both(upgrade: Upgrade, healing: Healing, most: int) -> None:
    """The smaller of what the two keys say; what healing's does not say takes nothing from a rollout's."""
    fabric = serving(upgrade, healing)
    fabric.control.apply_spec(spec("b", upgrade=upgrade, healing=healing))
    assert fabric.control.rollouts("shop")[-1].together == most
    assert most_out(fabric, lambda: anew(fabric)) == most


@pytest.mark.parametrize("together", [None, 4])
@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE])
def test_a_walk_keeps_to_it(verb: Verb, together: int | None) -> None:
    """A restart or reimage of a whole role, whatever number comes with it; and the operation says so."""
    fabric = serving(Upgrade(max_unavailable=4), Healing(max_unavailable=2))
    asked = fabric.control.act(verb, "web.shop", together=together)
    assert asked.together == 2
    assert most_out(fabric, fabric.quiet) == 2
    assert all((one.generation, one.boot) > (1, 2) for one in fabric.instances())


def test_each_role_has_its_own() -> None:
    """What one role can bear is nothing to another one's."""
    upgrade = Upgrade(max_unavailable=3)
    fabric = Fabric()
    roles = tuple(
        web_role(name=name, instances=3, healing=Healing(max_unavailable=most))
        for name, most in (("db", 1), ("job", 3))
    )
    fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=roles, upgrade=upgrade))
    fabric.until(fabric.quiet)
    fabric.control.act(Verb.RESTART, "shop")
    most = {"db": 0, "job": 0}
    while not fabric.quiet():
        fabric.round()
        for name in most:
            away = [one for one in fabric.instances() if one.role_name == name and one.phase is not Phase.SERVING]
            most[name] = max(most[name], len(away))
    assert most["db"] == 1
    assert most["job"] > 1


@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("healing", [Healing(), Healing(max_unavailable=1), Healing(max_unavailable_percent=20)])
def test_the_smallest_roles_are_made_anew_and_healed(healing: Healing, instances: int) -> None:
    """A part of one or two is one: nobody waits for what never comes."""
    fabric = serving(Upgrade(), healing, instances)
    fabric.control.apply_spec(spec("b", upgrade=Upgrade(), healing=healing, instances=instances))
    fabric.until(lambda: anew(fabric), rounds=3000)
    fabric.control.act(Verb.RESTART, "web.shop")
    fabric.until(fabric.quiet, rounds=3000)
    boot = fabric.instance().boot
    fabric.world.faults.check_fails.add(WEB)
    fabric.until(lambda: fabric.instance().boot > boot, rounds=3000)
    fabric.world.faults.check_fails.clear()
    fabric.until(fabric.quiet, rounds=3000)


def test_a_walk_says_whom_it_waits_for() -> None:
    """By its operation, and by `why` of who has yet to go; and it goes on when that one serves again."""
    fabric = Fabric()
    upgrade, healing, ready = Upgrade(max_unavailable=3), Healing(max_unavailable=1), Ready(within_s=3600.0)
    fabric.control.apply_spec(spec(upgrade=upgrade, healing=healing, instances=3, ready=ready))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(WEB)
    fabric.control.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    asked = fabric.control.act(Verb.RESTART, OTHER)
    for _ in range(20):
        fabric.round()
    waits = f"waits until {WEB} serves again"
    assert waits in fabric.control.operation(asked.id).message
    told = [line for line in fabric.control.why(OTHER) if waits in line]
    assert [line.partition(":")[0] for line in told] == [f"A restart of {OTHER} has yet to begin with it"]
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance(OTHER).boot == 3
    assert not any("has yet to begin" in line for line in fabric.control.why(OTHER))
