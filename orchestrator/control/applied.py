"""What an apply comes to, before it is written and after it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tenacity

from orchestrator.control.present import Present
from orchestrator.control.slots import deployed
from orchestrator.errors import Overtaken, StaleRevision
from orchestrator.model import Instance, Operation, Role, Rollout, Service, Slot
from orchestrator.servicefile.difference import Change

TRIES = 20  # of one request; the reconciler seldom wins twice, for a turn does more than write


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
    """Who applies, by uid (None: not known), and what: a file, or something else that has come from none."""

    uid: int | None = None
    scales: bool = False  # numbers of instances alone, which take up no rollout
    resumes: bool = False  # what a halted rollout has left, alone
    restores: int = 0  # the revision of this number again
    slot: Slot = Slot.PRODUCTION  # of what is not deployed yet

    @property
    def has_a_file(self) -> bool:
        """Whether what is applied may be another revision."""
        return not self.scales and not self.resumes

    @property
    def deed(self) -> str:
        """What it is called in the ledger."""
        if self.restores:
            return f"went back to revision {self.restores}"
        return "taken up again" if self.resumes else "applied"


@dataclasses.dataclass(slots=True)
class Memory:
    """What files may keep of services that there are, and as of which revision one did."""

    present: Present
    slot: Slot = Slot.PRODUCTION
    revision: int | None = None  # the oldest that was asked; None: none was

    def role(self, service: str, role: str) -> Role | None:
        """A role as its service has it, by both names; None when there is none."""
        known = deployed(self.present, service, self.slot)
        if known is None:
            return None
        self.revision = known.revision if self.revision is None else self.revision
        return known.spec.role(role)

    def check(self, service: str) -> None:
        """Raises Overtaken when the service is not any more what its file was read to keep of it."""
        known = self.present.find(Service, service)
        if self.revision is not None and (known is None or known.revision != self.revision):
            raise Overtaken(f"service {service} changed while its file was read", hint="apply it again")


afresh = tenacity.retry(  # Reads, decides and commits anew when a record was written between reading and commit.
    retry=tenacity.retry_if_exception_type(StaleRevision), stop=tenacity.stop_after_attempt(TRIES), reraise=True
)
read_again = tenacity.retry(  # What a file keeps is kept as it is at the commit.
    retry=tenacity.retry_if_exception_type(Overtaken), stop=tenacity.stop_after_attempt(TRIES), reraise=True
)
