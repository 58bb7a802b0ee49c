"""The Network port of the fake world."""

from __future__ import annotations

import pytest

from orchestrator.drivers.fake.parts import FakeNetwork
from orchestrator.drivers.fake.world import World
from tests.contract.suites.network import Leads, NetworkContract


class TestFakeNetwork(NetworkContract):
    """The fake does what the real one does; the real one is asked in tests/lab."""

    @pytest.fixture
    def world(self) -> World:
        """A new one."""
        return World()

    @pytest.fixture
    def network(self, world: World) -> FakeNetwork:
        """The world's."""
        return FakeNetwork(world)

    @pytest.fixture
    def leads(self, world: World) -> Leads:
        """As the fake has noted it."""
        return lambda service, role: set(world.called.get(service.name, {}).get(role, ()))
