"""A backup has frozen a guest that shall go down: it is asked after the thaw, and has all its time from there."""

from __future__ import annotations

import pytest

from orchestrator.model import InstanceName, LocalStorage, Phase, Stop, Verb
from orchestrator.rules.patience import THAW_WITHIN_S
from tests.world.fabric import Fabric, web_role

WEB = InstanceName("web-0.shop")
WITHIN_S = 30.0
LONG_S = 5 * WITHIN_S
GOES_DOWN = (Phase.RESTARTING, Phase.STOPPING, Phase.HALTING)
VERBS = pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.STOP], ids=str)


def writing(within_s: float = WITHIN_S) -> Fabric:
    """An instance that serves, in the middle of a write that only a shutdown in peace ends."""
    fabric = Fabric()
    storage = (LocalStorage(name="cache", size_mib=16),)
    fabric.deploy(web_role(instances=1, stop=Stop(within_s=within_s), local_storage=storage))
    fabric.until(fabric.quiet)
    fabric.world.storage[WEB]["cache"] = "writing"
    return fabric


def ledger(fabric: Fabric) -> str:
    """What has been written down of it."""
    return "\n".join(event.message for event in fabric.control.events("web-0"))


def pass_time(fabric: Fabric, seconds: float) -> None:
    """Rounds of the loop for so long."""
    until_s = fabric.world.now_s() + seconds
    while fabric.world.now_s() < until_s:
        fabric.round()


def going_down(fabric: Fabric, verb: Verb, *, asked: bool) -> None:
    """On its way down, asked or not yet."""
    fabric.act(verb, "web-0")
    fabric.until(lambda: fabric.instance().phase in GOES_DOWN and (fabric.instance().asks > 0) == asked)


@VERBS
def test_a_frozen_guest_is_asked_after_the_thaw(verb: Verb) -> None:
    """However much longer than its patience the freeze is, and told meanwhile with what ends it."""
    fabric = writing()
    before = fabric.instance()
    fabric.world.faults.frozen.add(WEB)
    going_down(fabric, verb, asked=False)
    pass_time(fabric, LONG_S)
    assert fabric.instance().phase in GOES_DOWN
    assert any("frozen" in line and "virsh domfsthaw web-0.shop" in line for line in fabric.control.why("web-0"))
    fabric.world.faults.frozen.clear()
    fabric.until(lambda: fabric.quiet() or fabric.instance().phase is Phase.STOPPED)
    assert fabric.world.storage[WEB] == {"cache": "written"}
    assert (fabric.instance().warning, fabric.instance().failure, fabric.instance().strikes) == ("", "", 0)
    assert fabric.instance().generation == before.generation + (verb is Verb.REIMAGE)
    assert fabric.instance().boot == {Verb.RESTART: before.boot + 1}.get(verb, before.boot)


@VERBS
def test_a_freeze_on_the_way_down_costs_no_patience(verb: Verb) -> None:
    """It begins after the guest was asked and outlasts the time that the guest has."""
    fabric = writing()
    fabric.world.faults.shutdown_takes_s[WEB] = WITHIN_S / 2
    going_down(fabric, verb, asked=True)
    fabric.world.faults.frozen.add(WEB)
    pass_time(fabric, 2 * WITHIN_S)
    fabric.world.faults.frozen.clear()
    fabric.until(lambda: fabric.quiet() or fabric.instance().phase is Phase.STOPPED)
    assert fabric.world.storage[WEB] == {"cache": "written"}
    assert (fabric.instance().warning, fabric.instance().failure) == ("", "")


@VERBS
@pytest.mark.parametrize("again", [False, True], ids=["a freeze", "one after another"])
def test_a_freeze_that_never_ends_is_ended(verb: Verb, again: bool) -> None:
    """Not before any backup must be through, whatever the guest makes of its freezes; and the cost is told."""
    fabric = writing()
    fabric.world.faults.frozen.add(WEB)
    since_s = fabric.world.now_s()
    fabric.act(verb, "web-0")
    while not fabric.instance().warning:
        fabric.round()
        if again:
            fabric.world.faults.frozen.symmetric_difference_update({WEB})
            fabric.world.faults.deaf_to_requests.add(WEB)
        assert fabric.world.now_s() < since_s + THAW_WITHIN_S + 2 * WITHIN_S + 60.0
    assert again or fabric.world.now_s() >= since_s + THAW_WITHIN_S + WITHIN_S
    assert "a backup had frozen its file systems" in fabric.instance().warning
    assert fabric.instance().warning in ledger(fabric)
    fabric.world.faults.frozen.clear()
    fabric.world.faults.deaf_to_requests.clear()
    fabric.until(lambda: fabric.quiet() or fabric.instance().phase is Phase.STOPPED)
    assert fabric.instance().phase is not Phase.FAILED


@VERBS
def test_a_guest_that_is_deaf_after_the_thaw_has_its_patience_and_no_more(verb: Verb) -> None:
    """The time of the freeze is not added to it."""
    fabric = writing()
    fabric.world.faults.frozen.add(WEB)
    going_down(fabric, verb, asked=False)
    pass_time(fabric, LONG_S)
    fabric.world.faults.frozen.clear()
    fabric.world.faults.deaf_to_requests.add(WEB)
    thawed_s = fabric.world.now_s()
    fabric.until(lambda: bool(fabric.instance().warning))
    assert WITHIN_S <= fabric.world.now_s() - thawed_s <= 2 * WITHIN_S


def test_a_removal_waits_for_a_backup_and_not_for_ever() -> None:
    """A service whose guest never thaws is gone in the end, with all that it had."""
    fabric = writing()
    fabric.world.faults.frozen.add(WEB)
    since_s = fabric.world.now_s()
    fabric.remove()
    fabric.until(lambda: not fabric.instances() and not fabric.world.networks)
    assert fabric.world.now_s() >= since_s + THAW_WITHIN_S
    fabric.world.nothing_is_left()


def test_a_frozen_guest_whose_port_is_gone_is_asked_after_the_thaw() -> None:
    """It is started again for its port, in peace."""
    fabric = writing()
    fabric.world.faults.frozen.add(WEB)
    fabric.world.delete_port(WEB)
    pass_time(fabric, LONG_S)
    assert any("somebody deleted its port" in line and "frozen" in line for line in fabric.control.why("web-0"))
    fabric.world.faults.frozen.clear()
    fabric.until(lambda: fabric.quiet() and not fabric.world.is_cut_off(WEB))
    assert fabric.world.storage[WEB] == {"cache": "written"}
    assert (fabric.instance().generation, fabric.instance().warning) == (1, "")
