"""The Inside port of the fake world."""

from __future__ import annotations

import pytest

from tests.contract.suites.fake_stage import FakeStage
from tests.contract.suites.inside import InsideContract


class TestFakeInside(InsideContract):
    """The fake does what the real one does; the real one is asked in tests/lab."""

    @pytest.fixture
    def stage(self) -> FakeStage:
        """A new world."""
        return FakeStage()
