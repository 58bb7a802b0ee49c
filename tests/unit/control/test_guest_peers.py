"""What a guest learns of its peers: all of them at first, and then what has changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.control import guest_peers, records
from orchestrator.control.guest_peers import GuestPeers
from orchestrator.model import InstanceName, Phase, Says, ServiceSpec, Slot, Topology, Verb, place_of
from orchestrator.rules.topology import ASKS_WITHIN_S, STEP_S
from tests.unit.control.fleet import OTHER, WEB, serving
from tests.world.fabric import Fabric, web_role


def asked(desk: GuestPeers, after: object = -1, *, name: InstanceName = WEB, past: str = "") -> Mapping[str, Any]:
    """What it is answered."""
    assert isinstance(after, int)
    found = desk.changes(name, after, past)
    assert found is not None
    return found


def desk_of(fabric: Fabric) -> GuestPeers:
    """Who answers there."""
    return GuestPeers(fabric.present, fabric.store, fabric.world)


def states(answer: Mapping[str, Any]) -> dict[str, str]:
    """How those in an answer stand."""
    return {one["name"]: one["state"] for one in answer["peers"]}


def test_it_is_told_of_all_others_of_its_deployment_and_nobody_else() -> None:
    """Name, role, address and state; not of itself, of another service, or of what is in staging."""
    fabric = serving(2)
    db = web_role(name="db", instances=1, endpoints=())
    fabric.deploy(web_role(instances=2), db)
    fabric.control.apply_spec(ServiceSpec(name="shop", vip="203.0.113.10", roles=(web_role(),)), slot=Slot.STAGING)
    fabric.deploy(web_role(instances=1), name="other", vip="203.0.113.11")
    fabric.until(fabric.quiet)
    answer = asked(desk_of(fabric))
    assert (answer["whole"], answer["more"], answer["gone"]) == (True, False, [])
    assert [(one["name"], one["role"]) for one in answer["peers"]] == [("db-0.shop", "db"), ("web-1.shop", "web")]
    assert answer["peers"][1] == {
        "name": OTHER,
        "role": "web",
        "address": fabric.instance(OTHER).nic.address,
        "state": "serving",
    }


def test_then_it_is_told_what_has_changed() -> None:
    """By a restart, a word, a removal, each once; nothing where nothing is shown otherwise."""
    fabric = serving(3)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    assert asked(desk, number) == {"number": number, "whole": False, "peers": [], "gone": [], "more": False}
    fabric.world.say(OTHER, Says.BUSY, for_s=900.0)
    fabric.round()
    busy = asked(desk, number)
    assert (busy["whole"], states(busy)) == (False, {OTHER: "busy"})
    assert states(asked(desk, busy["number"])) == {}
    assert states(asked(desk, number)) == {OTHER: "busy"}
    fabric.control.scale("shop", {"web": 2})
    fabric.until(fabric.quiet)
    fabric.until(lambda: len(fabric.instances()) == 2)
    gone = asked(desk, busy["number"])
    assert (gone["gone"], states(gone)) == (["web-2.shop"], {})


def test_of_who_comes_back_it_is_told_that_he_is_there() -> None:
    """Not that he went."""
    fabric = serving(2)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    for instances in (1, 2):
        fabric.control.scale("shop", {"web": instances})
        fabric.until(lambda: len(fabric.instances()) == instances and fabric.quiet())  # noqa: B023 - at once
        asked(desk, number)
    back = asked(desk, number)
    assert (back["gone"], states(back), len(back["peers"])) == ([], {OTHER: "serving"}, 1)


def test_one_that_is_unwell_is_shown_so() -> None:
    """It serves, and nobody new comes to it."""
    fabric = serving(2)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    fabric.world.faults.check_fails.add(OTHER)
    fabric.until(lambda: fabric.instance(OTHER).unwell_since_s > 0)
    assert states(asked(desk, number)) == {OTHER: "unwell"}


@pytest.mark.parametrize("after", [-1, 0, 3, 10**9])
def test_a_number_that_says_nothing_is_answered_with_everything(after: int) -> None:
    """Of a former daemon, or of records that were put back."""
    fabric = serving(2)
    assert asked(desk_of(fabric), after)["whole"]


def test_many_are_told_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them by their names, and what has changed by when it did: none twice, none left out."""
    monkeypatch.setattr(guest_peers, "PAGE", 2)
    fabric = serving(6)
    desk = desk_of(fabric)
    first = answer = asked(desk)
    found = [*states(first)]
    while answer["more"]:
        answer = asked(desk, past=found[-1])
        found += states(answer)
    assert found == [f"web-{index}.shop" for index in range(1, 6)]
    for index in (4, 1, 3):
        fabric.world.say(InstanceName(f"web-{index}.shop"), Says.BUSY, for_s=900.0)
        fabric.daemon.attend(("instance", f"web-{index}.shop"))
        asked(desk, first["number"])
    answer = asked(desk, first["number"])
    assert ([*states(answer)], answer["more"]) == (["web-4.shop", "web-1.shop"], True)
    answer = asked(desk, answer["number"])
    assert ([*states(answer)], answer["more"]) == (["web-3.shop"], False)


