"""How many instances of this host are kept at once: each is without its VM meanwhile, and the disk is one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from orchestrator.control.present import Present
from orchestrator.model import Cause, Instance, Phase
from orchestrator.model.cause import Kind

AT_ONCE: Final = 4
AGAIN_S: Final = 0.5
_ENTRANCE: Final = threading.Lock()  # Two at once would each see the last place free.


@contextmanager
def entrance(present: Present, seen: Instance, phase: Phase) -> Iterator[Cause | None]:
    """Why the instance may not enter the phase yet; None: it may, while the block lasts. Who cannot help waiting in
    the midst of being kept (somebody has paused it) takes no place.
    """
    if not phase.traits.takes_checkpoint or seen.phase is phase:
        yield None
        return
    with _ENTRANCE:
        there = present.instances().values()
        kept = [one for one in there if one.phase.traits.takes_checkpoint and not one.sick_since_s]
        told = f"{len(kept)} are being taken"
        yield Cause(Kind.CHECKPOINT_AWAITED, detail=told) if len(kept) >= AT_ONCE else None
