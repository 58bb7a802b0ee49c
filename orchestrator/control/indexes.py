"""What the present finds records by."""

from __future__ import annotations

from typing import Any, TypeVar

from orchestrator.control.records import Record
from orchestrator.model import Image, Instance, Service
from orchestrator.model.drive import Drive
from orchestrator.model.standstill import Standstill
from orchestrator.model.token import Token

R = TypeVar("R")


def narrowed(of: type[R], record: Record | None) -> R | None:
    """The record, if it is of that type."""
    return record if isinstance(record, of) else None


def group(record: Record) -> tuple[str, str]:
    """What the indexes find it by, beside its key."""
    if isinstance(record, Image | Service | Token | Standstill | Drive):
        return "", ""
    return record.service, record.hostname if isinstance(record, Instance) else ""


def remove(index: dict[str, dict[Any, Any]], of: str, key: str) -> None:
    """Takes a key out of its group, and the group with its last one."""
    present = index.get(of, {})
    present.pop(key, None)
    if not present:
        index.pop(of, None)
