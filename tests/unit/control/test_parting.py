"""A guest that has asked to be told of its end is waited for, as long as its role drains and no longer."""

from __future__ import annotations

import pytest

from orchestrator.model import Phase, Power, Ready, Verb
from orchestrator.steps.farewell import GONE, LOOK_S
from tests.unit.control.fleet import WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role
from tests.world.lending import Clients

DRAIN_S = 30.0
LEARNS = "its guest learns of its {} and has 30 s for it (drain)"


def asked(**changes: object) -> Fabric:
    """A serving instance whose guest has asked."""
    fabric = deployed(drain_s=DRAIN_S, **changes)
    fabric.world.part(WEB)
    fabric.round()
    return fabric


def drains_for_s(fabric: Fabric) -> float:
    """How long it stays in draining from now on."""
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    began_s = fabric.world.now_s()
    while fabric.instance().phase is Phase.DRAINING:
        fabric.daemon.attend(("instance", WEB))
        fabric.world.pass_time(0.5)
        assert fabric.world.now_s() - began_s < 10 * DRAIN_S
    return fabric.world.now_s() - began_s


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.REBUILD, Verb.STOP])
def test_it_is_waited_for_until_its_drain_is_over(verb: Verb) -> None:
    """Out of rotation all the while; the ledger tells of both."""
    fabric = asked()
    fabric.act(verb, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    fabric.round()
    assert WEB not in fabric.world.seats_taken
    assert fabric.instance().waiting == "its guest has been told of its end and has not let go"
    assert drains_for_s(fabric) == pytest.approx(DRAIN_S, abs=3.0)
    lines = told(fabric)
    assert LEARNS.format("reimage" if verb is Verb.REBUILD else verb.value) in lines
    assert any(line.endswith("its guest has not let go in time") for line in lines)
    fabric.until(fabric.quiet)


def test_it_goes_on_when_the_guest_lets_go() -> None:
    """With the next turn."""
    fabric = asked()
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    fabric.world.part(WEB, lets_go=True)
    fabric.daemon.attend(("instance", WEB))
    assert fabric.instance().phase is Phase.RESTARTING
    assert "draining -> restarting: its guest has let go" in told(fabric)


def test_a_removal_is_told_as_well() -> None:
    """Of the service, or by a smaller number of instances."""
    fabric = asked()
    fabric.remove()
    fabric.until(lambda: LEARNS.format("removal") in told(fabric))
    fabric.world.part(WEB, lets_go=True)
    fabric.until(lambda: not fabric.instances())


def test_who_has_not_asked_is_not_waited_for() -> None:
    """Nor told of."""
    fabric = deployed(drain_s=DRAIN_S)
    fabric.act(Verb.RESTART, WEB)
    assert drains_for_s(fabric) < 3.0
    assert not any("learns" in line for line in told(fabric))


def test_who_asked_in_another_boot_is_not_waited_for() -> None:
    """After a restart it has to ask again, and after a reimage nothing is left of it."""
    fabric = asked()
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    fabric.until(fabric.quiet)
    assert fabric.instance().parting is not None
    fabric.act(Verb.REIMAGE, WEB)
    assert drains_for_s(fabric) < 3.0
    fabric.until(fabric.quiet)
    assert fabric.instance().parting is None


def test_it_outlives_the_daemon() -> None:
    """The next one knows from the record who has asked, and since when it waits."""
    fabric = asked()
    fabric.world.partings.clear()
    fabric.restart()
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    fabric.restart()
    assert drains_for_s(fabric) == pytest.approx(DRAIN_S, abs=3.0)
    assert told(fabric).count(LEARNS.format("restart")) == 1


def test_connections_and_the_guest_have_the_same_time() -> None:
    """Whichever of them is later ends it, and neither adds to the other."""
    fabric = asked()
    fabric.world.connections[WEB] = 1
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.DRAINING)
    fabric.world.part(WEB, lets_go=True)
    assert drains_for_s(fabric) == pytest.approx(DRAIN_S, abs=3.0)


