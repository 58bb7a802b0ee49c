"""Members whose health a command in the guest tells: what every balancer keeps. The module under test gives
`balancer`, which asks by `guests`, and `ends`, an endpoint of each kind, as fixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from orchestrator.model import CommandProbe, Frontend, InstanceName, Member, Standing
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import ADDRESSES, ONE, ZERO, patiently
from tests.world.guest_commands import GuestCommands
from tests.world.waiting import until

PROBE: Final = CommandProbe(command=("/bin/well", "-q"), interval_s=0.2, timeout_s=0.2, fall=2, rise=1)
WITHIN_S: Final = 30.0


def standings(balancer: Balancer) -> dict[InstanceName, Standing]:
    """Of everybody who has been asked."""
    return {name: seat.standing for name, seat in balancer.seats().items() if seat.checked}


class CommandContract:
    """The suite."""

    def joined(self, balancer: Balancer, ends: Sequence[Frontend]) -> None:
        """Both members, behind all endpoints."""
        asked = [replace(one, probe=PROBE) for one in ends]
        patiently(lambda: balancer.shape(asked))
        for name in (ZERO, ONE):
            pools = tuple((one.pool, 8077) for one in ends)
            balancer.join(Member(name=name, address=ADDRESSES[name], pools=pools))

    def test_whose_command_fails_gets_nothing_until_it_passes(
        self, balancer: Balancer, ends: Sequence[Frontend], guests: GuestCommands
    ) -> None:
        """His port is open all the time; the last results say what it met."""
        self.joined(balancer, ends)
        until(lambda: standings(balancer) == {ZERO: Standing.UP, ONE: Standing.UP}, WITHIN_S)
        guests.exits[ZERO] = 3
        until(lambda: standings(balancer) == {ZERO: Standing.DOWN, ONE: Standing.UP}, WITHIN_S)
        probed = balancer.probed([one.pool for one in ends])
        assert {pool: results[ZERO][-1].why for pool, results in probed.items()} == {
            one.pool: "the command exits 3" for one in ends
        }
        guests.exits[ZERO] = 0
        until(lambda: standings(balancer) == {ZERO: Standing.UP, ONE: Standing.UP}, WITHIN_S)

    def test_nobody_counts_as_checked_before_his_command_has_been_asked(
        self, balancer: Balancer, ends: Sequence[Frontend], guests: GuestCommands
    ) -> None:
        """That a port is open says nothing here: who is frozen cannot be asked, and is up as any newcomer is."""
        guests.frozen.add(ZERO)
        self.joined(balancer, ends)
        until(lambda: standings(balancer) == {ONE: Standing.UP}, WITHIN_S)
        until(lambda: guests.begun[ONE] > 3, WITHIN_S)
        assert balancer.seats()[ZERO].standing is Standing.UP
        assert standings(balancer) == {ONE: Standing.UP}
        guests.frozen.clear()
        until(lambda: standings(balancer) == {ZERO: Standing.UP, ONE: Standing.UP}, WITHIN_S)
