"""How long guests are waited for, and what a stop, a restart, a pause and a sick host may cost them."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator import lifecycle
from orchestrator.control import records
from orchestrator.errors import NoSpace, Transient, Unreachable, VmroleError
from orchestrator.model import (
    Endpoint,
    HttpProbe,
    InstanceName,
    Os,
    PausedBy,
    Phase,
    Power,
    Progress,
    Ready,
    Restart,
    Setup,
    Standing,
    Stop,
    Verb,
)
from tests.unit.control.fleet import WEB, deployed
from tests.world.fabric import Fabric, web_role


def told(fabric: Fabric) -> list[str]:
    """The ledger of web-0."""
    return [event.message for event in fabric.control.events("web-0")]


def write_slowly(fabric: Fabric, shutdown_takes_s: float) -> None:
    """The guest is in the middle of a write that it ends only when it may shut down in peace."""
    fabric.world.storage[WEB]["cache"] = "writing"
    fabric.world.faults.shutdown_takes_s[WEB] = shutdown_takes_s


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE], ids=str)
@pytest.mark.parametrize(("takes_s", "stop"), [(100.0, Stop()), (400.0, Stop(within_s=500.0))])
def test_a_guest_has_the_time_that_its_shutdown_takes(verb: Verb, takes_s: float, stop: Stop) -> None:
    """A restart and a reimage wait for a slow shutdown: what it was writing is whole, and nothing warns."""
    fabric = deployed(stop=stop)
    before = fabric.instance()
    write_slowly(fabric, takes_s)
    fabric.act(verb, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.storage[WEB] == {"cache": "written"}
    assert fabric.instance().at > before.at
    assert fabric.instance().warning == ""
    assert not any("stop.within" in line for line in told(fabric))


def test_a_first_check_that_is_put_off_is_waited_for() -> None:
    """However long its endpoint's probe says: it serves when that has passed, and nothing is healed meanwhile."""
    end = Endpoint(name="http", port=80, target=8080, probe=HttpProbe(initial_delay_s=180.0))
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, endpoints=(end,)))
    fabric.until(lambda: fabric.instance().phase is Phase.READY)
    began_s = fabric.world.time_s
    fabric.until(fabric.quiet)
    assert fabric.world.time_s - began_s >= 180.0
    assert (fabric.instance().phase, fabric.instance().generation) == (Phase.SERVING, 1)
    assert fabric.instance().strikes == 0


@pytest.mark.parametrize(("verb", "does"), [(Verb.RESTART, "reset it"), (Verb.REIMAGE, "ended it")])
def test_what_had_to_be_forced_is_told(verb: Verb, does: str) -> None:
    """A guest that does not shut down in its time: a line in the ledger, once, and a warning on the instance."""
    fabric = deployed(stop=Stop(within_s=30.0))
    write_slowly(fabric, 60.0)
    fabric.act(verb, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.storage[WEB] == {"cache": "writing"}
    assert sum("within 30 s (stop.within)" in line and does in line for line in told(fabric)) == 1
    assert does in fabric.instance().warning
    assert any(line.startswith("Warning: ") and does in line for line in fabric.control.why("web-0"))

    fabric.world.faults.shutdown_takes_s.clear()
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().warning == "", "what an earlier stop has cost is not told again"


def test_a_change_of_patience_needs_no_reimage_and_counts_at_once() -> None:
    """`stop` and `restart` are no part of what a VM is built from."""
    fabric = deployed(stop=Stop(within_s=30.0))
    fabric.deploy(web_role(instances=1, stop=Stop(within_s=300.0), restart=Restart(within_s=5.0)))
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.control.operations()) == (1, [])
    write_slowly(fabric, 200.0)
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.storage[WEB] == {"cache": "written"}


