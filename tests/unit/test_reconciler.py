"""Healing, deadlines and faults of the world, in the fake world."""

from __future__ import annotations

import dataclasses

from orchestrator.model import (
    InstanceName,
    LocalStorage,
    Phase,
    Power,
    Progress,
    Ready,
    Setup,
    Standing,
    TcpProbe,
    Verb,
)
from tests.trouble.life import Fabric, web_role

WEB = InstanceName("web-0.shop")


def deployed(**changes: object) -> Fabric:
    """A fabric with one serving instance."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, **changes))
    fabric.until(fabric.quiet)
    return fabric


def test_a_killed_vm_comes_back_with_its_data() -> None:
    """kill -9 of QEMU: out of the pool, started again, same generation, next boot."""
    fabric = deployed()
    fabric.world.machines[WEB].system_marker = "written"
    before = fabric.instance()

    fabric.world.kill(WEB)
    fabric.until(lambda: WEB not in fabric.world.seats_taken, rounds=4)
    fabric.until(lambda: fabric.quiet() and fabric.instance().boot > before.boot)

    after = fabric.instance()
    assert (after.generation, after.boot) == (before.generation, before.boot + 1)
    assert fabric.world.machines[WEB].system_marker == "written"


def test_a_guest_that_restarts_by_itself_leaves_the_pool_and_returns() -> None:
    """An unasked restart costs the place in the pool until all services run again; no setup runs again."""
    fabric = deployed()
    before = fabric.instance()

    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: WEB not in fabric.world.seats_taken, rounds=4)
    fabric.until(fabric.quiet)

    assert fabric.instance().boot == before.boot + 1
    assert fabric.world.machines[WEB].setup_boot_id != fabric.world.machines[WEB].boot_id


def test_a_setup_that_never_ends_is_tried_once_more_then_failed_with_evidence() -> None:
    """The deadline of setup: one reimage, then failed; the reason is a sentence, the evidence is kept."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))

    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)

    assert fabric.instance().generation == 2
    assert "overdue while setup" in fabric.instance().failure
    assert {(WEB, 1), (WEB, 2)} <= fabric.world.evidence
    assert WEB not in fabric.world.seats_taken
    assert any("overdue while setup" in line for line in fabric.control.why("web-0"))


def test_a_failed_instance_is_mended_by_a_reimage() -> None:
    """A human's reimage begins a new generation with a clean slate."""
    fabric = Fabric()
    fabric.world.faults.services_never_start.add(WEB)
    fabric.deploy(web_role(instances=1, ready=Ready(within_s=30.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)

    fabric.world.faults.services_never_start.clear()
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)

    assert (fabric.instance().failure, fabric.instance().strikes) == ("", 0)


def test_the_ladder_restarts_before_it_reimages() -> None:
    """Services that do not start: a restart first, then a reimage, then a human."""
    fabric = deployed(ready=Ready(within_s=30.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.act(Verb.RESTART, "web-0")

    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)

    told = [event.message for event in fabric.control.events("web-0")]
    restart = next(i for i, line in enumerate(told) if line.startswith("starting -> restarting: overdue"))
    reimage = next(i for i, line in enumerate(told) if line.startswith("starting -> stopping: overdue"))
    assert restart < reimage
    assert fabric.instance().generation == 2


def test_the_host_s_illness_is_not_the_instance_s_fault() -> None:
    """libvirtd away for an hour in the middle of a setup: nothing lost, no strike, no new generation."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)

    fabric.world.faults.libvirt_is_away = True
    for _ in range(100):
        fabric.round(1.0)
    assert "libvirt does not answer" in fabric.instance().waiting
    fabric.world.faults.libvirt_is_away = False
    fabric.until(fabric.quiet)

    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)


def test_a_full_disk_is_waited_out() -> None:
    """No room for an overlay: the reason is shown, and it goes on when there is room."""
    fabric = Fabric()
    fabric.world.faults.disk_is_full = True
    fabric.deploy(web_role(instances=1))
    for _ in range(200):
        fabric.round(1.0)
    assert fabric.instance().phase is Phase.REQUESTED
    assert "the disk is full" in fabric.instance().waiting

    fabric.world.faults.disk_is_full = False
    fabric.until(fabric.quiet)


def test_a_guest_that_does_not_listen_is_reset_then_ended() -> None:
    """A deaf guest is restarted by the reset line and shut down by force, within the table's deadlines."""
    fabric = deployed()
    fabric.world.faults.deaf_to_requests.add(WEB)
    before = fabric.instance()

    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.quiet() and fabric.instance().boot > before.boot)
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)

    assert fabric.instance().generation == before.generation + 1


