"""How large a commit may be: the same for every store, so that none is found too large only where it matters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.model import Event
from orchestrator.ports import COMMIT_BYTES_MAX, COMMIT_PARTS_MAX, Check, Write

_EVENT_BYTES = 64  # its numbers
_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=dict)


def assert_fits(writes: Sequence[Write], events: Sequence[Event], checks: Sequence[Check]) -> None:
    """AssertionError for a commit with too many parts, or too large a one."""
    parts = len(writes) + len(events) + len(checks)
    assert parts <= COMMIT_PARTS_MAX, f"a commit of {parts} writes, checks and events: {_subjects(writes)}"
    size = sum(len(write.kind) + len(write.key) for write in writes)
    size += sum(len(check.kind) + len(check.key) for check in checks)
    size += sum(len(event.subject.encode()) + len(event.message.encode()) + _EVENT_BYTES for event in events)
    size += sum(size_bytes(write.body) for write in writes if write.body is not None)
    assert size <= COMMIT_BYTES_MAX, f"a commit of {size} bytes: {_subjects(writes)}"


def size_bytes(body: Mapping[str, Any]) -> int:
    """What a body takes as JSON in UTF-8."""
    text = _ENCODER.encode(body)
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _subjects(writes: Sequence[Write]) -> str:
    return ", ".join(f"{write.kind} {write.key}" for write in writes[:3])