def test_deadlines_leave_room_for_the_patience() -> None:
    """A phase is overdue only after the guest's time is over, whatever that is and whenever it was asked."""
    one = deployed().instance()
    for os, within_s in ((Os.LINUX, None), (Os.WINDOWS, None), (Os.LINUX, 3600.0)):
        role = dataclasses.replace(one.role, os=os, stop=Stop(within_s=within_s))
        goal = dataclasses.replace(one.goal, role=role)
        for phase in (Phase.STOPPING, Phase.RESTARTING):
            here = dataclasses.replace(one, role=role, goal=goal, phase=phase, asked_at_s=one.phase_since_s + 500.0)
            patience_s = within_s or {Os.LINUX: 120.0, Os.WINDOWS: 600.0}[os]
            assert lifecycle.deadline_s(here) >= here.asked_at_s + patience_s + 60.0


def test_an_overdue_restart_that_was_asked_for_keeps_everything() -> None:
    """A boot that takes longer than allowed: failed and left to the operator; never reset in it, never reimaged."""
    fabric = deployed(stop=Stop(within_s=20.0), restart=Restart(within_s=40.0))
    machine = fabric.world.machines[WEB]
    machine.system_marker = "written"
    boots = machine.boots
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().asks == 1)
    fabric.world.faults.agent_after_s[WEB] = 400.0
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    (operation,) = fabric.control.operations()
    fabric.until(lambda: fabric.control.operation(operation.id).progress is Progress.FAILED)
    for _ in range(60):
        fabric.round()
    assert fabric.instance().phase is Phase.FAILED
    assert "restart.within" in fabric.instance().failure
    assert any("vmrole restart web-0.shop" in line for line in fabric.control.why("web-0"))
    assert (machine.boots, machine.system_marker, fabric.instance().generation) == (boots + 1, "written", 1)

    second = fabric.control.act(Verb.RESTART, "web-0")  # while it is still busy with the first
    fabric.until(lambda: fabric.control.operation(second.id).progress is not Progress.RUNNING)
    assert (machine.boots, fabric.instance().generation) == (boots + 1, 1)

    fabric.round(400.0)
    third = fabric.control.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.control.operation(third.id).progress is Progress.DONE)
    assert (fabric.instance().phase, fabric.instance().generation) == (Phase.SERVING, 1)
    assert machine.system_marker == "written"


PAUSED_IN = (Phase.SETUP, Phase.STARTING, Phase.READY, Phase.SERVING, Phase.RESTARTING)


