"""A port that somebody deletes under a running VM: told, healed by a new start of the VM, blamed on nobody inside."""

from __future__ import annotations

import pytest

from orchestrator.control import verify
from orchestrator.model import InstanceName, LocalStorage, Phase, Ready, Stop, TcpProbe, Verb
from tests.world.fabric import Fabric, web_role

WEB = InstanceName("web-0.shop")
SENTENCE = "somebody deleted its port"


def deployed(**role: object) -> Fabric:
    """A service of one instance that serves, unless the role says otherwise, with a mark on its system disk."""
    fabric = Fabric()
    fabric.deploy(web_role(**{"instances": 1, **role}))  # type: ignore[arg-type] # a role's own fields
    fabric.until(fabric.quiet)
    for machine in fabric.world.machines.values():
        machine.system_marker = "kept"
    return fabric


def ledger(fabric: Fabric, name: InstanceName = WEB) -> list[str]:
    """What has been written down of the instance."""
    return [one.message for one in fabric.store.events(subject=name)]


def is_whole(fabric: Fabric) -> bool:
    """Whether all serve with their ports."""
    return fabric.quiet() and not any(map(fabric.world.is_cut_off, fabric.world.machines))


@pytest.mark.parametrize("endpoints", [True, False], ids=["in a pool", "a worker"])
def test_a_deleted_port_is_told_and_healed_by_a_start_of_the_vm(endpoints: bool) -> None:
    """Out of rotation, `verify` and `why` name it, the guest is shut down and its VM started with all that it had."""
    fabric = deployed(**({} if endpoints else {"endpoints": ()}))
    fabric.world.delete_port(WEB)
    codes = [one.code for one in verify.findings(fabric.host, fabric.control.services(), fabric.instances())]
    assert codes == ["PORT-MISSING"]
    fabric.round()
    assert any(SENTENCE in line for line in fabric.control.why("web-0"))
    fabric.until(lambda: is_whole(fabric))
    instance = fabric.instance()
    assert (instance.generation, instance.strikes, instance.failure) == (1, 0, "")
    assert fabric.world.machines[WEB].system_marker == "kept"
    assert any(SENTENCE in line for line in ledger(fabric))
    assert verify.findings(fabric.host, fabric.control.services(), fabric.instances()) == []


def test_all_of_a_role_are_healed() -> None:
    """Together they are ill of a known cause, which passes by nothing but a start: nobody is held back."""
    fabric = deployed(instances=3)
    for name in list(fabric.world.machines):
        fabric.world.delete_port(name)
    fabric.until(lambda: is_whole(fabric))
    assert {(one.generation, one.strikes) for one in fabric.instances()} == {(1, 0)}


def test_a_guest_that_does_not_hear_is_ended_when_its_time_is_over() -> None:
    """It has the time of its role to shut down, and what had to be forced is told."""
    fabric = deployed(stop=Stop(within_s=60.0), local_storage=(LocalStorage(name="cache", size_mib=16),))
    fabric.world.faults.deaf_to_requests.add(WEB)
    fabric.world.delete_port(WEB)
    fabric.until(lambda: fabric.instance().forced)
    asked_s = fabric.world.now_s() - fabric.instance().asked_at_s
    assert asked_s >= 60.0
    fabric.until(lambda: is_whole(fabric))
    assert sum("did not shut down within 60 s" in line for line in ledger(fabric)) == 1
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.READY, Phase.RESTARTING, Phase.DRAINING])
def test_a_port_deleted_on_the_way_costs_no_generation(phase: Phase) -> None:
    """Whatever the instance is just doing, it comes to serve in the generation that it has."""
    fabric = deployed()
    if phase is Phase.READY:
        fabric.world.faults.check_fails.add(WEB)
    fabric.act(Verb.RESTART, "web-0.shop")
    fabric.until(lambda: fabric.instance().phase is phase)
    fabric.world.delete_port(WEB)
    fabric.round()
    fabric.world.faults.check_fails.clear()
    fabric.until(lambda: is_whole(fabric))
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)
    assert any(SENTENCE in line for line in ledger(fabric)) or phase is Phase.DRAINING


def test_a_setup_without_a_port_begins_anew() -> None:
    """Half a setup is worth nothing: the next generation does it, and the ledger says whose doing that was."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    fabric.world.delete_port(WEB)
    fabric.world.faults.setup_never_ends.clear()
    fabric.until(lambda: is_whole(fabric))
    assert fabric.instance().generation == 2
    assert any(SENTENCE in line for line in ledger(fabric))


def test_a_vm_that_ends_has_not_lost_its_port() -> None:
    """The port of a VM goes with it: nobody has deleted that, and `verify` does not say so."""
    fabric = deployed(endpoints=(), ready=Ready(probe=TcpProbe(port=22)))
    fabric.world.kill(WEB)
    findings = verify.findings(fabric.host, fabric.control.services(), fabric.instances())
    assert "PORT-MISSING" not in [one.code for one in findings]
    fabric.until(lambda: is_whole(fabric))
    assert not any(SENTENCE in line for line in ledger(fabric))


def test_a_port_that_is_gone_for_a_moment_may_be_that_of_a_vm_that_ends() -> None:
    """Nothing is done before it has been seen twice."""
    fabric = deployed()
    fabric.world.delete_port(WEB)
    fabric.round(0.1)
    fabric.world.kill(WEB)
    fabric.until(lambda: is_whole(fabric))
    assert not any(SENTENCE in line for line in ledger(fabric))
