"""Instances that somebody has stopped: off and as they were, whatever comes, until somebody starts them."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.cli import listing
from orchestrator.control import records, verify
from orchestrator.control.healing import patient_of
from orchestrator.control.wards import Wards, view_of
from orchestrator.errors import Conflict
from orchestrator.model import (
    Cause,
    Incarnation,
    Instance,
    PausedBy,
    Phase,
    Power,
    Progress,
    Ready,
    Service,
    Setup,
    Size,
    Standing,
    Stop,
    TcpProbe,
    Verb,
)
from orchestrator.model.cause import Kind
from orchestrator.rules.healing import Brakes, Restart, decide
from tests.unit.control.fleet import OTHER, WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role


def stopped(**changes: object) -> Fabric:
    """A fabric whose one instance has written to its disks, and is stopped."""
    fabric = deployed(**changes)
    fabric.world.machines[WEB].system_marker = "written"
    fabric.world.storage[WEB]["cache"] = "written"
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.STOPPED
    return fabric


def test_what_is_stopped_is_drained_first_and_keeps_everything() -> None:
    """Out of rotation with its connections finished, shut down in peace, and back in the next boot as it was."""
    fabric = deployed(drain_s=20.0)
    machine = fabric.world.machines[WEB]
    machine.system_marker = "written"
    fabric.world.storage[WEB]["cache"] = "writing"
    fabric.world.connections[WEB] = 1
    fabric.world.faults.shutdown_takes_s[WEB] = 50.0
    before = fabric.instance()
    began_s = fabric.world.time_s
    operation = fabric.control.act(Verb.STOP, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    fabric.round()
    assert fabric.world.seats_taken[WEB].standing is Standing.DRAINING
    fabric.until(fabric.quiet)
    assert fabric.world.time_s >= began_s + 70.0, "the drain time, and the guest's own"
    assert fabric.control.operation(operation.id).progress is Progress.DONE
    assert (machine.power, fabric.instance().warning) == (Power.OFF, "")

    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    after = fabric.instance()
    assert after.at == Incarnation(before.generation, before.boot + 1)
    assert (after.uid, after.nic, after.role) == (before.uid, before.nic, before.role)
    assert fabric.world.machines[WEB] is machine
    assert (machine.system_marker, machine.boots) == ("written", 3)
    assert fabric.world.storage[WEB] == {"cache": "written"}


def test_what_is_stopped_stays_off() -> None:
    """Over restarts of the daemon and of the host, for days: nothing starts it, heals it or writes its record."""
    fabric = serving(2)
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    boots = fabric.world.machines[WEB].boots
    for _ in range(3):
        fabric.round()
    revision = fabric.instance().revision
    for _ in range(5):
        for machine in fabric.world.machines:  # The host restarts: its discs lie in memory.
            fabric.world.kill(machine)
        fabric.world.discs.clear()
        fabric.restart()
        for _ in range(60):
            fabric.round(600.0)
    fabric.until(fabric.quiet)
    assert (fabric.instance().phase, fabric.instance().revision) == (Phase.STOPPED, revision)
    assert (fabric.world.machines[WEB].power, fabric.world.machines[WEB].boots) == (Power.OFF, boots)
    assert fabric.instance(OTHER).phase is Phase.SERVING, "what was not stopped came back"
    assert WEB not in fabric.world.seats_taken
    assert verify.findings(fabric.host, fabric.present.all(Service), fabric.instances()) == []


def test_why_says_who_starts_it() -> None:
    """Nobody wonders why it is off, nor waits for a deadline."""
    fabric = stopped()
    why = " ".join(fabric.control.why("web-0"))
    assert "web-0.shop is stopped (generation 1, boot 2)" in why
    assert "until: vmrole start web-0.shop (it boots then, as it is)" in why
    assert "overdue" not in why
    assert "This may last until" not in why
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert "(it is made anew then)" in " ".join(fabric.control.why("web-0"))


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.START])
def test_instances_go_in_turns(verb: Verb) -> None:
    """So many at a time as were asked for, the others as they are until then."""
    fabric = serving(5)
    moving = (Phase.DRAINING, Phase.HALTING, Phase.RESTARTING, Phase.STARTING, Phase.READY)
    if verb is Verb.START:
        fabric.control.act(Verb.STOP, "shop", together=5)
        fabric.until(fabric.quiet)
    fabric.control.act(verb, "web.shop", together=2)
    most = 0
    while not (fabric.quiet() and most):
        fabric.round()
        most = max(most, sum(one.phase in moving for one in fabric.instances()))
    assert most == 2
    end = Phase.STOPPED if verb is Verb.STOP else Phase.SERVING
    assert {one.phase for one in fabric.instances()} == {end}
    assert fabric.control.operations()[-1].message == f"5 of 5 {end}"


PHASES = (
    Phase.REQUESTED,
    Phase.LAYERED,
    Phase.ANSWERED,
    Phase.SETUP,
    Phase.STARTING,
    Phase.READY,
    Phase.SERVING,
    Phase.DRAINING,
    Phase.RESTARTING,
    Phase.STOPPING,
    Phase.ERASING,
)


@pytest.mark.parametrize("phase", PHASES, ids=str)
def test_a_stop_is_for_any_moment(phase: Phase) -> None:
    """Wherever it is, it goes off and stays off; started, it serves, anew only if it was not set up."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    if phase in (Phase.DRAINING, Phase.RESTARTING, Phase.STOPPING, Phase.ERASING):
        fabric.until(fabric.quiet)
        fabric.act(Verb.RESTART if phase is Phase.RESTARTING else Verb.REIMAGE, "web-0")
    fabric.until(lambda: fabric.instance().phase is phase)
    generation = fabric.instance().generation
    stop = fabric.control.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    for _ in range(50):
        fabric.round(60.0)
    assert fabric.control.operation(stop.id).progress is Progress.DONE
    assert fabric.instance().phase is Phase.STOPPED
    assert all(one.power is Power.OFF for one in fabric.world.machines.values())
    kept = fabric.instance().set_up and not fabric.instance().going
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.SERVING
    assert fabric.instance().generation == generation + (not kept)
    if phase in (Phase.STARTING, Phase.READY, Phase.SERVING, Phase.RESTARTING):
        assert kept


