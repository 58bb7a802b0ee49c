"""The Network port of the fake world."""

from __future__ import annotations

import pytest

from orchestrator.drivers.fake.parts import FakeNetwork
from orchestrator.drivers.fake.world import World
from tests.contract.suites.network import NetworkContract


class TestFakeNetwork(NetworkContract):
    """The fake does what the real one does; the real one is asked in tests/lab."""

    @pytest.fixture
    def network(self) -> FakeNetwork:
        """A new world's."""
        return FakeNetwork(World())
