"""The table of the pools as the kernel has it; what it shall hold is for `nft_pools` to say.

A change sends what has changed, and nothing is listed for it: while none but ours have touched the table, it holds
what was laid. Where that is not certain, all of it is laid anew, in one transaction like any other.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from orchestrator.drivers.balancer import nft_counts, nft_pools
from orchestrator.drivers.balancer.nft_counts import Counts
from orchestrator.drivers.balancer.nft_pools import Names, Place, Pools
from orchestrator.drivers.balancer.nft_words import TABLE
from orchestrator.drivers.tools.command import run
from orchestrator.drivers.tools.libnftables import Nftables
from orchestrator.drivers.tools.ruleset_watch import Touches
from orchestrator.errors import CommandFailed
from orchestrator.model import Frontend, Member

log = logging.getLogger(__name__)


class KernelPools:
    """Lays the table. `with` listens to who touches it; without, all is laid each time. Not thread-safe, but for
    `counts`.
    """

    def __init__(self, apply: Callable[[str], object] | None = None) -> None:
        """`apply` runs one transaction."""
        self._library = Nftables()
        self._apply = apply or self._library.apply
        self._touches = Touches(TABLE)
        self._laid: Pools | None = None  # None: it is not known what the table holds

    def __enter__(self) -> Self:
        self._touches.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._laid = None
        self._touches.__exit__()
        self._library.close()

    def is_known(self) -> bool:
        """Whether it is certain what the table holds: who has touched it is asked for."""
        touched = self._touches.count()
        if touched and self._laid is not None:
            log.warning("somebody changed the nft table ip %s; it is laid again", TABLE)
        if touched != 0:
            self._laid = None
        return self._laid is not None

    def lay(
        self,
        frontends: Sequence[Frontend],
        takers: Collection[Place],
        known: Collection[Place],
        just_before: Callable[[], object] = lambda: None,
    ) -> None:
        """See nft_pools.pools. One transaction, or none where there is nothing to change.

        `just_before` is called when nothing but the transaction itself is left to do.
        """
        before = self._laid if self.is_known() else None
        wanted = nft_pools.pools(frontends, takers, known, before)
        if wanted == before:
            return
        self._laid = None
        if before is not None:
            change = nft_pools.change(before, wanted)
            just_before()
            with contextlib.suppress(CommandFailed):
                self._apply(change)
                self._note(wanted)
                return
            log.warning("the nft table ip %s is not as it was laid; it is laid again", TABLE)
        transaction = nft_pools.transaction(wanted, names())
        just_before()
        self._apply(transaction)
        self._note(wanted)

    def _note(self, wanted: Pools) -> None:
        """It holds what was laid, unless somebody else was at it as well."""
        self._laid = wanted if self._touches.count() == 1 else None

    def counts(self, frontends: Sequence[Frontend], members: Collection[Member]) -> Counts:
        """What these have carried since the table was laid whole last. What has gone meanwhile, or has
        not come yet, leaves all that it was asked about with unknown.
        """
        heard = []
        for name, question in nft_counts.questions(frontends, members):
            with contextlib.suppress(CommandFailed):
                heard.append((name, self._library.ask(question)))
        return Counts.heard(heard)

    def remove(self) -> None:
        """Takes the table away."""
        self._laid = None
        self._apply(nft_pools.removal())


def names() -> Names:
    """The chains, sets and maps that are there."""
    listed = _list()
    chains, sets, maps = (
        frozenset(item[kind]["name"] for item in listed if kind in item) for kind in ("chain", "set", "map")
    )
    return Names(chains, sets - nft_counts.SETS.keys(), maps)


def _list() -> list[dict[str, dict[str, Any]]]:
    try:
        listed = json.loads(run(["nft", "-j", "list", "table", "ip", TABLE]))["nftables"]
    except CommandFailed as error:
        if "No such file or directory" in error.stderr:
            return []
        raise
    return [item for item in listed if "metainfo" not in item]