def test_a_start_overtakes_a_stop_that_is_not_over() -> None:
    """Of stops and starts the last one asked for counts, also for those whose turn had not come."""
    fabric = serving(3)
    stop = fabric.control.act(Verb.STOP, "shop")
    fabric.until(lambda: any(one.phase is Phase.HALTING for one in fabric.instances()))
    start = fabric.control.act(Verb.START, "shop", together=3)
    fabric.until(fabric.quiet)
    assert {one.phase for one in fabric.instances()} == {Phase.SERVING}
    assert sum(one.boot == 2 for one in fabric.instances()) >= 1, "whom no stop had reached was not stopped"
    assert fabric.control.operation(start.id).progress is Progress.DONE
    over = fabric.control.operation(stop.id)
    assert (over.progress, over.message) == (Progress.DONE, "0 of 3 stopped, 3 asked otherwise meanwhile")


def test_a_guest_that_is_shutting_down_goes_off_before_it_boots() -> None:
    """A start in the middle of a shutdown waits for its end: no data is lost to haste."""
    fabric = deployed()
    fabric.world.storage[WEB]["cache"] = "writing"
    fabric.world.faults.shutdown_takes_s[WEB] = 60.0
    fabric.act(Verb.STOP, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.HALTING and fabric.instance().asked_at_s > 0)
    fabric.act(Verb.START, "web-0")
    for _ in range(3):
        fabric.round()
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    assert any(line.startswith("halting -> stopped") for line in told(fabric))
    assert fabric.world.storage[WEB] == {"cache": "written"}
    assert (fabric.instance().phase, fabric.instance().at) == (Phase.SERVING, Incarnation(1, 3))


def test_what_is_asked_twice_is_done_once() -> None:
    """A stop of what is stopped and a start of what serves are done at once."""
    fabric = stopped()
    again = fabric.control.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.control.operation(again.id).progress is Progress.DONE
    for _ in range(2):
        fabric.act(Verb.START, "web-0")
        fabric.until(fabric.quiet)
    assert fabric.instance().at == Incarnation(1, 3)


