"""Guests that tell little or nothing, in the fake world: no agent, no answers, a confined agent; and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.model import AnswerFormat, InstanceName, Phase, Ready, Setup, TcpProbe, Unit, UnitState, Verb
from orchestrator.steps.hearing import NO_AGENT_S
from tests.world.fabric import Fabric, web_role

WEB = InstanceName("web-0.shop")
UNSEEN = Ready(agent=False, probe=TcpProbe(port=22))


def fabric_of(**changes: Any) -> Fabric:
    """A fabric with one instance that was just asked for."""
    fabric = Fabric()
    fabric.deploy(web_role(instances=1, **changes))
    return fabric


def ledger(fabric: Fabric) -> str:
    """All that was told of the service."""
    return "\n".join(event.message for event in fabric.control.events("shop"))


@pytest.mark.parametrize(
    ("answers", "restart", "boot"),
    [(AnswerFormat.NOCLOUD, True, 2), (AnswerFormat.NOCLOUD, False, 1), (AnswerFormat.NONE, False, 1)],
)
def test_an_appliance_lives_by_its_probe(answers: AnswerFormat, restart: bool, boot: int) -> None:
    """Without an agent: setup ends with its restart and the probe, the probe makes it ready, and restart, reimage and
    removal go as for every other; nothing is ever asked of the agent that it has not.
    """
    fabric = fabric_of(answers=answers, ready=UNSEEN, setup=Setup(restart=restart))
    fabric.world.faults.no_agent = True
    fabric.until(fabric.quiet)
    machine = fabric.world.machines[WEB]
    assert fabric.world.services_run(machine)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, boot)
    assert machine.disc is False
    boots = machine.boots
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    assert (machine.boots, fabric.instance().boot) == (boots + 1, boot + 1)
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (2, boot)
    machine = fabric.world.machines[WEB]
    machine.resets += 1
    machine.start_boot(fabric.world.time_s)
    fabric.until(lambda: WEB not in fabric.world.seats_taken, rounds=100)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (2, boot + 1)
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.world.networks)
    fabric.world.nothing_is_left()


def test_an_appliance_that_obeys_the_button_by_going_off_is_started_again() -> None:
    """A guest that takes a restart for a shutdown has restarted when it is on again."""
    fabric = fabric_of(answers=AnswerFormat.NONE, ready=UNSEEN, setup=Setup(restart=False))
    fabric.world.faults.no_agent = True
    fabric.until(fabric.quiet)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: bool(fabric.instance().asked_at_s))
    fabric.world.kill(WEB)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot, fabric.instance().warning) == (1, 2, "")


def test_an_appliance_whose_probe_never_passes_says_so() -> None:
    """Its deadline counts as for every other, and the sentence names the probe."""
    short = Ready(agent=False, probe=TcpProbe(port=22), within_s=30.0)
    fabric = fabric_of(answers=AnswerFormat.NONE, ready=short, setup=Setup(restart=False))
    fabric.world.faults.no_agent = True
    fabric.world.faults.services_never_start.add(WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert "probe says: connection refused" in fabric.instance().failure


def test_an_image_that_sets_itself_up_waits_for_no_setup() -> None:
    """`answers: none` with an agent: no disc, one boot, and services are waited for as ever."""
    fabric = fabric_of(answers=AnswerFormat.NONE, setup=Setup(restart=False))
    fabric.until(fabric.quiet)
    assert (fabric.instance().boot, fabric.world.machines[WEB].boots, fabric.world.discs) == (1, 1, {})
    assert "there is no setup" in ledger(fabric)


def test_an_image_without_an_agent_is_told_what_it_lacks() -> None:
    """After two minutes without an agent ever, the sentence names the package and the keys that help; a booting guest
    is not bothered with that.
    """
    fabric = fabric_of()
    fabric.world.faults.no_agent = True
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    since_s = fabric.world.now_s()
    while fabric.world.now_s() < since_s + NO_AGENT_S - 5:
        fabric.round(5.0)
        assert "qemu-guest-agent" not in fabric.instance().waiting
    for _ in range(4):
        fabric.round(5.0)
    for word in ("package qemu-guest-agent", "installAgent: true", "agent: false"):
        assert word in fabric.instance().waiting
    assert "qemu-guest-agent" in " ".join(fabric.control.why("web-0"))


def test_a_confined_agent_serves_and_its_confinement_is_told() -> None:
    """The monitor, or the second boot, tells of the restart; the ledger says what confines the agent."""
    fabric = fabric_of(ready=Ready(probe=TcpProbe(port=22)))
    fabric.world.faults.agent_is_confined = True
    fabric.until(lambda: "confined" in fabric.instance().waiting)
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, 2)
    assert "setup -> starting: the agent is confined" in ledger(fabric)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, 3)


def test_which_services_have_not_started_is_a_list() -> None:
    """The names reach the record while it waits, stay with a failure, and go when it serves."""
    fabric = fabric_of(ready=Ready(within_s=60.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    fabric.until(lambda: bool(fabric.instance().services_pending), rounds=100)
    assert fabric.instance().units == (Unit("app.service", UnitState.PENDING),)
    assert fabric.instance().services_pending == ("app.service",)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    assert fabric.instance().services_pending == ("app.service",)
    fabric.world.faults.services_never_start.clear()
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().services_pending == ()


def test_what_an_instance_keeps_goes_by_a_rebuild_or_a_removal_alone() -> None:
    """SSH host keys are the same after restart and reimage, and new after a rebuild."""
    fabric = fabric_of(keep_ssh_host_keys=True)
    fabric.until(fabric.quiet)
    first = fabric.world.identities[WEB]
    for verb in (Verb.RESTART, Verb.REIMAGE):
        fabric.act(verb, "web-0")
        fabric.until(fabric.quiet)
        assert fabric.world.identities[WEB] == first
    fabric.act(Verb.REBUILD, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.world.identities[WEB] != first
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.world.networks)
    fabric.world.nothing_is_left()
