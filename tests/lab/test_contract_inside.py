"""The Inside port of libvirt and QEMU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.suites.inside import InsideContract
from tests.lab.harness.lab import Lab
from tests.lab.real_stage import RealStage, real_stage


class TestRealInside(InsideContract):
    """A real VM of the micro image."""

    @pytest.fixture
    def stage(self, lab: Lab, micro_image: Path) -> Iterator[RealStage]:
        """A stage of its own."""
        with real_stage(lab, micro_image) as stage:
            yield stage