def test_a_guest_that_does_not_shut_down_is_ended_and_that_is_told() -> None:
    """As before a reimage: its time, then the plug, with a line in the ledger and a warning."""
    fabric = deployed(stop=Stop(within_s=30.0))
    fabric.world.faults.deaf_to_requests.add(WEB)
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    assert sum("within 30 s (stop.within)" in line and "ended it" in line for line in told(fabric)) == 1
    assert "ended it" in fabric.instance().warning


@pytest.mark.parametrize("by", list(PausedBy), ids=str)
def test_a_paused_vm_that_is_stopped_is_ended_and_that_is_told(by: PausedBy) -> None:
    """It cannot shut down; whoever asks for its stop gets it, and hears what that has cost."""
    fabric = deployed()
    fabric.world.faults.disk_is_full = by is PausedBy.DISK
    fabric.world.pause(WEB, by)
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.machines[WEB].power is Power.OFF
    assert sum("what it held in memory is lost" in line for line in told(fabric)) == 1


def test_a_vm_that_somebody_else_starts_goes_off_again() -> None:
    """`virsh start` of a stopped instance: the record says off, so it is shut down in peace, and that is told."""
    fabric = stopped()
    machine = fabric.world.machines[WEB]
    machine.start_boot(fabric.world.time_s)
    codes = [one.code for one in verify.findings(fabric.host, fabric.present.all(Service), fabric.instances())]
    assert codes == ["DOMAIN-POWER"]
    fabric.until(lambda: fabric.instance().phase is Phase.HALTING)
    fabric.until(fabric.quiet)
    assert (machine.power, machine.system_marker) == (Power.OFF, "written")
    assert any("somebody else has started its VM; instead: vmrole start" in line for line in told(fabric))
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().boot == 3


def test_a_rollout_is_not_held_up_and_is_taken_at_the_start() -> None:
    """An apply rolls out over those that run and ends; what is stopped stays off, and is made anew when started."""
    fabric = serving(3)
    fabric.act(Verb.STOP, "web-1")
    fabric.until(fabric.quiet)
    applied = fabric.control.apply_spec(
        dataclasses.replace(
            fabric.control.service("shop").spec, roles=(web_role(instances=3, size=Size(memory_mib=256)),)
        )
    )
    fabric.until(fabric.quiet)
    assert applied.operation is not None
    over = fabric.control.operation(applied.operation.id)
    assert (over.progress, over.message) == (
        Progress.DONE,
        "2 of 3 serving, 1 stopped and made anew when it is started",
    )
    assert [one.generation for one in fabric.instances()] == [2, 1, 2]
    assert fabric.instance(OTHER).phase is Phase.STOPPED
    again = fabric.control.apply_spec(fabric.control.service("shop").spec)
    assert (again.changes, again.operation) == ((), None), "it is on its way already"
    fabric.act(Verb.START, "web-1")
    fabric.until(fabric.quiet)
    assert {one.role.size.memory_mib for one in fabric.instances()} == {256}
    assert not any(one.stale for one in fabric.instances())


@pytest.mark.parametrize("verb", [Verb.REIMAGE, Verb.REBUILD])
def test_a_reimage_of_what_is_stopped_is_done_at_its_start(verb: Verb) -> None:
    """It stays off and as it is; started, it is made anew, once."""
    fabric = stopped()
    operation = fabric.control.act(verb, "web-0")
    fabric.until(fabric.quiet)
    for _ in range(20):
        fabric.round(60.0)
    assert fabric.control.operation(operation.id).progress is Progress.DONE
    assert (fabric.instance().phase, fabric.instance().generation) == (Phase.STOPPED, 1)
    assert fabric.world.machines[WEB].system_marker == "written"
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2
    assert fabric.world.machines[WEB].system_marker == ""
    assert fabric.world.storage[WEB] == {"cache": "" if verb is Verb.REBUILD else "written"}