def test_open_connections_finish_within_the_drain_time() -> None:
    """A draining member keeps its connections until they end or the drain time is over, whichever is first."""
    fabric = deployed(drain_s=20.0)
    fabric.world.connections[WEB] = 1
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    began_s = fabric.world.time_s

    fabric.round()
    assert fabric.world.seats_taken[WEB].standing is Standing.DRAINING
    fabric.until(lambda: fabric.instance().phase is not Phase.DRAINING)

    assert 20.0 <= fabric.world.time_s - began_s <= 22.0


def test_a_sick_member_goes_up_the_ladder_without_being_stopped_in_the_pool() -> None:
    """A health check that fails for minutes leads to a restart; the member leaves the pool before it."""
    fabric = deployed()
    boot = fabric.instance().boot
    fabric.world.faults.check_fails.add(WEB)
    for _ in range(100):
        fabric.round(4.0)
        if fabric.instance().boot > boot:
            break

    assert fabric.instance().boot > boot
    assert any("health check" in event.message for event in fabric.control.events("web-0"))


def test_an_agent_without_files_is_good_enough() -> None:
    """Where the agent shows no files, the monitor's word for the setup restart does."""
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = True
    fabric.deploy(web_role(instances=1, ready=Ready(probe=TcpProbe(port=8080))))
    fabric.until(fabric.quiet)

    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)

    assert fabric.instance().boot == 3


def test_without_setup_restart_the_first_boot_serves() -> None:
    """`setup: {restart: false}`: one boot."""
    fabric = deployed(setup=Setup(restart=False))
    assert fabric.instance().at == dataclasses.replace(fabric.instance().at, generation=1, boot=1)


def test_a_rolling_reimage_has_one_instance_out_at_a_time() -> None:
    """Of three, at least two are in the pool at every moment."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3))
    fabric.until(fabric.quiet)

    fabric.act(Verb.REIMAGE, "web.shop")
    fabric.round()
    least = 3
    while not fabric.quiet():
        fabric.round()
        least = min(least, sum(seat.standing is Standing.UP for seat in fabric.world.seats_taken.values()))

    assert least == 2
    assert all(one.generation == 2 for one in fabric.instances())


def test_a_rollout_halts_at_the_first_failure() -> None:
    """A bad new template reaches one instance; the others keep what they have."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3, ready=Ready(within_s=30.0)))
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.update(one.name for one in fabric.instances())
    for one in fabric.instances():
        assert fabric.world.machines[one.name].power is Power.RUNNING

    fabric.deploy(
        web_role(instances=3, ready=Ready(within_s=30.0), local_storage=(LocalStorage(name="x", size_mib=9),))
    )
    fabric.until(lambda: fabric.control.operations()[-1].progress is Progress.FAILED)

    assert sorted(one.generation > 1 for one in fabric.instances()) == [False, False, True]


def test_scaling_down_and_up_again() -> None:
    """Scaling takes the last ones first, and brings back fresh ones."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3))
    fabric.until(fabric.quiet)

    fabric.control.scale("shop", "web", 1)
    fabric.until(lambda: len(fabric.instances()) == 1)
    fabric.until(fabric.quiet)
    fabric.control.scale("shop", "web", 2)
    fabric.until(lambda: len(fabric.instances()) == 2 and fabric.quiet())

    assert [one.name for one in fabric.instances()] == ["web-0.shop", "web-1.shop"]


def test_a_disc_that_a_reboot_of_the_host_took_is_written_again() -> None:
    """Discs lie in memory: a setup that goes on after the host has restarted gets its answers again."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)

    fabric.world.discs.clear()
    fabric.world.kill(WEB)
    fabric.round()

    assert fabric.world.discs == {WEB: 1}
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 1


def test_a_request_that_was_not_heard_is_made_again() -> None:
    """A guest that still answers from its old boot after a while is asked once more before it is reset."""
    fabric = deployed()
    fabric.world.faults.deaf_to_requests.add(WEB)
    began_s, resets = fabric.world.time_s, fabric.world.machines[WEB].resets
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.world.time_s > began_s + 10.0)

    fabric.world.faults.deaf_to_requests.clear()
    fabric.until(fabric.quiet)

    assert fabric.world.machines[WEB].resets == resets + 1, "restarted once, by its own hand"
    assert fabric.world.time_s < began_s + 60.0, "long before it would have been reset"


def test_a_deleted_instance_takes_its_evidence_along() -> None:
    """What was kept of a failure goes with the instance, and only then."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, setup=Setup(within_s=30.0)))
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert fabric.world.evidence

    fabric.remove()
    fabric.until(lambda: not fabric.control.services())

    fabric.world.nothing_is_left()