def test_a_vm_that_ends_by_itself_is_not_waited_for() -> None:
    """Nobody is left to let go."""
    fabric = asked()
    fabric.act(Verb.REIMAGE, WEB)
    fabric.until(lambda: LEARNS.format("reimage") in told(fabric))
    fabric.world.machines[WEB].power = Power.OFF
    fabric.daemon.attend(("instance", WEB))
    assert fabric.instance().phase is Phase.STOPPING


def test_a_client_s_lease_is_no_end() -> None:
    """Its VM goes on: nothing is told, and nobody waited for."""
    fabric = serving(1, drain_s=DRAIN_S)
    fabric.world.part(WEB)
    fabric.round()
    clients = Clients(fabric)
    clients.until_given(clients.ask())
    assert not any("learns" in line for line in told(fabric))


def test_a_role_without_a_drain_waits_for_nobody() -> None:
    """Its drain time is the guest's."""
    fabric = deployed(drain_s=0.0)
    fabric.world.part(WEB)
    fabric.round()
    fabric.act(Verb.RESTART, WEB)
    assert drains_for_s(fabric) < 3.0


# Those that have not drained -------------------------------------------------------------------------------------

LET_GO = "its guest has let go"
LATE = "its guest has not let go in time"


def stays_for_s(fabric: Fabric, *phases: Phase) -> float:
    """How long its VM goes on in these phases, as the guest sees it: until it is in another boot, or is no more."""
    fabric.until(lambda: fabric.instance().phase in phases)
    machine, began_s = fabric.world.machines[WEB], fabric.world.now_s()
    boot_id = machine.boot_id
    while (machine.power, machine.boot_id) == (Power.RUNNING, boot_id):
        fabric.daemon.attend(("instance", WEB))
        fabric.world.pass_time(0.5)
        assert fabric.world.now_s() - began_s < 10 * DRAIN_S
    return fabric.world.now_s() - began_s


def ailing() -> Fabric:
    """One that has asked, whose check fails and whose guest is alive."""
    fabric = asked()
    fabric.world.faults.check_fails.add(WEB)
    return fabric


def test_one_that_is_healed_is_waited_for() -> None:
    """Out of rotation all the while, its role's drain and no longer; then it is restarted."""
    fabric = ailing()
    assert stays_for_s(fabric, Phase.RESTARTING) == pytest.approx(DRAIN_S, abs=4.0)
    assert WEB not in fabric.world.seats_taken
    assert told(fabric).count(LEARNS.format("restart")) == 1
    assert told(fabric).count(LATE) == 1
    fabric.world.faults.check_fails.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().boot == 3


def test_one_that_is_healed_goes_on_when_its_guest_lets_go() -> None:
    """With the next turn."""
    fabric = ailing()
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    assert fabric.instance().waiting == "its guest has been told of its end and has not let go"
    fabric.world.part(WEB, lets_go=True)
    fabric.daemon.attend(("instance", WEB))
    assert (LET_GO in told(fabric), fabric.instance().asked_at_s > 0) == (True, True)
    assert fabric.instance().phase is Phase.RESTARTING


@pytest.mark.parametrize("dead", ["silent", "stopped", "off"])
def test_healing_waits_for_no_guest_that_does_not_answer(dead: str) -> None:
    """Nothing is told, and it takes as long as that of one that has never asked."""
    took = []
    for asks in (True, False):
        fabric = asked() if asks else deployed(drain_s=DRAIN_S)
        fabric.world.faults.check_fails.add(WEB)
        match dead:
            case "silent":
                fabric.world.faults.agent_silent.add(WEB)
            case "stopped":
                fabric.world.stop_qemu(WEB)
            case _:
                fabric.world.machines[WEB].power = Power.OFF
        began_s = fabric.world.now_s()
        boot_id = fabric.world.machines[WEB].boot_id
        fabric.until(lambda fabric=fabric, boot_id=boot_id: fabric.world.machines[WEB].boot_id != boot_id)
        took.append(fabric.world.now_s() - began_s)
        assert not any("learns" in line for line in told(fabric))
    assert took[0] == pytest.approx(took[1], abs=1.0)


