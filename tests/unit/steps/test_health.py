"""The health of what serves: of what no balancer asks, of guests that restart for ever, of setups that went wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.drivers.guest import guest_services
from orchestrator.errors import Foreign
from orchestrator.model import Phase, Ready, TcpProbe, Verb
from tests.unit.control.fleet import WEB, deployed
from tests.world.fabric import Fabric, web_role


def worker(**ready: object) -> Fabric:
    """A fabric with one serving instance that no balancer asks."""
    return deployed(endpoints=(), ready=Ready(**ready))  # type: ignore[arg-type]


def told(fabric: Fabric) -> str:
    """The ledger of web-0."""
    return "\n".join(event.message for event in fabric.control.events("web-0"))


def rounds(fabric: Fabric, number: int, seconds: float) -> None:
    """So many rounds of so many seconds."""
    for _ in range(number):
        fabric.round(seconds)


def test_why_says_what_rotation_there_is() -> None:
    """A role without endpoints is in none."""
    assert "It serves, is in no rotation and waits for nothing." in worker().control.why("web-0")
    assert "It is in rotation and waits for nothing." in deployed().control.why("web-0")


def test_a_silent_agent_of_a_worker_is_noticed() -> None:
    """After minutes, not hours, and not before its role's limit: it is told, then healed."""
    fabric = worker(silence_s=400.0)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.agent_silent.add(WEB)
    rounds(fabric, 30, 10.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    assert "its agent is silent" in fabric.instance().waiting
    rounds(fabric, 15, 10.0)
    assert "its agent is silent" in told(fabric)
    fabric.world.faults.agent_silent.clear()
    fabric.until(fabric.quiet)
    assert fabric.instance().generation == 1


def test_a_stopped_qemu_is_noticed_and_started_again() -> None:
    """It is told as what it is and left a while, then its VM is ended and started: no wish reaches it."""
    fabric = worker(silence_s=3600.0)
    boots = fabric.world.machines[WEB].boots
    fabric.world.stop_qemu(WEB)
    rounds(fabric, 20, 10.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    assert fabric.instance().waiting == "its QEMU is stopped"
    rounds(fabric, 15, 10.0)
    assert "serving -> restarting: failed while serving: for too long: its QEMU is stopped" in told(fabric)
    rounds(fabric, 15, 10.0)
    fabric.until(fabric.quiet)
    assert "ended its VM" in told(fabric)
    assert (fabric.instance().generation, fabric.world.machines[WEB].boots) == (1, boots + 1)


def test_a_qemu_that_goes_on_in_time_has_lost_nothing() -> None:
    """In the same boot, also when a restart was asked for meanwhile, which it then does by itself."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    fabric.world.stop_qemu(WEB)
    rounds(fabric, 20, 10.0)
    fabric.world.continue_qemu(WEB)
    rounds(fabric, 20, 10.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    fabric.world.stop_qemu(WEB)
    fabric.act(Verb.RESTART, "web-0")
    rounds(fabric, 6, 10.0)
    assert fabric.world.machines[WEB].boots == boots
    fabric.world.continue_qemu(WEB)
    fabric.until(fabric.quiet)
    assert fabric.world.machines[WEB].boots == boots + 1
    assert "ended its VM" not in told(fabric)


@pytest.mark.parametrize("verb", [Verb.RESTART, Verb.REIMAGE, Verb.STOP])
def test_a_stopped_qemu_holds_no_wish_up(verb: Verb) -> None:
    """What is asked for comes once the guest's time to shut down is over."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    fabric.world.stop_qemu(WEB)
    fabric.act(verb, "web-0")
    rounds(fabric, 30, 10.0)
    fabric.until(fabric.quiet)
    assert "ended its VM" in told(fabric)
    instance = fabric.instance()
    match verb:
        case Verb.RESTART:
            assert (instance.generation, fabric.world.machines[WEB].boots) == (1, boots + 1)
        case Verb.REIMAGE:
            assert instance.generation == 2
        case _:
            assert instance.phase is Phase.STOPPED


def test_a_frozen_guest_behind_a_balancer_is_left_alone() -> None:
    """A check that fails because the file systems are frozen is told, and healed by nothing but the thaw."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.frozen.add(WEB)
    fabric.world.faults.check_fails.add(WEB)
    rounds(fabric, 120, 10.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    assert "its file systems are frozen" in fabric.instance().waiting
    fabric.world.faults.frozen.clear()
    fabric.world.faults.check_fails.clear()
    rounds(fabric, 20, 10.0)
    assert (fabric.instance().waiting, fabric.instance().strikes) == ("", 0)


def test_a_freeze_while_it_starts_takes_no_time_of_its_deadline() -> None:
    """However long the backup lasts: a guest that starts goes on where it was when its file systems thaw."""
    fabric = Fabric()
    fabric.world.faults.services_never_start.add(WEB)
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.STARTING)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.frozen.add(WEB)
    rounds(fabric, 240, 10.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.STARTING, boots)
    assert "its file systems are frozen" in fabric.instance().waiting
    fabric.world.faults.frozen.clear()
    fabric.world.faults.services_never_start.clear()
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING)
    assert (fabric.instance().strikes, fabric.world.machines[WEB].boots) == (0, boots)


def test_a_service_that_has_crashed_is_told_with_the_guests_words() -> None:
    """Of a role that waited for it: known by its name, whatever is said of it."""
    fabric = worker(units=("app.service",))
    fabric.world.faults.services_crash.add(WEB)
    rounds(fabric, 5, 10.0)
    assert fabric.instance().waiting == "no longer active: app.service: it ended with error 7"
    fabric.world.faults.services_crash.clear()
    rounds(fabric, 10, 10.0)
    assert (fabric.instance().phase, fabric.instance().waiting) == (Phase.SERVING, "")


def test_a_frozen_worker_is_left_alone() -> None:
    """A backup that freezes its file systems makes an agent silent that is well."""
    fabric = worker(silence_s=60.0)
    fabric.world.faults.frozen.add(WEB)
    rounds(fabric, 60, 10.0)
    assert (fabric.instance().phase, fabric.instance().strikes) == (Phase.SERVING, 0)


@pytest.mark.parametrize(
    "ready",
    [{"units": ("app.service",)}, {"units": ("App.Service",)}, {"probe": TcpProbe(port=8080)}],
    ids=["its unit", "its service, in another case", "its probe"],
)
def test_what_a_worker_waited_for_is_asked_again(ready: dict[str, object]) -> None:
    """A unit or a probe of the role's own that fails later is told, and healed when it stays so."""
    fabric = worker(**ready)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.services_never_start.add(WEB)
    rounds(fabric, 5, 10.0)
    assert fabric.instance().waiting
    assert fabric.instance().phase is Phase.SERVING
    for _ in range(60):
        fabric.round(10.0)
        if fabric.world.machines[WEB].boots > boots:
            break
    assert "serving -> restarting: failed while serving: for too long" in told(fabric)
    fabric.world.faults.services_never_start.clear()
    fabric.until(fabric.quiet)
    assert (fabric.instance().generation, fabric.instance().boot) == (1, boots + 1)


def test_what_nobody_asked_for_may_fail_in_a_guest() -> None:
    """A unit that the role does not name is the guest's own affair once it serves."""
    fabric = worker()
    fabric.world.faults.services_never_start.add(WEB)
    rounds(fabric, 60, 10.0)
    assert (fabric.instance().phase, fabric.instance().waiting) == (Phase.SERVING, "")


def test_a_guest_that_restarts_for_ever_is_waited_out() -> None:
    """More than five restarts in ten minutes: said, out of rotation, ever longer pauses; it comes back at the end."""
    fabric = deployed()
    fabric.world.faults.restarts_after_s[WEB] = 12.0
    rounds(fabric, 400, 1.0)
    assert "the guest restarts for ever" in fabric.instance().waiting
    assert WEB not in fabric.world.seats_taken
    assert fabric.instance().boot <= 2 + 6 + 6
    rounds(fabric, 2000, 1.0)
    assert (fabric.instance().generation, fabric.instance().strikes) == (1, 0)
    lines = [line for line in told(fabric).splitlines() if "restarts for ever" in line]
    assert "(10 s)" in lines[0]
    assert "(20 s)" in lines[1]
    assert "(300 s)" in lines[-1]
    assert len(lines) < 16

    fabric.world.faults.restarts_after_s.clear()
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING)
    rounds(fabric, 20, 60.0)
    assert (fabric.instance().restarts, fabric.instance().calms) == ((), 0)


def test_a_guest_that_lies_about_its_boot_makes_no_storm() -> None:
    """Another boot id at each look is believed no faster than a guest can boot, and then waited out."""
    fabric = deployed()
    fabric.world.faults.other_boot_each_look.add(WEB)
    before = fabric.store.revision()
    rounds(fabric, 1800, 0.05)
    assert fabric.store.revision() - before < 60
    assert fabric.instance().boot < 2 + 12


def test_an_error_of_a_finished_setup_fails_at_once() -> None:
    """No restart and no reimage mends it; what ignores it does, without either."""
    fabric = Fabric()
    fabric.world.faults.setup_error[WEB] = "cloud-init: locale"
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: fabric.instance().phase is Phase.FAILED)
    boots = fabric.world.machines[WEB].boots
    assert "setup has finished with an error: cloud-init: locale" in fabric.instance().failure
    assert "It is the answers' turn." in fabric.control.why("web-0")
    assert not any(word in told(fabric) for word in ("restarting", "stopping"))
    rounds(fabric, 300, 10.0)
    assert (fabric.instance().generation, fabric.world.machines[WEB].boots) == (1, boots)

    fabric.deploy(web_role(instances=1, ready=Ready(ignore=("cloud-init",))))
    fabric.until(lambda: fabric.instance().phase is Phase.SERVING)
    assert (fabric.instance().generation, fabric.world.machines[WEB].boots) == (1, boots)


