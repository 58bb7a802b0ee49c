"""Revisions: the file of a service as it was applied, numbered."""

from __future__ import annotations

import dataclasses

from orchestrator.model.template import ServiceSpec


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One version of a service's file. `number` counts from 1 through the life of one service, and is given once."""

    service: str
    service_uid: str
    number: int
    spec: ServiceSpec  # as it was applied
    digest: str  # of the spec: the same file again makes no new revision
    applied_at_s: float = 0.0  # seconds since the epoch; 0: it was applied before revisions were kept
    applied_by: int | None = None  # uid; None: not known
    restores: int = 0  # the number of the revision that it goes back to; 0: it came as a file
    revision: int = 0  # of the record

    @property
    def key(self) -> str:
        """Under which it is stored: a service that is deployed again shares no revision with the one before it."""
        return f"{self.service}/{self.service_uid}/{self.number}"
