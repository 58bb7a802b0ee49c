"""Records that cannot be read: kept as they lie, told, and in nobody else's way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from orchestrator.ports import Document

INSTANCE: Final = "instance"  # what people call a wish and a state together


@dataclasses.dataclass(frozen=True, slots=True)
class SetAside:
    """A document that cannot be read: it is kept as it lies, and told."""

    kind: str
    key: str
    fault: str
    body: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    hearsay: str = dataclasses.field(default="", repr=False)  # see ports.Document
    hint: str = "was it written by a newer vmrole? run that one, or restore a backup: vmrole restore FILE"

    def __str__(self) -> str:
        return f"the stored {self.kind} {self.key!r} cannot be read: {self.fault}"


def unread(document: Document) -> SetAside:
    """What is told of one that is damaged, or that `upgrade` could not bring over from the first version."""
    if document.damage:
        return SetAside(document.kind, document.key, document.damage, hearsay=document.hearsay)
    hint = "run the vmrole that wrote it once more and see what it says of it, or restore a backup"
    fault = "it is of the first version, and lacks what an instance has to have"
    return SetAside(document.kind, document.key, fault, document.body, hint=hint)


def instances_of(asides: Iterable[SetAside], service: str) -> list[SetAside]:
    """Those of them that are an instance of the service, by their names."""
    return [one for one in asides if service_of(one) == service]


def service_of(aside: SetAside) -> str:
    """The service of an instance that is set aside, by its name; "" for anything else."""
    return aside.key.rpartition(".")[2] if aside.kind == INSTANCE else ""
