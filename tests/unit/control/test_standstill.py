"""Automation that is paused: nothing is healed, rolled out or tried again; what is asked for is done."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import InvalidInput, NotFound
from orchestrator.model import Instance, OnFailure, Phase, Progress, Ready, Setup, Slot, Standing, Upgrade, Verb
from orchestrator.model.cause import Kind
from orchestrator.model.standstill import Standstill
from orchestrator.ports import Write
from tests.unit.control.fleet import WEB, serving, told
from tests.world.fabric import Fabric, web_role

NEW = "#cloud-config\nnew: 1\n"


def pass_minutes(fabric: Fabric, minutes: int) -> None:
    """So long, looked at every two seconds."""
    for _ in range(minutes * 30):
        fabric.round(2.0)


def boots(fabric: Fabric, name: str = WEB) -> int:
    """How often the guest has booted."""
    return fabric.world.machines[name].boots


@pytest.mark.parametrize("service", ["shop", ""])
def test_nothing_is_healed(service: str) -> None:
    """Of the service, or of all: it stays out of rotation, over a restart of the daemon, until the end of it."""
    fabric = serving(3)
    fabric.control.stand_still(service)
    fabric.world.faults.check_fails.add(WEB)
    before = boots(fabric)
    pass_minutes(fabric, 10)
    fabric.restart()
    pass_minutes(fabric, 10)
    assert (boots(fabric), fabric.instance().strikes) == (before, 0)
    assert fabric.control.seats()[WEB].standing is not Standing.UP
    fabric.control.go_on(service)
    fabric.until(lambda: boots(fabric) > before)


def test_a_vm_that_is_gone_leaves_rotation_and_stays_gone() -> None:
    """The pool follows what is so; only what we would do about it waits."""
    fabric = serving(2)
    fabric.control.stand_still("shop")
    fabric.world.kill(WEB)
    before = boots(fabric)
    pass_minutes(fabric, 15)
    assert boots(fabric) == before
    assert not fabric.instance().has_failed
    assert WEB not in fabric.control.seats() or fabric.control.seats()[WEB].standing is not Standing.UP
    fabric.control.go_on("shop")
    fabric.until(fabric.quiet)
    assert boots(fabric) > before


def test_another_service_is_healed() -> None:
    """A standstill is of the service that it names."""
    fabric = serving(3)
    fabric.deploy(web_role(instances=3), name="bank", vip="203.0.113.11")
    fabric.until(fabric.quiet)
    fabric.control.stand_still("bank")
    fabric.world.faults.check_fails.add(WEB)
    before = boots(fabric)
    fabric.until(lambda: boots(fabric) > before)


def test_what_is_asked_for_is_done() -> None:
    """A verb by name, scaling and deletion are somebody's wish."""
    fabric = serving(2)
    fabric.control.stand_still()
    before, generation = boots(fabric), fabric.instance("web-1.shop").generation
    fabric.act(Verb.RESTART, WEB)
    fabric.act(Verb.REIMAGE, "web-1.shop")
    fabric.control.scale("shop", {"web": 3})
    fabric.until(lambda: fabric.quiet() and len(fabric.instances()) == 3)
    assert boots(fabric) > before
    assert fabric.instance("web-1.shop").generation > generation
    fabric.remove()
    fabric.until(lambda: not fabric.instances())


def test_a_rollout_stands_still() -> None:
    """Nobody is begun, the rollout says why, and goes on where it was."""
    fabric = serving(3)
    fabric.control.stand_still("shop")
    fabric.deploy(web_role(instances=3, user_data=NEW))
    pass_minutes(fabric, 5)
    assert all(one.stale for one in fabric.instances())
    assert "automation of service shop is paused until: vmrole resume shop, 3 not begun" in (
        fabric.control.rollouts("shop")[-1].message
    )
    fabric.control.go_on("shop")
    fabric.until(lambda: fabric.control.rollouts("shop")[-1].progress is Progress.DONE)
    assert not any(one.stale for one in fabric.instances())


