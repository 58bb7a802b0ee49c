"""Directories that guests may be given to read: without a virtiofsd no role can have one, and others can be had."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from orchestrator.drivers.hypervisor import sharing
from orchestrator.host.config import Config
from orchestrator.host.doctor.check import Check, ok, warn


def shares(settings: Config) -> Check:
    """What serves them is there, and what the host's owner gives can be served."""
    return judge(settings.shares, sharing.SERVERS)


def judge(sources: Collection[str], servers: Collection[str]) -> Check:
    """Of these directories, and whichever of these programs there is."""
    name, server = "shares", sharing.server_of(servers)
    if server is None:
        told = "there is no virtiofsd: no role can have shares"
        if sources:
            return warn(name, f"{told}, and {', '.join(sources)} may be named", sharing.INSTALL)
        return ok(name, f"{told} ({sharing.INSTALL}), and no directory is given to guests")
    if not sources:
        return ok(name, f"{server} serves them; no directory is given to guests (shares in vmrole.toml)")
    faults = [found for source in sources if (found := sharing.source_fault(Path(source))) is not None]
    if faults:
        return warn(name, "; ".join(told for told, _ in faults), "; ".join(dict.fromkeys(hint for _, hint in faults)))
    return ok(name, f"{server} serves {', '.join(sources)}")
