"""Instances that are protected: no verb and no healing touches them or their VMs, and nothing is held up by them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator import lifecycle
from orchestrator.errors import Conflict
from orchestrator.model import Incarnation, InstanceName, Phase, Power, Progress, Ready, Size, Verb
from tests.unit.control.fleet import OTHER, WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role


def lasting(fabric: Fabric, rounds: int = 900, seconds: float = 4.0) -> None:
    """An hour goes by."""
    for _ in range(rounds):
        fabric.round(seconds)


@pytest.mark.parametrize("verb", list(Verb))
def test_no_verb_that_names_it_is_taken(verb: Verb) -> None:
    """Refused with what would help; so is whatever would remove it."""
    fabric = serving(2)
    fabric.control.protect("web-1", on=True)
    with pytest.raises(Conflict, match=r"web-1\.shop is protected") as caught:
        fabric.control.act(verb, "web-1")
    assert caught.value.hint == "run: vmrole unprotect web-1.shop"
    with pytest.raises(Conflict, match=r"web-1\.shop is protected"):
        fabric.control.scale("shop", {"web": 1})
    with pytest.raises(Conflict, match=r"web-1\.shop is protected"):
        fabric.control.remove("shop")
    with pytest.raises(Conflict, match=r"web-1\.shop is protected"):
        fabric.deploy(web_role(instances=1))
    assert fabric.control.operations() == []
    fabric.control.scale("shop", {"web": 3})
    fabric.until(fabric.quiet)
    assert fabric.instance(OTHER).boot == 2
    fabric.control.protect("web-1", on=False)
    fabric.remove()
    fabric.until(lambda: not fabric.instances())


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.REBUILD, Verb.STOP])
def test_an_operation_on_its_role_passes_it_by(verb: Verb) -> None:
    """The others have their turn, it has none, and the operation says so."""
    fabric = serving(3)
    machine = fabric.world.machines[OTHER]
    machine.system_marker = "written"
    fabric.control.protect("web-1", on=True)
    operation = fabric.control.act(verb, "web.shop")
    fabric.until(fabric.quiet)
    assert fabric.control.operation(operation.id).progress is Progress.DONE
    assert "1 protected and left as it is" in fabric.control.operation(operation.id).message
    assert (fabric.instance(OTHER).phase, machine.boots, machine.system_marker) == (Phase.SERVING, 2, "written")
    fabric.control.protect("web-1", on=False)
    lasting(fabric, 20)
    assert machine.boots == 2, "nothing comes after it"


def test_an_apply_says_whom_it_leaves_and_a_later_one_takes_him() -> None:
    """A new template is rolled out over the others; the protected one is named, and replaced when it may be."""
    fabric = serving(3)
    fabric.control.protect("web-1", on=True)
    spec = fabric.control.service("shop").spec
    larger = replace(spec, roles=(web_role(instances=3, size=Size(memory_mib=256)),))
    for dry_run in (True, False):
        applied = fabric.control.apply_spec(larger, dry_run=dry_run)
        (kept,) = [one for one in applied.changes if one.key == "web-1.shop"]
        assert "keeps the VM that it has; to replace it: vmrole unprotect web-1.shop" in kept.effect
    fabric.until(fabric.quiet)
    assert [one.generation for one in fabric.instances()] == [2, 1, 2]
    assert fabric.instance(OTHER).stale
    assert fabric.control.apply_spec(larger).changes == ()
    fabric.control.protect("web-1", on=False)
    assert fabric.control.apply_spec(larger).operation is not None
    fabric.until(fabric.quiet)
    assert [one.generation for one in fabric.instances()] == [2, 2, 2]


def check(fabric: Fabric) -> None:
    fabric.world.faults.check_fails.add(WEB)


def crash(fabric: Fabric) -> None:
    fabric.world.machines[WEB].power = Power.CRASHED


def end(fabric: Fabric) -> None:
    fabric.world.kill(WEB)


def hang(fabric: Fabric) -> None:
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.world.faults.services_never_start.add(WEB)


@pytest.mark.parametrize("ill", [check, crash, end, hang])
@pytest.mark.parametrize("instances", [1, 3])
def test_healing_leaves_it_alone(instances: int, ill: Callable[[Fabric], None]) -> None:
    """Sick, crashed or off for an hour: out of rotation, its VM as it is, told; healed when it may be again."""
    fabric = serving(instances, ready=Ready(within_s=30.0))
    fabric.control.protect("web-0", on=True)
    ill(fabric)
    machine = fabric.world.machines[WEB]
    boots, power = machine.boots, machine.power
    lasting(fabric)
    assert (machine.boots, machine.power, fabric.instance().generation) == (boots, power, 1)
    seat = fabric.control.seats().get(WEB)
    assert seat is None or seat.standing == "down", "no traffic"
    why = " ".join(fabric.control.why("web-0"))
    assert "It is protected: no verb and no healing touches it until: vmrole unprotect web-0.shop." in why
    assert sum("nothing is done to it" in line for line in told(fabric)) < 3
    fabric.control.protect("web-0", on=False)
    fabric.world.faults.check_fails.clear()
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)


def test_it_serves_while_it_is_well_and_comes_back_by_itself() -> None:
    """Whoever looks into it restarts it from inside: out of rotation and back, without our doing."""
    fabric = deployed()
    fabric.control.protect("web-0", on=True)
    lasting(fabric, 20)
    assert WEB in fabric.world.seats_taken
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: WEB not in fabric.world.seats_taken, rounds=5)
    fabric.until(fabric.quiet)
    assert WEB in fabric.world.seats_taken


def test_it_holds_up_nobody_else() -> None:
    """A sick protected one neither makes its role ill together nor keeps an operation from the others."""
    fabric = serving(2, ready=Ready(within_s=30.0))
    fabric.control.protect("web-1", on=True)
    fabric.world.machines[OTHER].start_boot(fabric.world.time_s)
    fabric.world.faults.services_never_start.add(OTHER)
    lasting(fabric, 100)
    assert fabric.instance(OTHER).phase is Phase.STARTING
    operation = fabric.control.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.control.operation(operation.id).progress is Progress.DONE)
    fabric.world.faults.check_fails.add(WEB)
    boots = fabric.world.machines[WEB].boots
    lasting(fabric, 150)
    assert fabric.world.machines[WEB].boots > boots, "the other one is healed"


def test_what_has_not_begun_is_taken_back() -> None:
    """Protected before its turn of a running operation: it keeps its VM, also after its protection has ended."""
    fabric = serving(2)
    operation = fabric.control.act(Verb.REIMAGE, "shop", together=2)
    fabric.daemon.attend(("operation", operation.id))
    assert fabric.instance().going
    fabric.control.protect("web-0", on=True)
    fabric.until(lambda: fabric.control.operation(operation.id).progress is Progress.DONE)
    fabric.control.protect("web-0", on=False)
    fabric.until(fabric.quiet)
    assert [one.generation for one in fabric.instances()] == [1, 2]


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.STOP])
def test_what_has_begun_ends_or_is_held_but_nothing_hangs(verb: Verb) -> None:
    """Protected at any moment of it: the operation ends, and after the protection all is well."""
    phases = {
        Verb.RESTART: (Phase.DRAINING, Phase.RESTARTING, Phase.STARTING),
        Verb.REIMAGE: (Phase.DRAINING, Phase.STOPPING, Phase.ERASING, Phase.REQUESTED, Phase.SETUP),
        Verb.STOP: (Phase.DRAINING, Phase.HALTING, Phase.STOPPED),
    }
    for phase in phases[verb]:
        fabric = deployed()
        operation = fabric.control.act(verb, "web-0")
        fabric.until(lambda fabric=fabric, phase=phase: fabric.instance().phase is phase)
        fabric.control.protect("web-0", on=True)
        lasting(fabric, 100)
        assert fabric.control.operation(operation.id).progress is Progress.DONE, phase
        fabric.control.protect("web-0", on=False)
        fabric.act(Verb.START, "web-0")
        fabric.until(fabric.quiet)
        assert fabric.instance().phase is Phase.SERVING


def test_a_whole_service_can_be_protected() -> None:
    """However many instances it has; nothing of it is touched then."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=60))
    fabric.until(fabric.quiet)
    assert all(one.goal.protected for one in fabric.control.protect("shop", on=True))
    with pytest.raises(Conflict, match="are protected"):
        fabric.control.act(Verb.RESTART, "shop")
    fabric.control.protect(InstanceName("web-7.shop"), on=False)
    fabric.control.act(Verb.RESTART, "web.shop")
    fabric.until(fabric.quiet)
    assert [one.name for one in fabric.instances() if one.boot == 3] == ["web-7.shop"]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.SERVING, Phase.FAILED, Phase.STOPPED], ids=str)