@pytest.mark.parametrize("by", [PausedBy.USER, PausedBy.DISK], ids=str)
@pytest.mark.parametrize("phase", PAUSED_IN, ids=str)
def test_a_paused_vm_is_left_alone(phase: Phase, by: PausedBy) -> None:
    """For hours, in any phase: out of rotation, told, no deadline; it goes on in the same generation."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=60.0), ready=Ready(within_s=60.0)))
    fabric.until(lambda: phase in (fabric.instance().phase, Phase.RESTARTING))
    if phase is Phase.RESTARTING:
        fabric.until(fabric.quiet)
        fabric.act(Verb.RESTART, "web-0")
        fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    machine = fabric.world.machines[WEB]
    machine.system_marker = "written"
    fabric.world.faults.disk_is_full = by is PausedBy.DISK
    fabric.world.pause(WEB, by)
    for _ in range(300):
        fabric.round(30.0)
        assert fabric.world.machines[WEB].power is Power.PAUSED
    assert WEB not in fabric.world.seats_taken
    assert fabric.instance().generation == 1
    why = " ".join(fabric.control.why("web-0"))
    assert "paused the VM" in why
    assert "reimaged" not in why
    assert ("virsh resume web-0.shop" in why) is (by is PausedBy.USER)

    fabric.world.faults.disk_is_full = False
    if by is PausedBy.USER:
        fabric.world.resume(WEB)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)
    assert fabric.world.machines[WEB].system_marker == "written"


@pytest.mark.parametrize("by", list(PausedBy), ids=str)
def test_what_is_asked_of_a_paused_vm_is_done(by: PausedBy) -> None:
    """A reimage and a removal of a paused VM end it: somebody has said so, and hears what that cost."""
    fabric = deployed()
    fabric.world.faults.disk_is_full = by is PausedBy.DISK
    fabric.world.pause(WEB, by)
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.REQUESTED)
    fabric.world.faults.disk_is_full = False
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2
    lost = "the VM was paused and could not shut down: ended it; what it held in memory is lost"
    assert [line for line in told(fabric) if "is lost" in line] == [lost]
    assert fabric.instance().warning == lost
    fabric.world.pause(WEB, by)
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.control.services())
    fabric.world.nothing_is_left()


def test_a_vm_that_is_paused_while_healing_ends_it_is_not_ended() -> None:
    """Nobody asked for its end; whoever paused it wants to look into it."""
    fabric = deployed()
    sick = dataclasses.replace(fabric.instance(), phase=Phase.STOPPING, strikes=2, set_up=True)
    fabric.host.front.balancer.leave(WEB)
    fabric.store.commit([records.put_state(sick)])
    fabric.world.pause(WEB, PausedBy.USER)
    for _ in range(100):
        fabric.round(10.0)
    assert fabric.world.machines[WEB].power is Power.PAUSED
    assert fabric.instance().phase is Phase.STOPPING


REFUSALS = [NoSpace("No space left on device"), Transient("Permission denied"), Unreachable("away")]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda one: type(one).__name__)
def test_evidence_that_cannot_be_kept_holds_up_nothing(refusal: VmroleError) -> None:
    """Healing goes on and says in the ledger that there is no evidence; so does a removal."""
    fabric = deployed(ready=Ready(within_s=30.0))
    fabric.world.faults.refuses["evidence"] = refusal
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert fabric.instance().generation == 2
    assert any(line.startswith("evidence: ") and str(refusal) in line for line in told(fabric))
    assert sum(line.startswith("evidence: ") for line in told(fabric)) <= 3
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.control.services())
    fabric.world.nothing_is_left()


@pytest.mark.parametrize("port", ["disks", "media", "balancer"])
def test_a_host_that_lacks_something_is_waited_out(port: str) -> None:
    """Whatever port the host's illness shows at: nothing is blamed on the instance, and it goes on by itself."""
    fabric = deployed()
    fabric.world.faults.refuses[port] = NoSpace("the disk is full")
    fabric.act(Verb.REIMAGE, "web-0")
    for _ in range(200):
        fabric.round(10.0)
    assert fabric.instance().failure == ""
    fabric.world.faults.refuses.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().strikes) == (2, 0)


def test_recorded_times_are_not_moved() -> None:
    """A sick host extends the deadline by a time of its own; when the phase began stays as it was; both are told."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    since_s = fabric.instance().phase_since_s
    fabric.world.faults.libvirt_is_away = True
    for _ in range(100):
        fabric.round(1.0)
    assert fabric.instance().phase_since_s == since_s
    assert any("could not help waiting (since " in line for line in fabric.control.why("web-0"))
    revision = fabric.instance().revision
    for _ in range(10):
        fabric.round(1.0)
    assert fabric.instance().revision == revision, "that it is still sick is not written down each second"
    fabric.world.faults.libvirt_is_away = False
    fabric.round(0.0)
    assert fabric.instance().phase_since_s == since_s
    assert 109.0 <= fabric.instance().sick_s <= 112.0
    assert any("could not help waiting (now over)" in line for line in fabric.control.why("web-0"))
    fabric.world.faults.setup_never_ends.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().sick_s) == (1, 0.0)


def test_a_sick_member_takes_no_detour_to_its_reimage() -> None:
    """A balancer that cannot drain what is down: the member leaves at once, without a strike or a restart."""
    fabric = deployed(drain_s=600.0)
    fabric.world.faults.check_fails.add(WEB)
    fabric.world.faults.sick_cannot_drain = True
    boots = fabric.world.machines[WEB].boots
    began_s = fabric.world.time_s
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.STOPPING)
    assert fabric.world.time_s < began_s + 10.0
    assert (fabric.instance().strikes, fabric.world.machines[WEB].boots) == (0, boots)
    fabric.world.faults.check_fails.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2
    assert fabric.world.seats_taken[InstanceName(WEB)].standing is Standing.UP
