"""What holds healing back, in the fake world: counted beside rollouts and verbs, recorded, and told once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from orchestrator.control import records
from orchestrator.control.healing import Budget
from orchestrator.control.loop import Reconciler
from orchestrator.control.turns import BRAKE
from orchestrator.model import Healing, Ladder, Phase, Ready, ServiceHealing, ServiceSpec, Verb
from orchestrator.rules import healing
from tests.unit.control.fleet import WEB, serving, told
from tests.world.fabric import Fabric, web_role

IN_TURN = "one instance of a role at a time"
SICK = "web-3.shop"


def out(fabric: Fabric) -> set[str]:
    """Who does not serve."""
    return {one.name for one in fabric.instances() if one.phase is not Phase.SERVING}


def test_an_ill_instance_waits_for_a_rollout() -> None:
    """What a rollout has taken out is out by our own doing as well; both are done in the end."""
    fabric = serving(5)
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=5, user_data="#cloud-config\nb: 1\n"))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    sick = "web-3.shop"
    boot = fabric.instance(sick).boot
    fabric.world.faults.check_fails.add(sick)
    for _ in range(250):
        fabric.round(2.0)
        if fabric.instance().phase is not Phase.SETUP:
            break
        assert fabric.instance(sick).boot == boot, "two are out by our own doing"
    assert any(IN_TURN in event.message for event in fabric.control.events(sick))


def restarting_for_long(sick: str) -> Fabric:
    """Somebody has asked for the restart of one, which takes long; and another one's check fails."""
    fabric = serving(5, ready=Ready(within_s=3600.0))
    fabric.world.faults.services_never_start.add(WEB)
    fabric.act(Verb.RESTART, WEB)
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    fabric.world.faults.check_fails.add(sick)
    return fabric


def test_a_restart_by_a_verb_counts() -> None:
    """Nothing is healed while somebody's restart has one out."""
    fabric = restarting_for_long(SICK)
    boot = fabric.instance(SICK).boot
    for _ in range(400):
        fabric.round(1.0)
    assert fabric.instance(SICK).boot == boot
    fabric.world.faults.services_never_start.clear()
    fabric.until(lambda: fabric.instance(SICK).boot == boot + 1)


def test_a_role_that_can_bear_two_has_two_healed_at_once() -> None:
    """`healing.maxUnavailable`."""
    fabric = serving(7, healing=Healing(max_unavailable_percent=30))
    sick = [one.name for one in fabric.instances()[:3]]
    fabric.world.faults.services_never_start.update(sick)
    fabric.world.faults.check_fails.update(sick)
    most = 0
    for _ in range(400):
        fabric.round(1.0)
        most = max(most, len(out(fabric)))
    assert most == 2


def test_what_holds_it_back_is_told_once() -> None:
    """By `why`, and by a line in the ledger that is not there again with each look."""
    fabric = restarting_for_long(SICK)
    for _ in range(500):
        fabric.round(1.0)
    assert any(IN_TURN in line for line in fabric.control.why("web-3"))
    assert sum(IN_TURN in event.message for event in fabric.control.events(SICK)) == 1


def flapping(instances: int = 3, **changes: Any) -> Fabric:
    """Its services never start again, and its role is only ever restarted."""
    fabric = serving(instances, ready=Ready(within_s=30.0), healing=Healing(ladder=Ladder.RESTART), **changes)
    fabric.world.faults.services_never_start.add(WEB)
    fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    return fabric


def test_one_that_keeps_failing_is_restarted_ever_less_often() -> None:
    """With pauses that double, also over restarts of the daemon; never made anew, and never given up."""
    fabric = flapping()
    began: list[float] = []
    for rounds in range(1400):
        before = fabric.instance().healed_at_s
        fabric.round(2.0)
        if rounds % 40 == 0:
            fabric.restart()
        if fabric.instance().healed_at_s != before:
            began.append(fabric.instance().healed_at_s)
    gaps = [after - before for before, after in itertools.pairwise(began)]
    least = [healing.back_off_s(number + 1) for number in range(len(gaps))]
    assert len(gaps) >= 6
    assert all(gap >= pause for gap, pause in zip(gaps, least, strict=True)), (gaps, least)
    assert gaps[-1] > 10 * gaps[0]
    assert fabric.instance().generation == 1
    assert sum("it keeps failing" in line for line in told(fabric)) <= len(gaps) + 1
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    for _ in range(400):
        fabric.round(2.0)
    assert (fabric.instance().strikes, fabric.instance().healed_at_s) == (0, 0.0), "forgotten after ten minutes"


