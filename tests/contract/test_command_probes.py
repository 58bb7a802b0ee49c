"""Checks by commands in guests: in HAProxy's pools, and what an agent that hangs or freezes means to others."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.haproxy import HaproxyBalancer
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.balancer.pace import Pace
from orchestrator.drivers.balancer.per_endpoint import PerEndpoint
from orchestrator.drivers.balancer.prober import Prober, Target
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import PROBES_KEPT, CommandProbe, Frontend, InstanceName
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import ADMIN, HTTP
from tests.contract.suites.commands import CommandContract
from tests.world.balancing import haproxy, origins, woken
from tests.world.guest_commands import GuestCommands
from tests.world.waiting import until

__all__ = ["haproxy", "origins", "woken"]  # fixtures

QUICK = Pace(interval_s=0.05, timeout_s=0.2, rise=2, fall=3)
WELL, *OTHERS = (InstanceName(f"web-{number}.shop") for number in range(6))
WITHIN_S = 30.0


@pytest.fixture
def guests() -> Iterator[GuestCommands]:
    """Whoever waits for an agent is released in the end."""
    guests = GuestCommands()
    yield guests
    guests.give_up.set()


@pytest.fixture
def checks(guests: GuestCommands) -> Iterator[CommandChecks]:
    """Threads that ask them."""
    with CommandChecks(guests, SystemClock()) as checks:
        yield checks


@pytest.mark.usefixtures("origins")
class TestHaproxy(CommandContract):
    """HAProxy, whose own checks see an open port."""

    @pytest.fixture
    def balancer(self, haproxy: HaproxyBalancer, checks: CommandChecks, tmp_path: Path) -> Iterator[Balancer]:
        """Both, as a daemon has them."""
        clock = SystemClock()
        kernel = NftablesBalancer(tmp_path / "pools", lambda *_: None, clock, commands=checks)
        with PerEndpoint(haproxy, kernel, clock, commands=checks) as both:
            yield both

    @pytest.fixture
    def ends(self) -> Sequence[Frontend]:
        """By http and tcp."""
        return HTTP, ADMIN


@pytest.fixture
def prober(checks: CommandChecks) -> Iterator[Prober]:
    """One that runs."""
    with Prober(lambda _: None, SystemClock(), checks) as prober:
        yield prober


def targets(*names: InstanceName, pace: Pace = QUICK) -> dict[Hashable, Target]:
    """As a balancer has them."""
    probe = CommandProbe(command=("/bin/well", "a b"))
    return {name: Target(address="", port=1, probe=probe, pace=pace, name=name) for name in names}


def fault(prober: Prober, name: InstanceName) -> str:
    """What its last check met."""
    return prober.health(name).why


def test_so_many_results_in_a_row_change_what_is_thought(prober: Prober, guests: GuestCommands) -> None:
    """As for any probe; its words reach the guest as they were written."""
    prober.watch(targets(WELL))
    until(lambda: prober.health(WELL).checked and prober.health(WELL).up, WITHIN_S)
    assert guests.argv == ("/bin/well", "a b")
    guests.exits[WELL] = 7
    until(lambda: not prober.health(WELL).up, WITHIN_S)
    assert fault(prober, WELL) == "the command exits 7"
    assert [one.why for one in prober.results()[WELL]][-3:] == ["the command exits 7"] * 3
    guests.exits[WELL] = 0
    until(lambda: prober.health(WELL).up, WITHIN_S)
    until(lambda: len(prober.results()[WELL]) == PROBES_KEPT, WITHIN_S)


def test_a_command_that_does_not_end_is_begun_once(prober: Prober, guests: GuestCommands) -> None:
    """Each check is in vain meanwhile; when it has ended, whatever it says, the next check asks anew."""
    guests.exits[WELL] = None
    prober.watch(targets(WELL))
    until(lambda: not prober.health(WELL).up, WITHIN_S)
    assert {one.why for one in prober.results()[WELL]} == {
        "no answer in time",
        "the command of a check before runs still",
    }
    assert guests.begun[WELL] == 1
    guests.exits[WELL] = 0
    until(lambda: prober.health(WELL).up, WITHIN_S)
    assert guests.begun[WELL] > 1


def test_agents_that_hang_hold_up_nobody_else(prober: Prober, guests: GuestCommands) -> None:
    """They are asked by a thread of their own once they have let us wait."""
    guests.hung |= {*OTHERS}
    guests.give_up.set()  # At first each is given up at once.
    prober.watch(targets(WELL, *OTHERS))
    until(lambda: all(fault(prober, name) == "no answer" for name in OTHERS), WITHIN_S)
    guests.give_up.clear()
    until(lambda: guests.waiting == 1, WITHIN_S)
    before = guests.begun[WELL]
    until(lambda: guests.begun[WELL] > before + 10, WITHIN_S)
    assert guests.waiting == 1
    guests.hung.clear()
    guests.give_up.set()
    until(lambda: all(prober.health(name).up for name in OTHERS), WITHIN_S)


def test_a_guest_whose_file_systems_are_frozen_is_not_ill(prober: Prober, guests: GuestCommands) -> None:
    """A backup: nothing is known of it, and what was thought stays."""
    prober.watch(targets(WELL))
    until(lambda: len(prober.results()[WELL]) > 2, WITHIN_S)
    guests.frozen.add(WELL)
    prober.watch(targets(WELL, OTHERS[0]))
    until(lambda: guests.begun[OTHERS[0]] > 10, WITHIN_S)
    assert {one.why for one in prober.results()[WELL]} == {""}
    begun = guests.begun[WELL]
    guests.frozen.clear()
    until(lambda: guests.begun[WELL] > begun + 1, WITHIN_S)


def test_a_guest_that_has_restarted_is_asked_anew(prober: Prober, guests: GuestCommands) -> None:
    """It knows nothing of a command of before."""
    guests.exits[WELL] = None
    prober.watch(targets(WELL, pace=replace(QUICK, timeout_s=5.0)))
    until(lambda: guests.begun[WELL] == 1, WITHIN_S)
    guests.restart(WELL)
    guests.exits[WELL] = 0
    until(lambda: guests.begun[WELL] > 2 and prober.health(WELL).up, WITHIN_S)
    assert any("the agent" in one.why or "pid" in one.why for one in prober.results()[WELL])
