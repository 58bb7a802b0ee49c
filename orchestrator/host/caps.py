"""Caps as the configuration says them, in the words of the model."""

from __future__ import annotations

from orchestrator.host.config import Config
from orchestrator.model.blob import BlobCaps
from orchestrator.model.evidence import EvidenceCaps


def evidence_caps(settings: Config) -> EvidenceCaps:
    """How much is kept of failures."""
    return EvidenceCaps(
        most=settings.evidence_most,
        size_mib=settings.evidence_mib,
        days=settings.evidence_days,
        disks_mib=settings.evidence_disks_mib,
        disk_hours=settings.evidence_disk_hours,
    )


def blob_caps(settings: Config) -> BlobCaps:
    """How much a store of blobs holds."""
    return BlobCaps(blob_mib=settings.blob_mib, store_mib=settings.blobs_mib)
