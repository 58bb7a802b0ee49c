"""A guest that has asked to be told of its end is waited for, as long as its role drains and no longer."""

from __future__ import annotations

import pytest

from orchestrator.model import Phase, Power, Verb
from tests.unit.control.fleet import WEB, deployed, serving, told
from tests.world.fabric import Fabric
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