def test_the_guest_s_word_for_a_finished_setup_names_the_remedy() -> None:
    """cloud-init's errors are final only when everything else has come to its end."""
    said = 'init=systemd\nstate=running\ncloud-init-result={"v1": {"errors": ["(\'locale\', x)"]}}\n'
    found = guest_services.judge(said, Ready(), "boot")
    assert found is not None
    assert "locale" in found.verdict
    assert "ready: {ignore: [cloud-init]}" in found.verdict
    for earlier in ("state=starting", "state=running\njob=a.service start"):
        still = guest_services.judge(said.replace("state=running", earlier), Ready(), "boot")
        assert still is not None
        assert still.verdict == ""
    ignored = guest_services.judge(said, Ready(ignore=("cloud-init",)), "boot")
    assert ignored is not None
    assert (ignored.started, ignored.verdict) == (True, "")


def test_why_does_not_threaten_with_what_cannot_come() -> None:
    """While a service's network cannot be laid no deadline runs: its instances wait, however long."""
    fabric = Fabric()
    network = fabric.host.machine.network

    class Refusing:
        def __getattr__(self, name: str) -> object:
            return getattr(network, name)

        def lay(self, *_: object) -> None:
            raise Foreign("port 53 is taken")

    refusing = replace(fabric.host.machine, network=Refusing())  # type: ignore[arg-type]
    fabric.host = replace(fabric.host, machine=refusing)
    fabric._start()
    fabric.deploy(web_role(instances=1))
    fabric.until(lambda: "port 53 is taken" in fabric.instance().waiting)
    rounds(fabric, 100, 10.0)
    why = " ".join(fabric.control.why("web-0"))
    assert "port 53 is taken" in why
    assert "overdue" not in why
    assert "it is reimaged" not in why


