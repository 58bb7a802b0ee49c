"""Healing, deadlines and faults of the world, in the fake world."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.control import records
from orchestrator.control.loop import Noun
from orchestrator.drivers.store.memory import MemoryStore
from orchestrator.errors import EndpointRefused, Foreign, Unreachable
from orchestrator.model import (
    Frontend,
    Instance,
    InstanceName,
    LocalStorage,
    Notice,
    Phase,
    Power,
    Progress,
    Ready,
    ServiceSpec,
    Setup,
    Standing,
    TcpProbe,
    Verb,
    instance_name,
)
from orchestrator.ports import Document
from tests.unit.control.fleet import WEB, deployed
from tests.world.fabric import Fabric, web_role


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


def test_a_backup_that_freezes_a_starting_guest_does_not_make_it_serve() -> None:
    """A frozen guest has said nothing: it comes into rotation after the thaw, when its services have started."""
    fabric = deployed()
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    fabric.world.faults.frozen.add(WEB)
    for _ in range(100):
        fabric.round()
        assert WEB not in fabric.world.seats_taken
    assert "frozen" in fabric.instance().waiting
    fabric.world.faults.frozen.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.SERVING


def test_a_backup_that_freezes_a_serving_guest_costs_nothing() -> None:
    """A frozen guest that serves goes on serving, in the boot and the generation that it was in."""
    fabric = deployed()
    before = fabric.instance()
    fabric.world.faults.frozen.add(WEB)
    for _ in range(200):
        fabric.round()
        assert WEB in fabric.world.seats_taken
    fabric.world.faults.frozen.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (before.generation, before.boot)


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
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)

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

    fabric.control.scale("shop", {"web": 1})
    fabric.until(lambda: len(fabric.instances()) == 1)
    fabric.until(fabric.quiet)
    fabric.control.scale("shop", {"web": 2})
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


def test_an_instance_that_is_wanted_again_while_it_goes_comes_back() -> None:
    """Scaled down and up before the record was dropped: it is made anew, and not forgotten."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    fabric.control.scale("shop", {"web": 0})
    fabric.until(lambda: fabric.instance().phase is Phase.GONE)
    fabric.control.scale("shop", {"web": 1})
    fabric.until(fabric.quiet)
    assert (fabric.instance().phase, fabric.instance().generation) == (Phase.SERVING, 2)


def test_local_storage_without_a_record_is_kept() -> None:
    """Whoever deploys again after the records were lost finds his data."""
    fabric = Fabric()
    fabric.world.storage[WEB] = {"cache": "precious"}
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    assert fabric.world.storage[WEB] == {"cache": "precious"}


def test_a_rebuild_makes_storage_new_whatever_else_runs() -> None:
    """A reimage is under way already: the rebuild comes after it, and is done when the storage is new."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    fabric.world.storage[WEB]["cache"] = "written"
    fabric.control.act(Verb.REIMAGE, "web-0")
    fabric.round()
    rebuild = fabric.control.act(Verb.REBUILD, "web-0")
    again = fabric.control.act(Verb.REBUILD, "web-0")
    fabric.until(fabric.quiet)
    assert {fabric.control.operation(one.id).progress for one in (rebuild, again)} == {Progress.DONE}
    assert fabric.world.storage[WEB] == {"cache": ""}
    assert fabric.instance().storage == fabric.instance().goal.storage == 2
    fabric.world.storage[WEB]["cache"] = "written"
    fabric.control.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.storage[WEB] == {"cache": "written"}


def test_a_rebuild_is_not_done_by_a_reimage_that_healed() -> None:
    """An instance that was reimaged before its turn came is rebuilt all the same."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    other = InstanceName("web-1.shop")
    fabric.world.storage[other]["cache"] = "written"
    rebuild = fabric.control.act(Verb.REBUILD, "web.shop")
    fabric.round()
    sick = fabric.instance(other)
    fabric.store.commit([records.put_state(dataclasses.replace(sick, phase=Phase.STOPPING))])
    fabric.until(fabric.quiet)
    assert fabric.control.operation(rebuild.id).progress is Progress.DONE
    assert fabric.world.storage[other] == {"cache": ""}
    assert fabric.instance(other).storage == fabric.instance(other).goal.storage