def test_one_that_dies_meanwhile_is_waited_for_no_longer() -> None:
    """Seen within a few seconds, and told."""
    fabric = ailing()
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    fabric.world.faults.agent_silent.add(WEB)
    fabric.world.pass_time(LOOK_S)
    fabric.round()
    assert (GONE in told(fabric), fabric.instance().asked_at_s > 0) == (True, True)


@pytest.mark.parametrize(
    ("verb", "why", "phase"),
    [
        (Verb.RESTART, "restart", Phase.RESTARTING),
        (Verb.REIMAGE, "reimage", Phase.STOPPING),
        (Verb.STOP, "stop", Phase.HALTING),
        (None, "removal", Phase.STOPPING),
    ],
)
def test_one_that_is_starting_is_told(verb: Verb | None, why: str, phase: Phase) -> None:
    """It may have begun something, and not be ready for long."""
    fabric = Fabric()
    fabric.world.faults.services_never_start.add(WEB)
    fabric.deploy(web_role(instances=1, drain_s=DRAIN_S))
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING and bool(fabric.instance().boot_id))
    fabric.world.part(WEB)
    fabric.round()
    if verb is None:
        fabric.remove()
    else:
        fabric.act(verb, WEB)
    assert stays_for_s(fabric, phase) == pytest.approx(DRAIN_S, abs=4.0)
    assert told(fabric).count(LEARNS.format(why)) == 1
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)


def test_the_guest_of_a_lease_that_ends_is_told() -> None:
    """As long as its role drains, whoever has asked in it: then nobody else gets what a client had."""
    fabric = serving(1, drain_s=DRAIN_S)
    clients = Clients(fabric)
    lease = clients.until_given(clients.ask())
    fabric.world.part(WEB)
    clients.end(lease)
    assert stays_for_s(fabric, Phase.STOPPING) == pytest.approx(DRAIN_S, abs=4.0)
    assert LEARNS.format("reimage") in told(fabric)
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 2


def test_who_was_waited_for_while_it_drained_is_not_waited_for_again() -> None:
    """One end, one drain."""
    fabric = asked()
    fabric.act(Verb.STOP, WEB)
    drains_for_s(fabric)
    assert stays_for_s(fabric, Phase.HALTING) < 3.0
    assert sum("learns" in line for line in told(fabric)) == 1


def test_a_removal_meanwhile_has_the_time_of_its_own() -> None:
    """It is told of that, and is not torn away because it is waited for already."""
    fabric = ailing()
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    fabric.remove()
    fabric.until(lambda: LEARNS.format("removal") in told(fabric))
    fabric.world.part(WEB, lets_go=True)
    fabric.until(lambda: not fabric.instances())


def test_it_is_waited_for_once_whatever_becomes_of_the_daemon() -> None:
    """Since when it waits, and that it was told, is on record."""
    fabric = ailing()
    fabric.until(lambda: LEARNS.format("restart") in told(fabric))
    fabric.world.partings.clear()
    fabric.restart()
    assert stays_for_s(fabric, Phase.RESTARTING) == pytest.approx(DRAIN_S, abs=4.0)
    assert told(fabric).count(LEARNS.format("restart")) == 1


def test_healing_does_not_wait_where_nothing_tells_that_the_guest_lives() -> None:
    """A role without an agent; a restart that somebody asks for does."""
    fabric = Fabric()
    fabric.world.faults.no_agent = True
    fabric.deploy(web_role(instances=1, drain_s=DRAIN_S, ready=Ready(agent=False)))
    fabric.until(fabric.quiet)
    fabric.world.part(WEB)
    fabric.round()
    fabric.world.faults.check_fails.add(WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.RESTARTING)
    fabric.until(lambda: fabric.instance().phase is not Phase.RESTARTING)
    assert not any("learns" in line for line in told(fabric))
