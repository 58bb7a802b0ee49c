"""What is not reimaged: what somebody has asked to restart, and what only a probe speaks against."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.control import records
from orchestrator.model import InstanceName, Phase, Power, Progress, Ready, TcpProbe, Verb, instance_name
from tests.unit.control.fleet import WEB, deployed, serving, told
from tests.world.fabric import Fabric, web_role

HOUR = 1800  # rounds of two seconds


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.START])
@pytest.mark.parametrize("fault", ["services_never_start", "check_fails", "ready_probe_fails"])
def test_what_was_asked_for_ends_in_no_reimage(verb: Verb, instances: int, fault: str) -> None:
    """A restart or start after which it never serves: failed, kept, said, looked at again, well when it is well."""
    ready = Ready(within_s=30.0, probe=TcpProbe(port=8080))
    fabric = serving(instances, ready=ready)
    machine = fabric.world.machines[WEB]
    machine.system_marker = "written"
    if verb is Verb.START:
        fabric.act(Verb.STOP, "web-0")
        fabric.until(fabric.quiet)
    getattr(fabric.world.faults, fault).add(WEB)
    boots = machine.boots
    operation = fabric.control.act(verb, "web-0")
    fabric.until(lambda: fabric.control.operation(operation.id).progress is Progress.FAILED)
    assert fabric.instance().phase is Phase.FAILED
    assert "keeps everything" in fabric.instance().failure
    assert any("It is tried again at " in line for line in fabric.control.why("web-0"))
    for _ in range(HOUR):
        fabric.round(2.0)
        assert fabric.instance().generation == 1
    assert machine.boots == boots + 1, "not even another restart"
    assert sum("-> failed" in line for line in told(fabric)) < 15, "with back-off"
    getattr(fabric.world.faults, fault).clear()
    fabric.until(fabric.quiet)
    assert (machine.boots, machine.system_marker, fabric.instance().generation) == (boots + 1, "written", 1)

    assert not fabric.instance().by_request, "it serves: the ladder is its own again"


def test_why_says_what_comes_of_a_restart_that_was_asked_for() -> None:
    """No threat with a reimage that never comes."""
    fabric = deployed(ready=Ready(within_s=600.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    fabric.round()
    why = " ".join(fabric.control.why("web-0"))
    assert "then: it is failed, keeps everything, and is looked at again; its restart was asked for" in why
    assert "reimaged" not in why


def test_the_ladder_is_for_what_fails_by_itself_later() -> None:
    """An instance that has served after its restart was asked for is healed as any other."""
    fabric = serving(3, ready=Ready(within_s=30.0))
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().generation == 2)


@pytest.mark.parametrize("fault", ["check_fails", "ready_probe_fails"])
def test_a_database_that_is_away_costs_a_role_of_one_no_disk(fault: str) -> None:
    """For half an hour only the probe fails: one restart, said, no reimage; it serves again by itself."""
    endpoints = {} if fault == "check_fails" else {"endpoints": ()}
    fabric = deployed(ready=Ready(within_s=60.0, probe=TcpProbe(port=8080)), **endpoints)
    machine = fabric.world.machines[WEB]
    machine.system_marker = "written"
    boots = machine.boots
    getattr(fabric.world.faults, fault).add(WEB)
    why = ""
    for _ in range(HOUR // 2):
        fabric.round(2.0)
        why += " ".join(fabric.control.why("web-0"))
    assert (machine.boots, fabric.instance().generation) == (boots + 1, 1)
    assert "only a probe speaks against it, so it is not reimaged" in why
    assert "no reimage would mend it" in why
    getattr(fabric.world.faults, fault).clear()
    fabric.until(fabric.quiet)
    assert (machine.boots, machine.system_marker, fabric.instance().generation) == (boots + 1, "written", 1)


def struck(fabric: Fabric) -> None:
    """It has been restarted a moment ago, and serves again."""
    fabric.store.commit([records.put_state(dataclasses.replace(fabric.instance(), strikes=1))])


def test_what_its_agent_does_not_speak_for_is_made_anew() -> None:
    """The check fails and nothing inside answers: that is its own illness, and the ladder goes on."""
    fabric = serving(3)
    struck(fabric)
    fabric.world.faults.check_fails.add(WEB)
    fabric.world.faults.agent_silent.add(WEB)
    for _ in range(HOUR):
        fabric.round(2.0)
    assert fabric.instance().generation == 2


def test_a_guest_without_an_agent_has_nothing_but_its_probe() -> None:
    """Nobody inside could speak for it: the ladder goes on to the reimage."""
    fabric = serving(3, ready=Ready(agent=False, probe=TcpProbe(port=8080)))
    struck(fabric)
    fabric.world.faults.check_fails.add(WEB)
    for _ in range(HOUR):
        fabric.round(2.0)
    assert fabric.instance().generation == 2


def test_a_role_of_one_that_has_failed_is_looked_at_again() -> None:
    """Its services miss something through restart and reimage: it is not left failed when that comes back."""
    fabric = deployed(ready=Ready(within_s=30.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    for _ in range(HOUR // 2):
        fabric.round(2.0)
    assert fabric.instance().generation == 2, "looked at, and not made anew each time"
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.world.machines[WEB].boots) == (2, boots)


@pytest.mark.parametrize("agent", ["none", "blind", "whole"])
@pytest.mark.parametrize("how", ["resets", "powers off"])
def test_whoever_restarts_for_ever_leaves_the_pool(agent: str, how: str) -> None:
    """Also a guest that tells no boots, however it comes to them: told, out of rotation, waited out, and back."""
    probe = TcpProbe(port=8080)
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = agent == "blind"
    fabric.world.faults.no_agent = agent == "none"
    fabric.deploy(web_role(instances=1, ready=Ready(probe=probe, agent=agent != "none")))
    fabric.until(fabric.quiet)
    machine = fabric.world.machines[WEB]
    seated = []
    for _ in range(400):
        up_s = fabric.world.time_s - machine.booted_at_s
        if machine.power is Power.RUNNING and up_s > 12.0:
            if how == "resets":
                machine.resets += 1
                machine.start_boot(fabric.world.time_s)
            else:
                fabric.world.kill(WEB)
        fabric.round(1.0)
        seated.append(WEB in fabric.world.seats_taken)
    assert any("restarts for ever" in line for line in told(fabric))
    assert sum(seated[200:]) < 20, "hardly ever in the pool"
    assert "restarts for ever" in " ".join(fabric.control.why("web-0"))
    assert fabric.instance().generation == 1
    fabric.until(fabric.quiet)
    assert WEB in fabric.world.seats_taken


def test_a_few_restarts_of_a_blind_guest_are_no_endless_ones() -> None:
    """Five in ten minutes are borne."""
    fabric = Fabric()
    fabric.world.faults.agent_shows_no_files = True
    fabric.deploy(web_role(instances=1))
    fabric.until(fabric.quiet)
    machine = fabric.world.machines[InstanceName(instance_name("shop", "web", 0))]
    boot = fabric.instance().boot
    for _ in range(5):
        machine.resets += 1
        machine.start_boot(fabric.world.time_s)
        fabric.until(lambda: fabric.instance().phase is not Phase.SERVING)
        fabric.until(fabric.quiet)
    assert (fabric.instance().boot, fabric.instance().calms) == (boot + 5, 0)