def test_of_those_that_went_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for more is told all there are."""
    monkeypatch.setattr(guest_peers, "GONE_KEPT", 2)
    fabric = serving(6)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    fabric.control.scale("shop", {"web": 1})
    fabric.until(lambda: len(fabric.instances()) == 1 or asked(desk, number) is None)
    answer = asked(desk, number)
    assert (answer["whole"], answer["gone"], answer["peers"]) == (True, [], [])


def test_news_are_for_those_who_have_any() -> None:
    """Nobody is told of himself."""
    fabric = serving(2)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    assert desk.news({WEB: number, OTHER: number}) == {}
    fabric.control.act(Verb.RESTART, OTHER)
    fabric.until(lambda: fabric.instance(OTHER).phase is Phase.DRAINING)
    news = desk.news({WEB: number, OTHER: number, InstanceName("web-9.shop"): number})
    assert {name: states(one) for name, one in news.items()} == {WEB: {OTHER: "draining"}}


def test_nothing_is_told_of_what_no_record_tells() -> None:
    """An instance that is gone is a guest that nobody knows."""
    assert desk_of(serving(1)).changes(InstanceName("web-7.shop"), -1) is None


def test_a_board_costs_as_much_as_has_changed() -> None:
    """One look for all who ask; no record is read again for it."""
    fabric = serving(3)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    decoded = fabric.present.decoded
    for _ in range(100):
        assert asked(desk, number)["peers"] == []
    assert fabric.present.decoded == decoded


def scaled(fabric: Fabric, instances: int) -> None:
    """Somebody scales, and all are there."""
    fabric.control.scale("shop", {"web": instances})
    fabric.until(lambda: len(fabric.instances()) == instances and fabric.quiet())


@pytest.mark.parametrize("topology", Topology)
def test_of_a_role_that_walks_one_after_the_other_is_told(topology: Topology) -> None:
    """The second when the first has asked on; how those stand whom it knows, each learns at once."""
    fabric = serving(3, topology=topology)
    desk = desk_of(fabric)
    first, second, third = (InstanceName(f"web-{index}.shop") for index in range(3))
    number = asked(desk)["number"]
    for name in (first, second, third):
        asked(desk, number, name=name)
    scaled(fabric, 4)
    new = {"web-3.shop": "serving"}
    walks = topology is Topology.WALK
    assert states(asked(desk, number, name=second)) == ({} if walks else new)
    heard = asked(desk, number, name=first)
    assert states(heard) == new
    assert states(asked(desk, number, name=second)) == ({} if walks else new)
    assert desk.news({second: number}).keys() == (set() if walks else {second})
    asked(desk, heard["number"], name=first)
    assert states(asked(desk, number, name=second)) == new
    assert states(asked(desk, number, name=third)) == ({} if walks else new)
    fabric.world.pass_time(2 * STEP_S)
    assert states(asked(desk, number, name=third)) == new


def test_who_walks_and_does_not_ask_holds_up_nobody() -> None:
    """Nor does one that has asked long ago."""
    fabric = serving(2, topology=Topology.WALK)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    asked(desk, number, name=WEB)
    fabric.world.pass_time(ASKS_WITHIN_S)
    scaled(fabric, 3)
    assert states(asked(desk, number, name=OTHER)) == {"web-2.shop": "serving"}


def test_a_walk_costs_nothing_while_nobody_comes_or_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who have subscribed are looked at after each commit: nobody is compared with all others for it."""
    fabric = serving(3, topology=Topology.WALK)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    compared: list[InstanceName] = []

    def compare(name: InstanceName) -> tuple[str, int]:
        compared.append(name)
        return place_of(name)

    monkeypatch.setattr(guest_peers, "place_of", compare)
    fabric.present.commit([records.put_state(replace(fabric.instance(OTHER), clock_off_s=45.0))])
    assert desk.news({one.name: number for one in fabric.instances()}) == {}
    assert compared == []


def test_what_is_recorded_and_not_shown_is_told_to_nobody() -> None:
    """A clock that goes wrong, a warning, an agent's fault."""
    fabric = serving(2)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    fabric.present.commit([records.put_state(replace(fabric.instance(OTHER), clock_off_s=45.0))])
    answer = asked(desk, number)
    assert (answer["number"] > number, answer["peers"]) == (True, [])


def test_who_is_told_unasked_has_not_said_that_he_has_heard() -> None:
    """The next one waits until he asks for what came after, or for the time that is his."""
    fabric = serving(2, topology=Topology.WALK)
    desk = desk_of(fabric)
    number = asked(desk)["number"]
    asked(desk, number, name=WEB)
    scaled(fabric, 3)
    told = desk.news({WEB: number})[WEB]["number"]
    assert isinstance(told, int)
    desk.news({WEB: told})
    assert states(asked(desk, number, name=OTHER)) == {}
    asked(desk, told, name=WEB)
    assert states(asked(desk, number, name=OTHER)) == {"web-2.shop": "serving"}