def test_who_is_under_way_ends_first() -> None:
    """One that is being made anew comes back; the next waits."""
    fabric = serving(3)
    fabric.deploy(web_role(instances=3, user_data=NEW))
    fabric.until(lambda: any(one.phase is Phase.SETUP for one in fabric.instances()))
    fabric.control.stand_still("shop")
    pass_minutes(fabric, 5)
    assert [one.stale for one in fabric.instances()].count(True) == 2
    assert all(one.phase is Phase.SERVING for one in fabric.instances())


def test_what_has_failed_is_not_tried_again() -> None:
    """Retries are automation as well, and what was about to fail has its time anew afterwards."""
    fabric = Fabric()
    fabric.world.faults.setup_never_ends.update({"web-0.shop", "web-1.shop"})
    fabric.deploy(web_role(setup=Setup(within_s=60.0), ready=Ready(within_s=60.0)))
    fabric.until(lambda: all(one.has_failed for one in fabric.instances()))
    generations = [one.generation for one in fabric.instances()]
    fabric.control.stand_still("shop")
    fabric.world.faults.setup_never_ends.clear()
    pass_minutes(fabric, 30)
    assert [one.generation for one in fabric.instances()] == generations
    assert all(one.has_failed for one in fabric.instances())
    fabric.control.go_on("shop")
    fabric.until(fabric.quiet)


def test_it_is_told() -> None:
    """By the sentences about each instance, by the ledger once, and by the list."""
    fabric = serving(3)
    (asked,) = fabric.control.stand_still("shop", by=1000)
    assert fabric.control.stand_still("shop") == [asked], "asking again changes nothing"
    assert (asked.service, asked.by) == ("shop", 1000)
    fabric.world.faults.check_fails.add(WEB)
    pass_minutes(fabric, 8)
    (sentence,) = [line for line in fabric.control.why(WEB) if line.startswith("Automation")]
    assert sentence.startswith("Automation of service shop is paused since ")
    assert sentence.endswith("until: vmrole resume shop.")
    assert "the balancer's health check fails" in fabric.instance().waiting, "what is the matter is said as well"
    paused = [line for line in told(fabric) if line.startswith("automation of service shop is paused: ")]
    assert paused == [fabric.instance().waiting]
    assert fabric.control.go_on("shop") == []
    lines = [event.message for event in fabric.control.events("shop") if event.subject == "shop"]
    lines = [line for line in lines if "automation" in line]
    assert len(lines) == 2
    assert lines[0].startswith("automation of service shop is paused by uid 1000: ")
    assert lines[1] == "automation of service shop goes on"
    assert not any(line.startswith("Automation") for line in fabric.control.why(WEB))


def test_one_of_the_host_and_one_of_a_service_are_two() -> None:
    """Whoever ends one of them does not end the other."""
    fabric = serving(1)
    fabric.control.stand_still("shop")
    fabric.control.stand_still()
    assert [one.service for one in fabric.control.go_on("shop")] == [""]
    assert fabric.control.go_on() == []
    assert fabric.control.go_on() == []


def test_both_slots_stand_still_and_it_ends_with_the_last() -> None:
    """A service is paused as a whole; when nothing is left of it, one of the same name begins unpaused."""
    fabric = serving(2)
    spec = fabric.control.service("shop").spec
    fabric.control.apply_spec(spec, slot=Slot.STAGING)
    fabric.until(fabric.quiet)
    fabric.control.stand_still("shop")
    second = "web-0.shop--b"
    before = boots(fabric, second)
    fabric.world.kill(second)
    pass_minutes(fabric, 8)
    assert boots(fabric, second) == before
    fabric.control.remove("shop@staging")
    fabric.until(lambda: len(fabric.control.services()) == 1)
    assert [one.service for one in fabric.control.standstills()] == ["shop"]
    fabric.remove()
    fabric.until(lambda: fabric.control.services() == [])
    assert fabric.control.standstills() == []


