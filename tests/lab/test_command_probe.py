"""Commands in guests say whether members of the kernel's pools are well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.drivers.balancer.command_checks import CommandChecks
from orchestrator.drivers.balancer.nftables import NftablesBalancer
from orchestrator.drivers.clock import SystemClock
from orchestrator.model import Frontend, Mode, PoolName
from orchestrator.ports import Balancer
from tests.contract.suites.balancer import ADMIN
from tests.contract.suites.commands import CommandContract
from tests.world.guest_commands import GuestCommands


class TestNftables(CommandContract):
    """The kernel's pools, whose prober asks nothing but the command."""

    @pytest.fixture
    def guests(self) -> GuestCommands:
        """Stand-ins: no VM is needed."""
        return GuestCommands()

    @pytest.fixture
    def balancer(self, guests: GuestCommands, tmp_path: Path) -> Iterator[Balancer]:
        """The real one."""
        clock = SystemClock()
        with (
            CommandChecks(guests, clock) as checks,
            NftablesBalancer(tmp_path / "pools", lambda *_: None, clock, commands=checks) as balancer,
        ):
            yield balancer
            balancer.shape([])

    @pytest.fixture
    def ends(self) -> Sequence[Frontend]:
        """By tcp and udp."""
        return ADMIN, replace(ADMIN, pool=PoolName("shop.web.dns"), mode=Mode.UDP)
