"""Each limit that the owner says reaches what keeps it: nine numbers that are all others."""

from __future__ import annotations

from orchestrator.daemon import _budget
from orchestrator.host.caps import blob_caps, evidence_caps
from orchestrator.host.config import Config


def test_every_limit_reaches_what_keeps_it() -> None:
    """Two of them that are mixed up would be told of by nobody else."""
    settings = Config(
        service_reimages_per_hour=11, host_reimages_per_hour=12, evidence_most=13, evidence_mib=14, evidence_days=15,
        evidence_disks_mib=16, evidence_disk_hours=17, blob_mib=18, blobs_mib=19,
    )  # fmt: skip
    budget, evidence, blobs = _budget(settings), evidence_caps(settings), blob_caps(settings)
    assert (budget.of_service, budget.of_host) == (11, 12)
    assert (evidence.most, evidence.size_mib, evidence.days) == (13, 14, 15)
    assert (evidence.disks_mib, evidence.disk_hours) == (16, 17)
    assert (blobs.blob_mib, blobs.store_mib) == (18, 19)