@pytest.mark.parametrize("service", ["shop@staging", "shop@production", "shop--b"])
def test_a_slot_alone_is_refused(service: str) -> None:
    """Bad input, with what to write."""
    with pytest.raises(InvalidInput, match="whole service") as refused:
        serving(1).control.stand_still(service)
    assert refused.value.hint == "write: shop"


@pytest.mark.parametrize("service", ["web-0.shop", "nobody", "web.shop", "x" * 300])
def test_what_is_no_service_is_refused(service: str) -> None:
    """For both of the verbs."""
    control = serving(1).control
    with pytest.raises(NotFound):
        control.stand_still(service)
    with pytest.raises(NotFound):
        control.go_on(service)
    assert control.standstills() == []


def test_a_record_that_cannot_be_read_is_one() -> None:
    """Better too still: whatever it said, nothing is made anew."""
    fabric = serving(3)
    fabric.store.commit([Write("standstill", "host", {"since_s": "yesterday"}, 0)])
    fabric.world.faults.check_fails.add(WEB)
    before = boots(fabric)
    pass_minutes(fabric, 10)
    assert boots(fabric) == before
    (aside,) = fabric.present.set_aside()
    assert aside.kind == "standstill"


def test_a_cause_has_its_words() -> None:
    """The kind is what scripts know it by."""
    fabric = serving(3)
    fabric.control.stand_still()
    fabric.world.faults.check_fails.add(WEB)
    pass_minutes(fabric, 8)
    cause = fabric.present.load(Instance, WEB).waits_for
    assert cause is not None
    assert (cause.kind, cause.detail.endswith(" until: vmrole resume")) == (Kind.STANDSTILL, True)
    assert fabric.present.load(Standstill, "host").end == "vmrole resume"


def test_whoever_waits_is_woken_at_its_end() -> None:
    """Else what is ill, and the rollout, would be looked at a minute later or more."""
    fabric = serving(2)
    fabric.control.stand_still("shop")
    fabric.deploy(web_role(instances=2, user_data=NEW))
    woken: list[tuple[str, str]] = []
    fabric.control._wake = lambda kind, key: woken.append((kind, key))
    fabric.control.go_on("shop")
    rollout = fabric.control.rollouts("shop")[-1].id
    assert {("instance", WEB), ("instance", "web-1.shop"), ("operation", rollout)} <= set(woken)


def test_a_boot_that_was_asked_for_is_seen_to_its_end() -> None:
    """Its VM ends before its services have started: it was asked to come, and is started again."""
    fabric = serving(2, ready=Ready(within_s=3600.0))
    fabric.control.stand_still("shop")
    fabric.world.faults.services_never_start.add(WEB)
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    before = boots(fabric)
    fabric.world.kill(WEB)
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert boots(fabric) > before


def test_a_rollout_goes_back_when_automation_goes_on() -> None:
    """To go back is a step of our own as well."""
    fabric = serving(3, ready=Ready(within_s=60.0))
    spec = replace(fabric.control.service("shop").spec, upgrade=Upgrade(on_failure=OnFailure.UNDO))
    fabric.control.apply_spec(spec)
    fabric.world.faults.bad_user_data.add(NEW)
    role = replace(spec.roles[0], user_data=NEW)
    fabric.control.apply_spec(replace(spec, roles=(role,)))
    fabric.until(lambda: any(one.phase is Phase.SETUP for one in fabric.instances()))
    fabric.until(lambda: bool(fabric.control.rollouts("shop")[-1].walk.broken) or _paused_in_time(fabric))
    revision = fabric.control.service("shop").file_revision
    pass_minutes(fabric, 5)
    assert fabric.control.service("shop").file_revision == revision
    fabric.control.go_on("shop")
    fabric.until(lambda: fabric.control.service("shop").file_revision > revision)


def _paused_in_time(fabric: Fabric) -> bool:
    """Pauses when the first has failed, before its rollout is looked at."""
    if any(one.has_failed for one in fabric.instances()) and not fabric.control.standstills():
        fabric.control.stand_still("shop")
    return False
