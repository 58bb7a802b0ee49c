"""Ports of a VIP that lead to one instance each, over its whole life."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.control import verify
from orchestrator.errors import InvalidInput
from orchestrator.model import InstanceEndpoint, InstanceName, Member, Phase, Ports, Verb, place_of
from tests.world.fabric import Fabric, web_role

SSH = InstanceEndpoint(name="ssh", ports=Ports(10022, 10024), target=22)
WEB = InstanceName("web-0.shop")


def deployed() -> Fabric:
    """Two instances that serve."""
    fabric = Fabric()
    fabric.deploy(replace(web_role(instances=2), instance_endpoints=(SSH,)))
    fabric.until(fabric.quiet)
    return fabric


def phases_with_a_door(fabric: Fabric) -> set[tuple[Phase, bool]]:
    """In which phases an instance was seen while it was quiet again: with a door, or without."""
    seen: set[tuple[Phase, bool]] = set()

    def looked() -> bool:
        seen.add((fabric.instance().phase, WEB in fabric.world.doors))
        return fabric.quiet()

    fabric.until(looked)
    return seen


def test_a_door_opens_after_setup_and_shuts_before_the_vm_stops() -> None:
    """The same one after a reimage, while other instances' stay open."""
    fabric = deployed()
    assert set(fabric.world.doors) == {one.name for one in fabric.instances()}
    fabric.act(Verb.REIMAGE, WEB)
    seen = phases_with_a_door(fabric)
    assert {phase for phase, is_open in seen if is_open} >= {Phase.DRAINING, Phase.STARTING, Phase.SERVING}
    assert (Phase.SETUP, False) in seen
    assert not {phase for phase, is_open in seen if is_open} & {Phase.SETUP, Phase.ERASING, Phase.REQUESTED}


def test_who_does_not_serve_is_reached_all_the_same() -> None:
    """Its probe fails, or its services never start: whoever wants to know why gets in."""
    fabric = deployed()
    fabric.world.faults.services_never_start.add(WEB)
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    assert WEB in fabric.world.doors
    fabric.world.kill(WEB)
    fabric.until(lambda: WEB not in fabric.world.doors, rounds=5)


def test_doors_follow_the_file() -> None:
    """Without the endpoint they are shut; of a service that is deleted nothing is left."""
    fabric = deployed()
    fabric.deploy(web_role(instances=2))
    fabric.until(lambda: not fabric.world.doors)
    fabric.deploy(replace(web_role(instances=2), instance_endpoints=(SSH,)))
    fabric.until(lambda: len(fabric.world.doors) == 2)
    assert fabric.present.frontends()[-1].ports == (10022, 10023, 10024)
    fabric.remove()
    fabric.until(lambda: not fabric.world.networks)
    fabric.world.nothing_is_left()


def test_no_role_is_scaled_beyond_its_ports() -> None:
    """Each instance has one of its own: the refusal says which endpoint and what helps."""
    fabric = deployed()
    fabric.control.scale("shop", {"web": 3})
    with pytest.raises(InvalidInput, match=r"ssh has a port for 3 \(10022-10024\)") as refused:
        fabric.control.scale("shop", {"web": 4})
    assert "more ports" in refused.value.hint


def test_a_door_of_nobody_is_found_and_shut() -> None:
    """As every part without a record."""
    fabric = deployed()
    stray = InstanceName("web-2.shop")
    fabric.host.front.doors.reach(Member(name=stray, address="10.90.0.99", pools=(("shop.web.ssh", 22),)))  # type: ignore[arg-type]
    found = verify.findings(fabric.host, fabric.control.services(), fabric.instances())
    assert [(one.code, one.subject, one.stray) for one in found] == [("DOOR-STRAY", stray, True)]
    verify.repair(fabric.host, found, lambda _: False)
    assert place_of(stray) == ("web", 2)
    assert stray not in fabric.world.doors
