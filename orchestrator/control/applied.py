"""What an apply comes to, before it is written and after it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import replace

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import Instance, Operation, Rollout, Service
from orchestrator.servicefile.difference import Change


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply did, or would do in a dry run (then `service` is what stands now, if anything)."""

    service: Service | None
    changes: tuple[Change, ...]
    operation: Operation | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an apply would write: the service, and the rollouts that end and begin with it."""

    old: Service | None
    service: Service
    changes: tuple[Change, ...]
    stale: Sequence[Instance]
    ended: Sequence[Rollout]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who applies, by uid (None: not known), and how: as a number of instances alone, or as an old revision again."""

    uid: int | None = None
    scales: bool = False
    restores: int = 0


@contextlib.contextmanager
def placed_in(text: str) -> Iterator[None]:
    """What is wrong with a service gets the lines of its file."""
    try:
        yield
    except InvalidInput as error:
        placed = tuple(replace(one, line=servicefile.line_of(text, one.key)) for one in error.problems)
        raise InvalidInput(str(error), problems=placed, hint=error.hint) from error