def test_many_that_are_stopped_are_wished_anew_in_batches() -> None:
    """However many are off, an operation over them ends, and leaves nobody out."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=100, setup=Setup(restart=False)))
    fabric.control.act(Verb.STOP, "shop", together=100)
    fabric.until(fabric.quiet)
    operation = fabric.control.act(Verb.REIMAGE, "shop")
    fabric.until(fabric.quiet)
    assert "100 stopped" in fabric.control.operation(operation.id).message
    assert {one.goal.wanted.generation for one in fabric.instances()} == {2}


def test_a_restart_is_nothing_for_what_is_stopped() -> None:
    """Named alone it is refused with what would help; of a role the others are restarted, and that is said."""
    fabric = serving(3)
    fabric.act(Verb.STOP, "web-1")
    fabric.until(fabric.quiet)
    with pytest.raises(Conflict, match="web-1 is stopped") as caught:
        fabric.control.act(Verb.RESTART, "web-1")
    assert caught.value.hint == "run: vmrole start web-1"
    operation = fabric.control.act(Verb.RESTART, "web.shop")
    fabric.until(fabric.quiet)
    assert fabric.control.operation(operation.id).message == "2 of 3 serving, 1 stopped and left so"
    assert [one.boot for one in fabric.instances()] == [3, 2, 3]


def test_what_is_stopped_under_an_operation_does_not_hold_it_up() -> None:
    """Somebody stops the instance that a rolling reimage has just taken out: the reimage goes on with the others."""
    fabric = serving(3)
    operation = fabric.control.act(Verb.REIMAGE, "shop")
    fabric.until(lambda: any(one.phase is Phase.SETUP for one in fabric.instances()))
    out = next(one for one in fabric.instances() if one.phase is Phase.SETUP)
    fabric.act(Verb.STOP, out.name)
    fabric.until(fabric.quiet)
    assert fabric.control.operation(operation.id).progress is Progress.DONE
    assert [one.name for one in fabric.instances() if one.phase is Phase.STOPPED] == [out.name]


def test_what_is_stopped_goes_when_it_is_removed_and_comes_back_running() -> None:
    """Scaled away it is gone; wanted again it is a new one that runs; a deletion leaves nothing."""
    fabric = serving(2)
    fabric.act(Verb.STOP, "shop")
    fabric.until(fabric.quiet)
    fabric.control.scale("shop", {"web": 1})
    fabric.until(lambda: len(fabric.instances()) == 1)
    fabric.control.scale("shop", {"web": 2})
    fabric.until(fabric.quiet)
    assert [one.phase for one in fabric.instances()] == [Phase.STOPPED, Phase.SERVING]
    fabric.control.scale("shop", {"web": 0})
    fabric.until(lambda: fabric.instance().phase is Phase.GONE)
    fabric.control.scale("shop", {"web": 1})
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.SERVING, "wanted again before its record was gone"
    fabric.act(Verb.STOP, "shop")
    fabric.until(fabric.quiet)
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.control.services())
    fabric.world.nothing_is_left()


def test_a_failed_instance_can_be_stopped() -> None:
    """Its VM is ended and its disk kept; started, what was set up boots, and what was not begins anew."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    generation = fabric.instance().generation
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    assert "setup" in fabric.instance().failure
    fabric.world.faults.setup_never_ends.clear()
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == generation + 1


def test_what_is_stopped_is_no_fellow_in_illness() -> None:
    """Two of three are off on purpose: the third is healed as if it were alone."""
    fabric = serving(3)
    ill = dataclasses.replace(fabric.instance(), unwell_since_s=1.0)
    off = [
        dataclasses.replace(one, goal=dataclasses.replace(one.goal, halts=1), phase=Phase.STOPPED, strikes=1)
        for one in fabric.instances()[1:]
    ]
    counted = Wards()
    for one in [ill, *off]:
        counted.put(one.name, one)
    ward = counted.ward(view_of(ill))
    rung = decide(patient_of(ill, Cause(Kind.CHECK_FAILS)), ward, Brakes(), fabric.world.time_s)
    assert (rung, ward.size) == (Restart(), 1)