def test_what_keeps_failing_is_in_nobody_s_way() -> None:
    """While it waits for its next restart, another one of its role is healed."""
    fabric = flapping(5)
    fabric.until(lambda: fabric.instance().strikes >= 6)
    boot = fabric.instance(SICK).boot
    fabric.world.faults.check_fails.add(SICK)
    fabric.until(lambda: fabric.instance(SICK).boot > boot)
    assert fabric.instance().phase is not Phase.SERVING


def test_healing_that_is_off_does_nothing() -> None:
    """Out of rotation for as long as its check fails, told so, and back by itself."""
    fabric = serving(3, healing=Healing(ladder=Ladder.OFF))
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.check_fails.add(WEB)
    for _ in range(400):
        fabric.round(2.0)
    assert (fabric.world.machines[WEB].boots, fabric.instance().strikes) == (boots, 0)
    assert any("healing: off" in line for line in fabric.control.why("web-0"))
    fabric.world.faults.check_fails.clear()
    fabric.until(fabric.quiet)
    assert fabric.world.machines[WEB].boots == boots


@pytest.mark.parametrize("whose", ["service", "host", "file"])
def test_an_hour_has_so_many_reimages(whose: str) -> None:
    """One of a role is made anew, the next waits until the hour is over, though the daemon was started again."""
    fabric = serving(6, ready=Ready(within_s=30.0))
    if whose == "file":
        role = fabric.control.service("shop").spec.roles[0]
        spec = ServiceSpec(
            name="shop", vip="203.0.113.10", roles=(role,), healing=ServiceHealing(reimages_per_hour=1)
        )
        fabric.control.apply_spec(spec)
        budget = Budget()
    else:
        budget = Budget(of_service=1) if whose == "service" else Budget(of_host=1)
    fabric.daemon = Reconciler(fabric.store, fabric.host, workers=1, budget=budget)
    names = [one.name for one in fabric.instances()[:2]]
    began_s = fabric.world.time_s
    fabric.world.faults.services_never_start.update(names)
    for name in names:
        fabric.world.machines[name].start_boot(began_s)
    again = None
    for rounds in range(2600):
        fabric.round(2.0)
        if rounds == 300:
            fabric.daemon = Reconciler(fabric.store, fabric.host, workers=1, budget=budget)
        generations = sum(fabric.instance(name).generation - 1 for name in names)
        assert generations <= 1 + (fabric.world.time_s - began_s) // 3600
        if generations == 2:
            again = fabric.world.time_s
            break
    assert again is not None
    assert any("reimages by healing within an hour" in event.message for event in fabric.control.events("shop"))


def test_records_of_healing_survive() -> None:
    """What a pause and a budget are counted by is in the store."""
    fabric = flapping()
    fabric.until(lambda: fabric.instance().strikes == 1)
    state = next(one for one in fabric.store.all(records.STATE) if one.key == WEB)
    assert state.body["healed_at_s"] == fabric.instance().healed_at_s > 0


class _Keeps(set[Any]):
    """What is kept of failures, noting each time whether the brake was held meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.braked: list[bool] = []

    def add(self, one: Any) -> None:
        """See set."""
        self.braked.append(BRAKE.locked())
        super().add(one)


def test_a_guest_that_is_slow_to_tell_what_happened_holds_up_nobody_else() -> None:
    """Evidence is kept before a rung is taken, and before the brake is."""
    fabric = serving(5)
    fabric.world.evidence = keeps = _Keeps()
    fabric.world.faults.check_fails.add(SICK)
    boot = fabric.instance(SICK).boot
    for _ in range(400):
        fabric.round(1.0)
        if fabric.instance(SICK).boot > boot or fabric.instance(SICK).phase is not Phase.SERVING:
            break
    assert (SICK, 1) in keeps
    assert keeps.braked
    assert not any(keeps.braked)