def test_a_wish_that_slips_in_is_held(phase: Phase) -> None:
    """Whatever is wished of it all the same, nothing begins but its removal."""
    here = replace(deployed().instance(), phase=phase)
    for wish in ({"wanted": Incarnation(2, 1)}, {"wanted": Incarnation(1, 9)}, {"halts": 1}):
        goal = replace(here.goal, protected=True, **wish)  # type: ignore[arg-type]
        assert lifecycle.detour(replace(here, goal=goal)) is None
        assert lifecycle.detour(replace(here, goal=replace(goal, serve=False))) is not None


def test_what_has_failed_is_not_tried_again_meanwhile() -> None:
    """It stays failed, with its evidence, while somebody looks into it; and is tried again after that."""
    fabric = deployed(ready=Ready(within_s=30.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    fabric.control.protect("web-0", on=True)
    since_s = fabric.instance().phase_since_s
    lasting(fabric, 300)
    assert (fabric.instance().phase, fabric.instance().phase_since_s) == (Phase.FAILED, since_s)
    fabric.world.faults.services_never_start.clear()
    fabric.control.protect("web-0", on=False)
    fabric.until(fabric.quiet)


def _removed(fabric: Fabric) -> None:
    fabric.control.remove("shop")


def _scaled_away(fabric: Fabric) -> None:
    fabric.control.scale("shop", {"web": 1})


@pytest.mark.parametrize("leave", [_removed, _scaled_away])
def test_what_is_being_removed_is_not_said_to_be_protected(leave: Callable[[Fabric], None]) -> None:
    """A removal is recorded with the service first, and with the instances a moment later; the protection of what
    leaves is refused in between as well, and the others of its role may have it.
    """
    fabric = serving(2)
    with fabric.present.unfolding:  # As after a crash: the instances' own records say nothing of it yet.
        asked = threading.Thread(target=leave, args=(fabric,), daemon=True)
        before = fabric.store.revision()
        asked.start()
        while fabric.store.revision() == before:
            fabric.store.wait(before, 1.0)
        assert fabric.instance(OTHER).goal.serve
        answers: list[str] = []
        protects = threading.Thread(target=_protect, args=(fabric, answers), daemon=True)
        protects.start()
        protects.join(0.2)
    asked.join()
    protects.join()
    fabric.until(lambda: not any(one.name == OTHER for one in fabric.instances()))
    assert answers == ["web-1.shop is being removed"]


def _protect(fabric: Fabric, answers: list[str]) -> None:
    try:
        fabric.control.protect("web-1", on=True)
        answers.append("protected")
    except Conflict as error:
        answers.append(str(error))
