"""What failed while it was leaving is tried again, and nothing is lost that was not given up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import Permanent
from orchestrator.model import Phase, Progress, Ready, ServiceSpec, Setup, Verb
from tests.unit.control.fleet import WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role


def someone_else_s(fabric: Fabric) -> None:
    """Its VM turns out to be somebody else's."""
    fabric.world.faults.foreign.add(WEB)


def cannot_be_erased(fabric: Fabric) -> None:
    """Its files cannot be removed."""
    fabric.world.faults.refuses["disks"] = Permanent("overlay.qcow2: Operation not permitted")


def mended(fabric: Fabric) -> None:
    """What was in the way is not any more."""
    fabric.world.faults.foreign.clear()
    fabric.world.faults.refuses.clear()


def fails(fabric: Fabric, phase: Phase, strike: Callable[[Fabric], None] = someone_else_s) -> None:
    """It comes to the phase and fails in it, and `why` says when it is tried again."""
    fabric.until(lambda: fabric.instance().phase is phase)
    strike(fabric)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert f"failed while {phase}" in fabric.instance().failure
    assert any("It is tried again at " in line for line in fabric.control.why("web-0"))


@pytest.mark.parametrize(
    ("phase", "strike"), [(Phase.STOPPING, someone_else_s), (Phase.ERASING, cannot_be_erased)], ids=["stop", "erase"]
)
@pytest.mark.parametrize("instances", [1, 3])
def test_a_reimage_that_heals_is_tried_again(instances: int, phase: Phase, strike: Callable[[Fabric], None]) -> None:
    """Nobody has wished it, so no wish brings it back: it is tried again with back-off, until it is done."""
    fabric = serving(instances, ready=Ready(within_s=30.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fails(fabric, phase, strike)
    fabric.world.faults.services_never_start.clear()
    for _ in range(300):
        fabric.round(2.0)
    assert 1 < sum("-> failed" in line for line in told(fabric)) < 8
    mended(fabric)
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2, "the reimage, and no other"


def test_half_a_setup_that_is_started_begins_anew_in_the_end() -> None:
    """What was stopped in its setup is made anew at its start: also when the old VM cannot be ended at once."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    fabric.act(Verb.START, "web-0")
    fails(fabric, Phase.STOPPING)
    mended(fabric)
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2


@pytest.mark.parametrize("early", [True, False], ids=["started before it failed", "started after it failed"])
def test_a_stop_that_fails_and_is_taken_back_keeps_everything(early: bool) -> None:
    """Started before it was off: it boots as it is, and no reimage follows if it does not serve then."""
    fabric = deployed(ready=Ready(within_s=30.0))
    fabric.world.machines[WEB].system_marker = "written"
    fabric.act(Verb.STOP, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.HALTING)
    for moment in (True, False):
        if moment is early:
            start = fabric.control.act(Verb.START, "web-0")
            fabric.daemon.attend(("operation", start.id))
        if moment:
            fails(fabric, Phase.HALTING)
    fabric.world.faults.services_never_start.add(WEB)
    mended(fabric)
    for _ in range(900):
        fabric.round(2.0)
    assert fabric.instance().generation == 1
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.SERVING
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_a_stop_that_failed_and_was_taken_back_by_a_new_service_keeps_everything() -> None:
    """Removed and applied again between two of its turns: nothing is wished of it but to serve."""
    fabric = deployed()
    fabric.world.machines[WEB].system_marker = "written"
    spec = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=1),))
    fabric.act(Verb.STOP, "web-0")
    fails(fabric, Phase.HALTING)
    fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=0),)))
    fabric.control.apply_spec(spec)
    assert fabric.instance().goal.runs
    mended(fabric)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_what_is_off_and_fails_is_off_again_when_it_can_be() -> None:
    """A stopped VM that is somebody else's for a while."""
    fabric = deployed()
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    fails(fabric, Phase.STOPPED)
    mended(fabric)
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.STOPPED


def test_a_removal_that_failed_and_was_taken_back_keeps_everything() -> None:
    """Scaled down, failed while stopping, and scaled up again: its disk lies there still, and it serves from it."""
    fabric = deployed()
    fabric.world.machines[WEB].system_marker = "written"
    spec = ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=1),))
    fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(instances=0),)))
    fails(fabric, Phase.STOPPING)
    fabric.control.apply_spec(spec)
    mended(fabric)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_a_reimage_that_failed_and_was_taken_back_keeps_everything() -> None:
    """Protected while its reimage cannot be: left alone; no longer protected, it serves as it was."""
    fabric = deployed()
    fabric.world.machines[WEB].system_marker = "written"
    fabric.act(Verb.REIMAGE, "web-0")
    fails(fabric, Phase.STOPPING)
    fabric.control.protect("web-0", on=True)
    mended(fabric)
    for _ in range(300):
        fabric.round(2.0)
        assert fabric.instance().phase is Phase.FAILED
    fabric.control.protect("web-0", on=False)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_a_restart_that_is_asked_for_in_a_healing_one_is_looked_at_again() -> None:
    """It fails, keeps everything as any that was asked for, and serves when its services do."""
    fabric = serving(3, ready=Ready(within_s=30.0))
    fabric.world.machines[WEB].system_marker = "written"
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.faults.deaf_to_requests.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    fabric.world.faults.agent_silent.add(WEB)
    restart = fabric.control.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.control.operation(restart.id).progress is Progress.FAILED)
    assert any("It is tried again at " in line for line in fabric.control.why("web-0"))
    fabric.world.faults.agent_silent.clear()
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_a_setup_that_fails_while_a_restart_is_wished_is_left() -> None:
    """A restart that was wished during a setup makes nothing of it worth another look."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))
    fabric.until(lambda: (fabric.instance().generation, fabric.instance().phase) == (2, Phase.SETUP))
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert not fabric.instance().again_at_s


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("phase", [Phase.SERVING, Phase.RESTARTING, Phase.STARTING, Phase.READY, Phase.DRAINING])
def test_a_vm_that_is_somebody_else_s_for_a_while_loses_nothing(phase: Phase, instances: int) -> None:
    """Its metadata was taken away and put back: no traffic, no rung of the ladder, and it serves as it was."""
    fabric = serving(instances)
    fabric.world.machines[WEB].system_marker = "written"
    if phase is not Phase.SERVING:
        fabric.world.connections[WEB] = 1
        fabric.act(Verb.RESTART, "web-0")
    fails(fabric, phase)
    fabric.until(lambda: WEB not in fabric.world.seats_taken)
    boots = fabric.world.machines[WEB].boots
    for _ in range(1800):
        fabric.round(2.0)
    assert fabric.world.machines[WEB].boots == boots
    mended(fabric)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].system_marker) == (1, "written")


def test_a_protected_vm_that_is_somebody_else_s_for_a_while_is_left_as_it_is() -> None:
    """It is not failed, for nobody would look at it again: it waits, and serves when it is ours again."""
    fabric = deployed()
    fabric.control.protect("web-0", on=True)
    someone_else_s(fabric)
    for _ in range(300):
        fabric.round(2.0)
    assert "protected" in fabric.instance().waiting
    mended(fabric)
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 1


@pytest.mark.parametrize("verb", [Verb.REIMAGE, Verb.STOP])
def test_an_operation_does_not_fail_by_what_failed_before_it_was_asked_for(verb: Verb) -> None:
    """It waits for the next try, and fails by that one or is done."""
    fabric = deployed()
    fabric.act(verb, "web-0")
    fails(fabric, Phase.STOPPING if verb is Verb.REIMAGE else Phase.HALTING)
    fabric.round()
    in_vain = fabric.control.act(verb, "web-0")
    fabric.until(lambda: fabric.control.operation(in_vain.id).progress is Progress.FAILED)
    assert fabric.instance().phase_since_s > in_vain.created_at_s
    mended(fabric)
    again = fabric.control.act(verb, "web-0")
    fabric.until(lambda: fabric.control.operation(again.id).progress is not Progress.RUNNING)
    assert fabric.control.operation(again.id).progress is Progress.DONE