def test_a_second_apply_takes_nobody_else_out() -> None:
    """A mistake is mended while its rollout runs: the instance that is out goes first, and the old rollout ends."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    fabric.deploy(web_role(instances=2, user_data="#cloud-config\nb: 1\n"))
    out = InstanceName("web-1.shop")
    fabric.until(lambda: fabric.instance(out).generation == 2 and fabric.instance(out).phase is Phase.SETUP)
    fabric.deploy(web_role(instances=2, user_data="#cloud-config\nc: 1\n"))
    least = 2
    while not fabric.quiet():
        fabric.round()
        least = min(least, sum(seat.standing is Standing.UP for seat in fabric.control.seats().values()))
    assert least == 1
    assert all("c: 1" in one.role.user_data for one in fabric.instances())
    first, second = fabric.control.operations()
    assert (first.progress, first.message) == (Progress.SUPERSEDED, "the service was applied anew")
    assert second.progress is Progress.DONE


class Together(MemoryStore):
    """A store in which whoever reads the instances waits until another one has read them, for a moment at most."""

    meets: threading.Barrier | None = None

    def all(self, kind: str) -> Sequence[Document]:
        """See ports.Store."""
        found = super().all(kind)
        if kind == "instance" and self.meets is not None:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.meets.wait(0.3)
        return found


def test_two_operations_at_once_take_one_instance_out() -> None:
    """Two people restart an instance each: neither operation is decided on what the other is about to change."""
    store = Together()
    fabric = Fabric(store=store)
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    operations = [fabric.control.act(Verb.RESTART, f"web-{index}.shop") for index in range(2)]
    store.meets = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: fabric.daemon.attend(("operation", one.id)), operations))
    store.meets = None
    assert sum(one.goal.wanted > one.at for one in fabric.instances()) == 1
    fabric.until(fabric.quiet)
    assert {one.boot for one in fabric.instances()} == {3}


def test_what_cannot_be_removed_is_tried_again_later() -> None:
    """A VM that turns out to be somebody else's is tried again in minutes, not as fast as the machine can."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    fabric.world.faults.foreign.add(WEB)
    reimage = fabric.control.act(Verb.REIMAGE, "web-0")
    for _ in range(300):
        fabric.round()
    assert fabric.control.operation(reimage.id).progress is Progress.FAILED
    told = [one.message for one in fabric.control.events("web-0")]
    assert 1 < sum("-> failed" in line for line in told) < 8
    fabric.world.faults.foreign.clear()
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING)
    assert fabric.instance().generation == 2


def test_an_endpoint_that_cannot_be_listened_on_holds_up_nobody_else() -> None:
    """Two services, one with a port that another program holds: the other one serves, and scales."""
    fabric = Fabric()
    balancer = fabric.host.front.balancer

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(balancer, name)

        def shape(self, frontends: Sequence[Frontend]) -> None:
            balancer.shape([one for one in frontends if one.vip != "203.0.113.66"])
            if bad := {one.pool for one in frontends if one.vip == "203.0.113.66"}:
                raise EndpointRefused("port 80 of 203.0.113.66 is taken", pools=frozenset(bad))

    front = dataclasses.replace(fabric.host.front, balancer=Refusing())  # type: ignore[arg-type]
    fabric.host = dataclasses.replace(fabric.host, front=front)
    fabric._start()
    fabric.control.apply_spec(ServiceSpec(name="bad", vip="203.0.113.66", roles=(web_role(instances=1),)))
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING)
    fabric.control.scale("shop", {"web": 2})
    fabric.until(lambda: fabric.instance(InstanceName("web-1.shop")).phase is Phase.SERVING)
    fabric.control.remove("bad")
    fabric.until(lambda: len(fabric.control.services()) == 1)