def test_a_restart_that_was_asked_for_is_none_of_its_own() -> None:
    """However often somebody restarts it, it does not restart for ever."""
    fabric = deployed()
    for _ in range(8):
        fabric.act(Verb.RESTART, "web-0")
        fabric.until(fabric.quiet)
    assert (fabric.instance().restarts, fabric.instance().calms) == ((), 0)


BROKEN = "its agent is broken: the agent sent garbage"
MENDED = "its agent makes sense again"


@pytest.mark.parametrize(
    "asked",
    [{}, {"endpoints": (), "ready": Ready(probe=TcpProbe(port=8080), silence_s=60.0)}],
    ids=["the balancer's check", "its own probe"],
)
def test_a_broken_agent_is_told_and_not_healed(asked: dict[str, object]) -> None:
    """Where a probe passes: in `why` and on the record while it lasts, a line in the ledger when it begins and one
    when it ends, however long; the guest stays in its boot, and in rotation.
    """
    fabric = deployed(**asked)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.agent_broken.add(WEB)
    rounds(fabric, 200, 30.0)
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    assert (fabric.instance().agent_fault, fabric.instance().waiting) == ("the agent sent garbage", "")
    assert any(line.startswith("Its agent is broken since") for line in fabric.control.why("web-0"))
    assert (told(fabric).count(BROKEN), told(fabric).count(MENDED)) == (1, 0)
    fabric.world.faults.agent_broken.clear()
    rounds(fabric, 4, 30.0)
    assert fabric.instance().agent_fault == ""
    assert not any(line.startswith("Its agent is broken since") for line in fabric.control.why("web-0"))
    assert (told(fabric).count(BROKEN), told(fabric).count(MENDED)) == (1, 1)
    assert fabric.instance().strikes == 0


