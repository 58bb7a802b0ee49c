"""The Vips port of the fake world."""

from __future__ import annotations

import pytest

from orchestrator.drivers.fake.parts import FakeVips
from orchestrator.drivers.fake.world import World
from tests.contract.suites.vips import VipsContract


class TestFakeVips(VipsContract):
    """The fake does what the real one does; the real one is asked in tests/lab."""

    @pytest.fixture
    def vips(self) -> FakeVips:
        """A new world's."""
        return FakeVips(World())

    def test_what_somebody_took_off_is_told(self) -> None:
        """It is put back, once."""
        world = World()
        vips = FakeVips(world)
        vips.hold({"203.0.113.31"})
        world.vips.clear()
        assert vips.hold({"203.0.113.31"}).put_back == {"203.0.113.31"}
        assert vips.hold({"203.0.113.31"}).put_back == frozenset()