def test_a_network_that_cannot_be_laid_is_told_why() -> None:
    """The VIP is a neighbour's: the instance that waits for its network says so."""
    fabric = Fabric()
    network = fabric.host.machine.network

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(network, name)

        def lay(self, *_: object) -> tuple[Notice, ...]:
            raise Foreign("203.0.113.10 is in use by aa:bb in the network of eth0")

    machine = fabric.host.machine
    refusing = dataclasses.replace(machine, network=Refusing())  # type: ignore[arg-type]
    fabric.host = dataclasses.replace(fabric.host, machine=refusing)
    fabric._start()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: "in use by aa:bb" in fabric.instance().waiting)
    for _ in range(20):
        fabric.round(60.0)
        told = fabric.control.why("web-0")
        assert any("in use by aa:bb" in line for line in told)
        assert not any("reimaged" in line or "overdue" in line for line in told), told
    fabric.host = dataclasses.replace(fabric.host, machine=machine)
    fabric._start()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)


def test_nobody_is_blamed_for_the_network_of_its_host() -> None:
    """Whoever is cut off by somebody else's doing waits, however long, and is not restarted or reimaged for it."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    before = {one.name: (one.generation, one.boot, one.strikes) for one in fabric.instances()}
    world = fabric.world
    world.faults.network_cannot_start = True
    world.unplugged = {one.name for one in fabric.instances()}
    for _ in range(40):
        fabric.round(30.0)
        assert {one.phase for one in fabric.instances()} == {Phase.SERVING}
    assert "its port is not on its bridge" in fabric.instance().waiting
    world.faults.network_cannot_start = False
    fabric.until(lambda: not world.unplugged)
    fabric.until(lambda: fabric.instance().waiting == "")
    assert fabric.quiet()
    assert {one.name: (one.generation, one.boot, one.strikes) for one in fabric.instances()} == before
    told = [one.message for one in fabric.store.events(subject=WEB)]
    assert "somebody took its port off the service's bridge: put back" in told


def test_what_comes_back_under_its_name_waits_for_its_own_network() -> None:
    """The guard against spoofing was laid without it while it was gone: the one that it had before is not its own."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=2))
    fabric.until(fabric.quiet)
    fabric.deploy(web_role(instances=1))
    gone = instance_name("shop", "web", 1)
    fabric.until(lambda: fabric.present.find(Instance, gone) is None)
    fabric.world.faults.refuses["balancer"] = Unreachable("HAProxy does not answer")  # After the network is laid.
    fabric.daemon.attend(("service", "shop"))
    assert gone not in fabric.world.networks["shop"]
    fabric.deploy(web_role(instances=2))
    for _ in range(9):
        fabric.daemon.attend(("instance", gone))  # The fake says so when a VM starts without its guard.
    assert fabric.instance(gone).phase is Phase.ANSWERED
    assert "network" in fabric.instance(gone).waiting
    fabric.world.faults.refuses.clear()
    fabric.until(fabric.quiet)