def test_a_broken_agent_that_falls_silent_is_broken_still() -> None:
    """Nonsense ends with sense: neither silence nor a freeze is a line in the ledger."""
    fabric = deployed()
    fabric.world.faults.agent_broken.add(WEB)
    rounds(fabric, 3, 60.0)
    fabric.world.faults.agent_broken.clear()
    for silence in (fabric.world.faults.agent_silent, fabric.world.faults.frozen):
        silence.add(WEB)
        rounds(fabric, 3, 60.0)
        silence.clear()
        fabric.world.faults.frozen.add(WEB)
    assert fabric.instance().agent_fault
    assert (told(fabric).count(BROKEN), told(fabric).count(MENDED)) == (1, 0)


def test_an_agent_that_flickers_fills_no_ledger() -> None:
    """One that is broken at every other look is told a few times in an hour, and once more when it stays so."""
    fabric = deployed()
    for number in range(60):
        (fabric.world.faults.agent_broken.add if number % 2 else fabric.world.faults.agent_broken.discard)(WEB)
        fabric.round(60.0)
    assert 2 <= told(fabric).count(BROKEN) <= 7
    assert told(fabric).count(MENDED) <= 7
    fabric.world.faults.agent_broken.add(WEB)
    rounds(fabric, 15, 60.0)
    assert told(fabric).rindex(BROKEN) > told(fabric).rindex(MENDED)


def test_a_broken_agent_of_what_nobody_else_asks_is_healed() -> None:
    """Without a probe its agent was all there was; the ledger has what was wrong before it has the remedy."""
    fabric = worker(silence_s=120.0)
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.agent_broken.add(WEB)
    for _ in range(60):
        fabric.round(10.0)
        if fabric.world.machines[WEB].boots > boots:
            break
    lines = told(fabric).splitlines()
    assert lines.count(BROKEN) == 1
    assert any(line.startswith("serving -> restarting") and "agent is broken" in line for line in lines)
    fabric.world.faults.agent_broken.clear()
    fabric.until(fabric.quiet)
    rounds(fabric, 3, 60.0)
    assert (fabric.instance().generation, fabric.instance().agent_fault) == (1, "")
    assert told(fabric).count(MENDED) == 1


