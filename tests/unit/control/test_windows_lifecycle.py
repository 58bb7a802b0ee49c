"""What the lifecycle never does to a Windows whose Setup runs: nothing restarts it but Windows itself."""

from __future__ import annotations

import pytest

from orchestrator.errors import Conflict
from orchestrator.model import InstanceName, Os, Phase, Power, Setup, Verb
from tests.world.fabric import Fabric, Trouble, web_role

WEB = InstanceName("web-0.shop")
DISTURBING = {"start", "ask_restart", "ask_shutdown", "reset", "power_off", "eject", "undefine"}
RESTARTING = {"ask_restart", "reset"}


def in_setup(trouble: Trouble, within_s: float = 60.0) -> Fabric:
    """A fabric whose one Windows is in a setup that does not end by itself."""
    fabric = Fabric(trouble)
    fabric.world.faults.setup_never_ends.add(WEB)
    fabric.deploy(web_role(instances=1, os=Os.WINDOWS, setup=Setup(within_s=within_s)))
    fabric.until(lambda: fabric.instance().phase is Phase.SETUP)
    return fabric


def test_a_setup_is_watched_and_nothing_else() -> None:
    """Until its deadline no call touches the VM, whatever is wished meanwhile and however often Windows restarts."""
    trouble = Trouble()
    fabric = in_setup(trouble)
    began = len(trouble.verbs)
    fabric.act(Verb.RESTART, "web-0")
    for _ in range(3):
        fabric.round()
        fabric.world.machines[WEB].resets += 1
        fabric.world.machines[WEB].start_boot(fabric.world.time_s)
    fabric.until(lambda: fabric.instance().phase is not Phase.SETUP)

    assert not DISTURBING & set(trouble.verbs[began:])
    assert "overdue while setup" in fabric.instance().failure


def test_the_ladder_discards_a_windows_that_is_overdue() -> None:
    """After the deadline the VM is ended and made anew; half a setup is never restarted or reset, at no rung."""
    trouble = Trouble()
    fabric = in_setup(trouble)

    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)

    assert fabric.instance().generation == 2
    assert not RESTARTING & set(trouble.verbs)
    assert {"undefine", "erase_overlay", "keep_evidence"} <= set(trouble.verbs)


@pytest.mark.parametrize("end", [Power.OFF, Power.CRASHED])
def test_a_windows_that_died_in_setup_is_made_anew(end: Power) -> None:
    """A VM that ended while Setup ran is not started again: its generation goes, and the next one begins at once."""
    trouble = Trouble()
    fabric = in_setup(trouble, within_s=3600.0)
    fabric.world.machines[WEB].power = end
    began = len(trouble.verbs)
    fabric.until(lambda: fabric.instance().generation == 2)

    assert "start" not in trouble.verbs[began:]
    assert not RESTARTING & set(trouble.verbs)
    assert (WEB, 1) in fabric.world.evidence
    fabric.world.faults.setup_never_ends.clear()
    fabric.until(fabric.quiet)
    assert any("the VM ended while Windows Setup ran" in line.message for line in fabric.control.events("web-0"))


def test_a_restart_of_a_half_set_up_windows_is_refused() -> None:
    """Whether it is asked for after the failure, or waits for one that fails meanwhile: a reimage is what helps."""
    trouble = Trouble()
    fabric = in_setup(trouble)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    with pytest.raises(Conflict, match=r"web-0\.shop failed before setup was complete") as refused:
        fabric.control.act(Verb.RESTART, "shop")
    assert "vmrole reimage web-0.shop" in refused.value.hint
    for _ in range(20):
        fabric.round()

    assert not RESTARTING & set(trouble.verbs)
    assert fabric.instance().phase is Phase.FAILED
    fabric.world.faults.setup_never_ends.clear()
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.until(fabric.quiet)
    assert fabric.instance().phase is Phase.SERVING


def test_a_windows_that_is_set_up_may_be_restarted() -> None:
    """The rule ends with Setup: a restart that somebody wishes for is asked for."""
    trouble = Trouble()
    fabric = Fabric(trouble)
    fabric.deploy(web_role(instances=1, os=Os.WINDOWS))
    fabric.until(fabric.quiet)
    assert not RESTARTING & set(trouble.verbs)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(fabric.quiet)
    assert "ask_restart" in trouble.verbs


def test_a_windows_that_installs_updates_is_given_time() -> None:
    """Asked to restart, it may take ten minutes before it is reset: a reset in the middle of an update ruins it."""
    trouble = Trouble()
    fabric = Fabric(trouble)
    fabric.deploy(web_role(instances=1, os=Os.WINDOWS))
    fabric.until(fabric.quiet)
    fabric.world.faults.deaf_to_requests.add(WEB)
    fabric.act(Verb.RESTART, "web-0")
    fabric.until(lambda: "ask_restart" in trouble.verbs)
    fabric.world.pass_time(590.0)
    for _ in range(5):
        fabric.round()
    assert "reset" not in trouble.verbs
    assert fabric.instance().phase is Phase.RESTARTING
    fabric.world.pass_time(20.0)
    fabric.until(lambda: "reset" in trouble.verbs)
    fabric.until(fabric.quiet)
