"""The table of the pools as the kernel has it; what it shall hold is for `nft_pools` to say."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.drivers.balancer.nft_pools import TABLE, Names
from orchestrator.drivers.tools.command import run
from orchestrator.errors import CommandFailed


def names() -> Names:
    """The chains and sets that are there."""
    listed = _list()
    chains = frozenset(item["chain"]["name"] for item in listed if "chain" in item)
    sets = frozenset(item["set"]["name"] for item in listed if "set" in item)
    return Names(chains, sets - {"served"})


def shown() -> str | None:
    """The table, but for what affinity has learned; None when there is none."""
    listed = _list()
    for item in listed:
        for body in item.values():
            body.pop("handle", None)
        if "set" in item and item["set"]["name"] != "served":
            item["set"].pop("elem", None)
    return json.dumps(listed, sort_keys=True) if listed else None


def _list() -> list[dict[str, dict[str, Any]]]:
    try:
        listed = json.loads(run(["nft", "-j", "list", "table", "ip", TABLE]))["nftables"]
    except CommandFailed as error:
        if "No such file or directory" in error.stderr:
            return []
        raise
    return [item for item in listed if "metainfo" not in item]