def test_a_new_generation_has_no_fault_of_the_one_before() -> None:
    """A reimage is what mends most agents."""
    fabric = deployed()
    fabric.world.faults.agent_broken.add(WEB)
    rounds(fabric, 3, 60.0)
    assert fabric.instance().agent_fault
    fabric.act(Verb.REIMAGE, "web-0")
    fabric.world.faults.agent_broken.clear()
    fabric.until(lambda: fabric.instance().generation == 2)
    assert (fabric.instance().agent_fault, fabric.instance().agent_fault_since_s) == ("", 0.0)
    fabric.until(fabric.quiet)
    assert MENDED not in told(fabric)


@pytest.mark.parametrize("ends", [Phase.STOPPED, Phase.FAILED])
def test_what_nobody_asks_has_no_broken_agent(ends: Phase) -> None:
    """A VM that was stopped or is left to its owner: what its agent said last is said of it no longer."""
    fabric = deployed()
    fabric.world.faults.agent_broken.add(WEB)
    rounds(fabric, 3, 60.0)
    assert fabric.instance().agent_fault
    if ends is Phase.STOPPED:
        fabric.act(Verb.STOP, "web-0")
    else:
        fabric.world.faults.check_fails.add(WEB)
    for _ in range(600):
        if fabric.instance().phase is ends:
            break
        fabric.round(60.0)
    assert fabric.instance().phase is ends
    assert (fabric.instance().agent_fault, fabric.instance().agent_fault_since_s) == ("", 0.0)
    assert not any("agent is broken" in line for line in fabric.control.why("web-0") if not line.startswith("  "))


def test_what_is_watched_is_looked_at_again() -> None:
    """A service that fails later is told within a minute, and healed when it stays so, though its endpoints are well;
    of a role that does not ask for that nothing is said.
    """
    for watch in (True, False):
        fabric = deployed(ready=Ready(watch=watch, units=("app.service",)))
        boots = fabric.world.machines[WEB].boots
        fabric.world.faults.services_crash.add(WEB)
        rounds(fabric, 13, 5.0)
        assert (fabric.instance().waiting == "no longer active: app.service: it ended with error 7") is watch
        rounds(fabric, 70, 5.0)
        assert (fabric.world.machines[WEB].boots > boots) is watch
        assert (
            "serving -> draining: " in told(fabric) or "restarting: failed while serving" in told(fabric)
        ) is watch


def test_an_answer_that_is_yet_to_come_is_fetched_soon_and_changes_nothing() -> None:
    """Neither well nor ill by it: what was known stands, and nobody waits a minute to ask on."""
    fabric = deployed(ready=Ready(watch=True))
    fabric.world.faults.services_unheard.add(WEB)
    rounds(fabric, 13, 5.0)
    assert (fabric.instance().phase, fabric.instance().waiting) == (Phase.SERVING, "")
    assert fabric.daemon.attend(("instance", WEB)) <= 1.0
    fabric.world.faults.services_crash.add(WEB)
    fabric.world.faults.services_unheard.clear()
    rounds(fabric, 2, 0.5)
    assert "no longer active" in fabric.instance().waiting
    since_s = fabric.instance().unwell_since_s
    fabric.world.faults.services_unheard.add(WEB)
    rounds(fabric, 3, 5.0)
    assert "no longer active" in fabric.instance().waiting
    assert fabric.instance().unwell_since_s == since_s