@pytest.mark.parametrize("phase", [Phase.SERVING, Phase.STARTING, Phase.SETUP, Phase.RESTARTING, Phase.STOPPED])
def test_no_vm_starts_without_its_guard_after_a_restart_of_the_host(phase: Phase) -> None:
    """The rules against spoofing lay in memory: who was on its way or serving waits until they are laid again."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    if phase is not Phase.SETUP:
        fabric.until(fabric.quiet)
    if phase in (Phase.STARTING, Phase.RESTARTING):
        fabric.act(Verb.RESTART, "web-0")
    if phase is Phase.STOPPED:
        fabric.act(Verb.STOP, "web-0")
    fabric.until(lambda: fabric.instance().phase is phase)
    if phase is Phase.STOPPED:
        fabric.until(fabric.quiet)
        fabric.act(Verb.START, "web-0")
    fabric.world.restart_host()
    fabric.restart()
    fabric.world.faults.network_cannot_start = True
    for _ in range(900):  # Longer than any phase may last.
        fabric.round(2.0)  # The fake says so when a VM starts without its guard.
    assert "dnsmasq" in fabric.instance().waiting
    assert fabric.instance().strikes == 0
    fabric.world.faults.network_cannot_start = False
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 1
    assert fabric.instance().phase is Phase.SERVING


@pytest.mark.parametrize("endpoints", [True, False])
def test_vms_that_end_while_their_instances_join_are_started_again(endpoints: bool) -> None:
    """Most of a role at once, so nothing is healed: a VM that is off is started all the same, and never joins."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=3, **({} if endpoints else {"endpoints": ()})))
    fabric.until(lambda: all(one.phase is Phase.READY for one in fabric.instances()))
    for one in fabric.instances():
        fabric.world.kill(one.name)
    fabric.round()
    assert all(one.phase is Phase.STARTING for one in fabric.instances())
    assert not fabric.world.seats_taken
    fabric.until(fabric.quiet)
    assert {(one.generation, one.strikes) for one in fabric.instances()} == {(1, 0)}


def test_a_start_is_not_overdue_while_its_host_has_no_network() -> None:
    """A restart that meets a broken network goes on when the network is back, in the same generation."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, ready=Ready(within_s=60.0)))
    fabric.until(fabric.quiet)
    world = fabric.world
    fabric.act(Verb.RESTART, "web-0.shop")
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    world.faults.network_cannot_start = True
    world.unplugged = {WEB}
    world.faults.services_never_start.add(WEB)
    for _ in range(200):
        fabric.round()
    assert (fabric.instance().phase, fabric.instance().strikes) == (Phase.STARTING, 0)
    world.faults.network_cannot_start = False
    world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 1


@pytest.mark.parametrize("verb", [None, Verb.STOP, Verb.REBUILD])
def test_a_guest_that_shuts_down_in_no_network_has_its_time_and_no_more(verb: Verb | None) -> None:
    """Nobody puts the ports of a service that is being deleted back, and no shutdown needs them."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    fabric.world.faults.network_cannot_start = True
    fabric.world.unplugged = {WEB}
    fabric.world.faults.deaf_to_requests.add(WEB)
    if verb is None:
        fabric.remove()
        fabric.until(lambda: WEB not in fabric.world.machines)
    else:
        fabric.act(verb, "web-0.shop")
        fabric.until(lambda: fabric.instance().phase is Phase.STOPPED or fabric.instance().generation == 2)


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


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.SETUP, Phase.RESTARTING])
def test_what_waits_for_its_guard_can_be_removed(phase: Phase) -> None:
    """An end needs no network: after a restart of the host that can lay none, and where nobody lays it any more."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1))
    if phase is not Phase.SETUP:
        fabric.until(fabric.quiet)
        fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is phase)
    fabric.world.restart_host()
    fabric.restart()
    fabric.world.faults.network_cannot_start = True
    for _ in range(9):
        fabric.round()
    assert fabric.instance().phase is phase
    fabric.control.remove("shop")
    fabric.until(lambda: fabric.control.services() == [])


def test_who_waits_for_a_network_has_it_laid_no_faster() -> None:
    """A service that cannot be laid is tried once a second, however many of its instances wait."""
    fabric = Fabric()
    fabric.world.faults.network_cannot_start = True
    fabric.deploy(web_role(instances=3))
    for _ in range(30):
        fabric.round()
    woken: list[str] = []
    wake = fabric.daemon.wake

    def wakes(kind: Noun, key: str) -> None:
        woken.append(kind)
        wake(kind, key)

    fabric.daemon.wake = wakes  # type: ignore[method-assign]
    for _ in range(5):
        fabric.round()
    assert "service" not in woken
    fabric.world.faults.network_cannot_start = False
    fabric.until(fabric.quiet)
