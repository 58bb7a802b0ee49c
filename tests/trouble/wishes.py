"""What is wished of an instance in the middle of trouble, and what must come of it."""

from __future__ import annotations

import functools
from collections.abc import Callable

from orchestrator.model import Verb
from tests.world.fabric import Fabric


def gone(fabric: Fabric) -> None:
    """Waits until nothing is left."""
    fabric.until(lambda: not fabric.instances() and not fabric.control.services())
    fabric.world.nothing_is_left()


WISHES: tuple[Callable[[Fabric], None], ...] = (
    lambda fabric: fabric.deploy(),
    lambda fabric: fabric.act(Verb.RESTART, "shop"),
    lambda fabric: fabric.act(Verb.REIMAGE, "shop"),
    lambda fabric: fabric.act(Verb.REBUILD, "web-1.shop"),
)


@functools.cache
def effects_of_wishes() -> int:
    """How many calls with an effect there are until all wishes are fulfilled."""
    fabric = Fabric()
    for wish in WISHES:
        wish(fabric)
        fabric.until(fabric.quiet)
    return fabric.trouble.calls