@pytest.mark.parametrize(
    "ready", [Ready(probe=TcpProbe(port=8080), agent=False), Ready(probe=TcpProbe(port=8080))], ids=["none", "blind"]
)
def test_a_guest_that_tells_no_boots_comes_back_in_one(ready: Ready) -> None:
    """Without an agent, or with one that shows no files: the start is one boot, without a reset for good measure."""
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = True
    fabric.deploy(web_role(instances=1, ready=ready))
    fabric.until(fabric.quiet)
    before = fabric.instance()
    boots, resets = fabric.world.machines[WEB].boots, fabric.world.machines[WEB].resets
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    machine = fabric.world.machines[WEB]
    assert (machine.boots, machine.resets) == (boots + 1, resets)
    assert fabric.instance().at == Incarnation(before.generation, before.boot + 1)


def test_a_daemon_that_died_over_the_start_does_not_reset_the_guest() -> None:
    """Where no boots are told, the VM that it had just powered on is in its next boot, not in the one before."""
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = True
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    fabric.act(Verb.STOP, "web-0")
    fabric.until(fabric.quiet)
    machine = fabric.world.machines[WEB]
    resets = machine.resets
    fabric.act(Verb.START, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    machine.start_boot(fabric.world.time_s)  # What the daemon did last, and could not write down.
    fabric.restart()
    fabric.until(fabric.quiet)
    assert (machine.boots, machine.resets, fabric.instance().boot) == (3, resets, 3)


def test_a_slow_boot_after_a_start_is_not_reset() -> None:
    """A guest that takes longer to boot than to shut down is waited for."""
    fabric = stopped(stop=Stop(within_s=20.0))
    fabric.world.faults.agent_after_s[WEB] = 200.0
    boots = fabric.world.machines[WEB].boots
    fabric.act(Verb.START, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.machines[WEB].boots == boots + 1
    assert not any("reset" in line for line in told(fabric))


def test_a_stop_that_cannot_be_is_told_and_tried_again() -> None:
    """A VM that turns out to be somebody else's: the operation fails, the wish stands, and is met when it can be."""
    fabric = deployed()
    fabric.world.faults.foreign.add(WEB)
    stop = fabric.control.act(Verb.STOP, "web-0")
    for _ in range(300):
        fabric.round()
    assert fabric.control.operation(stop.id).progress is Progress.FAILED
    fabric.world.faults.foreign.clear()
    fabric.until(lambda: fabric.instance().phase is Phase.STOPPED)


def test_a_service_is_not_degraded_for_what_is_off() -> None:
    """What a list says of a service, some of whose instances are stopped."""
    role = {"instances": 3, "endpoints": [{}]}
    row = {"removing": False, "serving": 2, "stopped": 1, "instances": 3, "up": 2, "roles": [role]}
    state = next(cell for header, cell in listing.columns("services", "table") if header == "STATE")
    assert state(row) == "serving"
    assert state(row | {"up": 1}) == "degraded"
    assert state(row | {"serving": 0, "stopped": 3, "up": 0}) == "stopped"
    assert state(row | {"serving": 1}) == "changing"


def test_records_of_before_stops_run() -> None:
    """An instance that an older version has recorded shall run."""
    fabric = deployed()
    write = records.put_wish(fabric.instance())
    assert write.body is not None
    body = {**write.body, "goal": {key: value for key, value in write.body["goal"].items() if key != "halts"}}
    fabric.store.commit([dataclasses.replace(write, body=body)])
    assert fabric.present.load(Instance, WEB).goal.runs


@pytest.mark.parametrize("verb", [Verb.STOP, Verb.REIMAGE])
def test_a_guest_that_was_just_booting_is_asked_again(verb: Verb) -> None:
    """Early in a boot a request gets lost: it is repeated, and nothing that the guest was writing is."""
    fabric = serving(1, stop=Stop(within_s=120.0))
    fabric.world.faults.agent_after_s[WEB] = 45.0
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    boots = fabric.world.machines[WEB].boots
    fabric.until(lambda: fabric.world.machines[WEB].boots > boots)
    fabric.act(verb, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is (Phase.STOPPED if verb is Verb.STOP else Phase.SERVING)
    assert not fabric.instance().warning
    assert not any("did not shut down" in line for line in told(fabric))
