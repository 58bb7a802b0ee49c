"""What tests of the API ask, where they say nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.api_daemon import SHOP, Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose world stands still, with a service; its socket is for our own user."""
    with Daemon(tmp_path) as running:
        running.give_image()
        running.control.apply(SHOP)
        yield running
