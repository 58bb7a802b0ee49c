"""Roles begin in their order, when they are deployed and when the host boots; so many VMs boot at a time."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.model import Incarnation, Instance, Phase, Role, Verb
from orchestrator.rules import patience
from tests.world.fabric import Fabric, web_role

DB, WEB = "db-0.shop", "web-0.shop"


def role(name: str, *after: str, instances: int = 1) -> Role:
    """A role without endpoints, so that several have one VIP."""
    return web_role(name=name, after=after, instances=instances, endpoints=(), local_storage=())


def machine_runs(fabric: Fabric, name: str) -> bool:
    """Whether its VM is on, whatever its record says."""
    machine = fabric.world.machines.get(name)  # type: ignore[call-overload] # a name
    return machine is not None and machine.power == "running"


def boot_the_host(fabric: Fabric) -> None:
    """Every VM is off, and the daemon is a new one."""
    for name in [*fabric.world.machines]:
        fabric.world.kill(name)
    fabric.restart()


def in_order(fabric: Fabric, first: str, then: str) -> None:
    """Until all serve: `then` does not run before `first` serves, and `why` says so meanwhile."""
    said = ""

    def looked() -> bool:
        nonlocal said
        if machine_runs(fabric, then) and not said:
            raise AssertionError(f"{then} runs before it has waited")
        of_first, of_then = fabric.instance(first), fabric.instance(then)
        if not (of_first.serving and machine_runs(fabric, first)):
            assert not machine_runs(fabric, then), (of_first.phase, of_then.phase)
        if "begins after" in of_then.waiting:
            said = "\n".join(fabric.control.why(then))
        return fabric.quiet() and machine_runs(fabric, then)

    fabric.until(looked)
    assert "its role begins after db, of which nobody serves yet; in 10 min at most" in said


def test_roles_are_deployed_in_their_order() -> None:
    """Its disks are laid meanwhile; its VM is not there before the other role serves. Its time does not run."""
    fabric = Fabric()
    fabric.deploy(role("web", "db"), role("db"))
    in_order(fabric, DB, WEB)
    assert (fabric.instance(WEB).generation, fabric.instance(WEB).strikes) == (1, 0)


def test_roles_come_back_in_their_order_when_the_host_boots() -> None:
    """What the records say of before the boot counts for nothing; everything is kept."""
    fabric = Fabric()
    fabric.deploy(role("web", "db"), role("db"))
    fabric.until(fabric.quiet)
    for name in (DB, WEB):
        fabric.world.machines[name].system_marker = "kept"  # type: ignore[index] # a name
    boot_the_host(fabric)
    in_order(fabric, DB, WEB)
    assert [one.generation for one in fabric.instances()] == [1, 1]
    assert {machine.system_marker for machine in fabric.world.machines.values()} == {"kept"}


def test_a_wait_for_roles_has_an_end() -> None:
    """One that never comes to serve holds up those after it for ten minutes, and those after them for no longer than
    they wait themselves.
    """
    fabric = Fabric()
    fabric.world.faults.services_never_start.add(DB)
    slow = dataclasses.replace(role("db"), ready=dataclasses.replace(role("db").ready, within_s=36_000.0))
    fabric.deploy(role("web", "db"), slow, role("last", "web"))
    fabric.until(lambda: "begins after db" in fabric.instance(WEB).waiting)
    began_s = fabric.world.time_s
    fabric.until(lambda: fabric.instance(WEB).serving, rounds=3000)
    assert patience.AFTER_WITHIN_S <= fabric.world.time_s - began_s < patience.AFTER_WITHIN_S + 200
    fabric.until(lambda: fabric.instance("last-0.shop").serving)
    assert not fabric.instance(DB).serving


@pytest.mark.parametrize("verb", [Verb.REIMAGE, Verb.RESTART])
def test_who_runs_is_not_held_up(verb: Verb) -> None:
    """Its wishes, and its healing, are done while the role before it is away; so is a VM that dies."""
    fabric = Fabric()
    fabric.deploy(role("web", "db"), role("db"))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(DB)
    fabric.world.kill(DB)
    fabric.until(lambda: not fabric.instance(DB).serving)
    fabric.act(verb, "web-0")
    wanted = Incarnation(2, 0) if verb is Verb.REIMAGE else Incarnation(1, 3)
    fabric.until(lambda: fabric.instance(WEB).serving and fabric.instance(WEB).at >= wanted)
    fabric.world.kill(WEB)
    fabric.until(lambda: not fabric.instance(WEB).serving)
    fabric.until(lambda: fabric.instance(WEB).serving)
    assert not fabric.instance(DB).serving


@pytest.mark.parametrize("instances", [0, 1])
def test_a_role_that_nobody_starts_is_not_waited_for(instances: int) -> None:
    """It has no instances, or all of them were stopped: somebody wants it so."""
    fabric = Fabric()
    fabric.deploy(role("db", instances=instances), role("web", "db"))
    fabric.until(fabric.quiet)
    if instances:
        fabric.act(Verb.STOP, "db-0")
        fabric.until(fabric.quiet)
    boot_the_host(fabric)
    began_s = fabric.world.time_s
    fabric.until(lambda: machine_runs(fabric, WEB) and fabric.instance(WEB).serving)
    assert fabric.world.time_s - began_s < patience.AFTER_WITHIN_S / 2


def test_so_many_boot_at_a_time_when_the_host_boots() -> None:
    """Two in the fabric: who serves makes room for the next, and so all come back; nobody is struck for waiting."""
    fabric = Fabric()
    fabric.deploy(role("web", instances=6))
    fabric.until(fabric.quiet)
    boot_the_host(fabric)
    most, said = 0, set[str]()

    def booting(one: Instance) -> bool:
        return machine_runs(fabric, one.name) and not one.serving

    def looked() -> bool:
        nonlocal most
        most = max(most, sum(booting(one) for one in fabric.instances()))
        said.update(one.waiting for one in fabric.instances() if "waits for its turn" in one.waiting)
        return fabric.quiet() and all(machine_runs(fabric, one.name) for one in fabric.instances())

    fabric.until(looked)
    assert most == 2
    assert said == {"its VM is off and waits for its turn: 2 boot at a time after a boot of the host (boot_together)"}
    assert {(one.generation, one.strikes) for one in fabric.instances()} == {(1, 0)}


def test_who_does_not_come_back_holds_up_nobody_for_ever() -> None:
    """Its place is given to the next after five minutes."""
    fabric = Fabric()
    fabric.deploy(role("web", instances=4))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.update({WEB, "web-1.shop"})  # type: ignore[arg-type] # names
    boot_the_host(fabric)
    fabric.until(
        lambda: all(
            fabric.instance(f"web-{n}.shop").serving and machine_runs(fabric, f"web-{n}.shop") for n in (2, 3)
        ),
        rounds=2000,
    )


def put_aside(fabric: Fabric, how: str, *names: str) -> None:
    """Somebody takes them out of what comes back by itself."""
    for name in names:
        if how == "protected":
            fabric.control.protect(name, on=True)
        else:
            fabric.act(Verb.STOP, name)


@pytest.mark.parametrize("how", ["stopped", "protected"])
def test_who_is_put_aside_while_it_waits_for_its_turn_holds_up_nobody(how: str) -> None:
    """It has given up its place among those that boot."""
    fabric = Fabric()
    fabric.deploy(role("web", instances=6))
    fabric.until(fabric.quiet)
    boot_the_host(fabric)
    fabric.until(lambda: sum("waits for its turn" in one.waiting for one in fabric.instances()) == 4)
    waiting = [one.name for one in fabric.instances() if "waits for its turn" in one.waiting]
    put_aside(fabric, how, *waiting[:2])
    fabric.until(
        lambda: all(fabric.instance(n).serving and machine_runs(fabric, n) for n in waiting[2:]), rounds=2000
    )


@pytest.mark.parametrize("how", ["stopped", "protected"])
def test_who_is_put_aside_while_it_waits_for_a_role_is_not_waited_for_for_ever(how: str) -> None:
    """Those after it go on when their own time is over."""
    fabric = Fabric()
    fabric.deploy(role("db"), role("web", "db"), role("last", "web"))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(DB)
    boot_the_host(fabric)
    fabric.until(lambda: "begins after" in fabric.instance("last-0.shop").waiting)
    put_aside(fabric, how, WEB)
    began_s = fabric.world.time_s
    fabric.until(lambda: fabric.instance("last-0.shop").serving, rounds=3000)
    assert fabric.world.time_s - began_s < 2 * patience.AFTER_WITHIN_S


def test_a_daemon_that_starts_anew_holds_up_nobody_that_runs() -> None:
    """Its VMs were on all the time."""
    fabric = Fabric()
    fabric.deploy(role("web", "db", instances=3), role("db"))
    fabric.until(fabric.quiet)
    fabric.restart()
    for _ in range(20):
        fabric.round()
        assert all(one.phase is Phase.SERVING and not one.waiting for one in fabric.instances())
