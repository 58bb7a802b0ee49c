"""The table of the pools as the kernel has it; what it shall hold is for `nft_pools` to say.

A change sends what has changed, and nothing is listed for it: while none but ours have touched the table, it holds
what was laid. Where that is not certain, all of it is laid anew, in one transaction like any other.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Self

from orchestrator.drivers.balancer import nft_counts, nft_pools
from orchestrator.drivers.balancer.nft_counts import Counts
from orchestrator.drivers.balancer.nft_pools import Names, Place, Pools
from orchestrator.drivers.balancer.nft_words import FAMILIES, IPV4, TABLE, Family
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
        self._laid: Mapping[Family, Pools] | None = None  # None: it is not known what the table holds

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
            log.warning("somebody changed an nft table %s; it is laid again", TABLE)
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
        laid = before or {}
        wanted = {
            family: nft_pools.pools(frontends, takers, known, laid.get(family), family)
            for family in FAMILIES
            if family is IPV4 or family in laid or any(map(family.carries, frontends))
        }
        if wanted == before:
            return
        self._laid = None
        if before is not None:
            change = "".join(_changed(before.get(family), pools) for family, pools in wanted.items())
            just_before()
            with contextlib.suppress(CommandFailed):
                self._apply(change)
                self._note(wanted)
                return
            log.warning("an nft table %s is not as it was laid; it is laid again", TABLE)
        whole = "".join(nft_pools.transaction(pools, names(family)) for family, pools in wanted.items())
        just_before()
        self._apply(whole + _removals(wanted))
        self._note(wanted)

    def _note(self, wanted: Mapping[Family, Pools]) -> None:
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
        """Takes the tables away."""
        self._laid = None
        self._apply(nft_pools.removal(IPV4) + _removals({IPV4}))


def _changed(before: Pools | None, wanted: Pools) -> str:
    if before is None:
        return nft_pools.transaction(wanted, names(wanted.family))
    return nft_pools.change(before, wanted) if wanted != before else ""


def _removals(wanted: Collection[Family]) -> str:
    """Of the tables of others of IP, where there are such."""
    return "".join(nft_pools.removal(one) for one in FAMILIES if one not in wanted and names(one) != Names())


def names(family: Family) -> Names:
    """The chains, sets and maps of its table that are there."""
    listed = _list(family)
    chains, sets, maps = (
        frozenset(item[kind]["name"] for item in listed if kind in item) for kind in ("chain", "set", "map")
    )
    return Names(chains, sets - set(nft_counts.NAMES), maps)


def _list(family: Family) -> list[dict[str, dict[str, Any]]]:
    try:
        listed = json.loads(run(["nft", "-j", "list", "table", family.name, TABLE]))["nftables"]
    except CommandFailed as error:
        if "No such file or directory" in error.stderr:
            return []
        raise
    return [item for item in listed if "metainfo" not in item]