def test_a_silent_agent_beside_a_passing_check_is_told_and_not_healed() -> None:
    """Once when it begins and once when it ends; whatever it may be, the service is well."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.agent_silent.add(WEB)
    rounds(fabric, 6, 10.0)
    assert fabric.instance().agent_fault == ""
    rounds(fabric, 360, 10.0)
    assert fabric.instance().agent_fault.startswith("it says nothing: ")
    assert "Its agent is broken since" in "\n".join(fabric.control.why("web-0"))
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)
    fabric.world.faults.agent_silent.clear()
    rounds(fabric, 8, 10.0)
    assert fabric.instance().agent_fault == ""
    lines = [line for line in told(fabric).splitlines() if line.startswith("its agent")]
    assert len(lines) == 2
    assert "it says nothing" in lines[0]
    assert lines[1] == "its agent makes sense again"


@pytest.mark.parametrize(("off_s", "words"), [(3600.4, "3600 s ahead of"), (-45.0, "45 s behind")])
def test_a_clock_that_is_far_off_is_told_and_not_healed(off_s: float, words: str) -> None:
    """Once, by the ledger, why and every list; and when it is right again."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    fabric.world.faults.clock_off_s[WEB] = off_s
    rounds(fabric, 60, 10.0)
    assert f"Its clock is {words} the host's: nothing is healed for that." in fabric.control.why("web-0")
    assert fabric.instance().clock_off_s == round(off_s)
    fabric.world.faults.clock_off_s[WEB] = off_s + 20.0  # It goes on wrong, and nobody is told again.
    rounds(fabric, 60, 10.0)
    fabric.world.faults.clock_off_s[WEB] = 29.0
    rounds(fabric, 60, 10.0)
    lines = [line for line in told(fabric).splitlines() if "clock" in line]
    assert lines == [f"its clock is {words} the host's", "its clock is right again"]
    assert (fabric.instance().phase, fabric.world.machines[WEB].boots) == (Phase.SERVING, boots)


def test_a_disk_that_its_vm_lost_is_told_and_not_healed() -> None:
    """By the ledger and by why, with what to do; and when it is there again."""
    fabric = deployed()
    boots = fabric.world.machines[WEB].boots
    storage = fabric.world.machines[WEB].storage
    fabric.world.machines[WEB].storage = set()
    rounds(fabric, 20, 10.0)
    remedy = "vmrole stop web-0.shop, then vmrole start web-0.shop"
    assert f"Its VM does not have ls-cache, its role's: {remedy}." in fabric.control.why("web-0")
    fabric.world.machines[WEB].storage = storage
    rounds(fabric, 20, 10.0)
    lines = [line for line in told(fabric).splitlines() if line.startswith("its VM")]
    assert lines == ["its VM does not have ls-cache any more", "its VM has all of its disks again"]
    assert (fabric.instance().phase, fabric.instance().lacks) == (Phase.SERVING, ())
    assert fabric.world.machines[WEB].boots == boots


ILL = "it is unwell: the balancer's health check fails: no traffic until it passes"
WELL = "it is well again"


def test_an_illness_is_told_when_it_begins_and_when_it_ends() -> None:
    """With its time, long before anything is healed for it; once each."""
    fabric = deployed()
    fabric.world.faults.check_fails.add(WEB)
    rounds(fabric, 6, 10.0)
    assert (told(fabric).count(ILL), told(fabric).count(WELL)) == (1, 0)
    fabric.world.faults.check_fails.clear()
    rounds(fabric, 6, 10.0)
    assert (told(fabric).count(ILL), told(fabric).count(WELL)) == (1, 1)
    assert (fabric.instance().phase, fabric.instance().strikes) == (Phase.SERVING, 0)


def test_a_check_that_flaps_fills_no_ledger() -> None:
    """Told a few times in an hour, however often it begins; one that lasts is told again before it is healed."""
    fabric = deployed()
    for _ in range(180):
        fabric.world.faults.check_fails.add(WEB)
        rounds(fabric, 2, 5.0)
        fabric.world.faults.check_fails.clear()
        rounds(fabric, 2, 5.0)
    assert fabric.instance().strikes == 0
    assert 5 <= told(fabric).count(ILL) <= 7
    assert told(fabric).count(WELL) <= 7


def test_what_fails_once_is_no_illness_yet() -> None:
    """An agent that misses one question is told of no more than a check that fails once."""
    fabric = worker()
    fabric.world.faults.agent_silent.add(WEB)
    while not fabric.instance().unwell_since_s:
        fabric.round(1.0)
    fabric.world.faults.agent_silent.clear()
    rounds(fabric, 10, 10.0)
    assert "it is" not in told(fabric)
    fabric.world.faults.agent_silent.add(WEB)
    rounds(fabric, 10, 10.0)
    assert told(fabric).count("it is unwell: its agent is silent") == 1
    fabric.world.faults.agent_silent.clear()
    rounds(fabric, 10, 10.0)
    assert told(fabric).count(WELL) == 1
