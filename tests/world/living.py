"""A daemon whose fake world lives, with a service that serves: for verbs that go into guests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from orchestrator.drivers.fake import FakeInside
from tests.world.api_daemon import SHOP, Daemon
from tests.world.waiting import until

COMES_S = 60.0


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Daemon]:
    """The daemon, with `shop` whose one instance serves."""
    with Daemon(directory, alive=True) as daemon:
        daemon.give_image()
        daemon.client().apply(SHOP.replace("instances: 3", "instances: 1"))
        until(lambda: daemon.client().instance("web-0")["phase"] == "serving", COMES_S, what="the service")
        yield daemon


def inside(daemon: Daemon) -> FakeInside:
    """What is in its guests."""
    found = daemon.control.inside
    assert isinstance(found, FakeInside)
    return found
