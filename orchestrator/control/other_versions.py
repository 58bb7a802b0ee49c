"""What records of other versions hold: sentences where this one has causes, and fields that it does not know."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping
from typing import Any, cast

from orchestrator.model import Cause, Path, Unit, UnitState, Unknown
from orchestrator.model.cause import recorded

CAUSES = {"waits_for": "waiting", "failed_by": "failure"}
"""Fields of an instance, and what they were called as sentences."""
_UNIT_STATES = tuple(map(str, UnitState))


def causes(body: Mapping[str, Any]) -> dict[str, Cause | None]:
    """What it waits for, and has failed by. A sentence was written by an earlier version, so it is the newer."""
    return {field: recorded(body.get(sentence, body.get(field))) for field, sentence in CAUSES.items()}


def units(body: Mapping[str, Any]) -> list[Unit]:
    """The services that have not started. An earlier version wrote sentences; a newer one may know more states."""
    told = {"services_failed": UnitState.FAILED, "services_pending": UnitState.PENDING}
    if any(key in body for key in told):
        return [Unit(str(text), state) for key, state in told.items() for text in body.get(key, ())]
    return [_unit(entry) for entry in body.get("units", ()) if isinstance(entry, dict)]


def _unit(entry: Mapping[str, Any]) -> Unit:
    name, state, detail = (str(entry.get(key, "")) for key in ("name", "state", "detail"))
    if state in _UNIT_STATES:
        return Unit(name, UnitState(state), detail)
    return Unit(name, UnitState.PENDING, ", ".join(filter(None, (state, detail))))


def unknown(record: object, body: Mapping[str, Any]) -> Unknown:
    """What a newer version has written into the body, and the record has no place for."""
    later: list[tuple[Path, str]] = []
    _note_unknown(record, body, (), later)
    return tuple(later)


def _note_unknown(value: object, body: object, path: Path, later: list[tuple[Path, str]]) -> None:
    """Adds where the body holds a field that the value has no place for."""
    if isinstance(value, Cause | Unit):  # Written anew: what a newer version has put into one is not the next one's.
        return
    match body:
        case dict() if dataclasses.is_dataclass(type(value)):
            attributes, nesting = _places(cast("Any", type(value)))
            if not body.keys() <= attributes:
                later += [((*path, key), json.dumps(body[key])) for key in body if key not in attributes]
            for key in nesting:
                if part := body.get(key):
                    _note_unknown(getattr(value, key), part, (*path, key), later)
        case list() if isinstance(value, tuple):
            for index, (of_value, part) in enumerate(zip(value, body, strict=False)):
                if isinstance(part, dict | list):
                    _note_unknown(of_value, part, (*path, index), later)


@functools.cache
def _places(of: type[Any]) -> tuple[frozenset[str], tuple[str, ...]]:
    """What its values know by name, and which of their fields may hold others: those that are no text or number."""
    fields = typing.get_type_hints(of).items()
    plain = {name for name, hint in fields if isinstance(hint, type) and issubclass(hint, str | int | float)}
    return frozenset(dir(of)), tuple(name for name, _ in fields if name not in plain)
