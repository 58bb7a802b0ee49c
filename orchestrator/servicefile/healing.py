"""`healing:` of a role and of a service: how far it goes by itself, and how much of it at a time."""

from __future__ import annotations

from typing import Final

from orchestrator.errors import Problem
from orchestrator.model import Healing, Ladder, ServiceHealing
from orchestrator.servicefile.fields import Answer, choice, integer, shape_of, shaped
from orchestrator.servicefile.reader import Reader
from orchestrator.servicefile.tree import Map
from orchestrator.servicefile.upgrade import unavailable

KEYS: Final = ("ladder", "maxUnavailable")
REIMAGES_MAX: Final = 100_000  # an hour
_ladder = choice(Ladder)


@shaped(**shape_of(unavailable))
def _at_a_time(node: object) -> Answer[int | str]:
    if node in (0, "0", "0%", "0 %") and not isinstance(node, bool):
        return Problem(f"{node}: nothing could ever be healed", hint="1 or more; to leave all alone: ladder: off")
    return unavailable(node)


def read_healing(reader: Reader, node: Map, at: str) -> Healing:
    """What a role says of it: a word, or a mapping; faults are noted."""
    if not isinstance(node.get("healing", Map()), Map):
        ladder: Ladder = reader.take(node, at, "healing", _ladder, Ladder.REIMAGE)
        return Healing(ladder=ladder)
    at = f"{at}.healing"
    node = reader.keys(node.get("healing", Map()), at, KEYS)
    missed = reader.take(node, at, "maxUnavailable", _at_a_time, None)
    return Healing(
        ladder=reader.take(node, at, "ladder", _ladder, Ladder.REIMAGE),
        max_unavailable=missed if isinstance(missed, int) else None,
        max_unavailable_percent=int(missed) if isinstance(missed, str) else None,
    )


def read_service_healing(reader: Reader, top: Map) -> ServiceHealing:
    """What stands below `healing` of the service; faults are noted."""
    node = reader.keys(top.get("healing", Map()), "healing", ("reimagesPerHour",))
    return ServiceHealing(
        reimages_per_hour=reader.take(node, "healing", "reimagesPerHour", integer(0, REIMAGES_MAX), None)
    )
