"""Typed records over the document store: which noun is which kind, under which key. No decisions here."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.errors import NotFound, Permanent
from orchestrator.model import Image, Instance, Operation, Service
from orchestrator.ports import Document, Store, Write

Record = Image | Service | Instance | Operation
R = TypeVar("R", Image, Service, Instance, Operation)

_KIND: dict[type[Any], str] = {
    Image: "image",
    Service: "service",
    Instance: "instance",
    Operation: "operation",
}


def key_of(record: Record) -> str:
    """Under which key the store keeps the record."""
    match record:
        case Image():
            return record.sha256
        case Service():
            return record.name
        case Instance():
            return record.name
        case Operation():
            return record.id


_ADAPTER: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(of: type[Any]) -> TypeAdapter[Any]:
    if of not in _ADAPTER:  # Building one takes milliseconds; two threads building the same one do no harm.
        _ADAPTER[of] = TypeAdapter(of)
    return _ADAPTER[of]


def to_json(record: object) -> dict[str, Any]:
    """Any frozen value of `model` as plain JSON types."""
    return cast("dict[str, Any]", _adapter(type(record)).dump_python(record, mode="json"))


def put(record: Record) -> Write:
    """The write that creates (revision 0) or changes the record that was read at its revision."""
    body = to_json(record)
    body.pop("revision")
    return Write(_KIND[type(record)], key_of(record), body, record.revision)


def drop(record: Record) -> Write:
    """The write that deletes the record as it was read."""
    return Write(_KIND[type(record)], key_of(record), None, record.revision)


def _decode(of: type[R], document: Document) -> R:
    try:
        record = _adapter(of).validate_python(dict(document.body))
    except ValidationError as error:
        raise Permanent(
            f"the stored {document.kind} {document.key!r} cannot be read: {error.error_count()} faults",
            hint="was the state written by a newer vmrole?",
        ) from error
    return cast("R", dataclasses.replace(record, revision=document.revision))


def find(store: Store, of: type[R], key: str) -> R | None:
    """The record, or None."""
    document = store.get(_KIND[of], key)
    return None if document is None else _decode(of, document)


def load(store: Store, of: type[R], key: str) -> R:
    """The record; raises NotFound."""
    record = find(store, of, key)
    if record is None:
        raise NotFound(f"there is no {_KIND[of]} {key[:80]!r}", hint=f"run: vmrole get {_KIND[of]}s")
    return record


def all_of(store: Store, of: type[R]) -> list[R]:
    """All records of the type, by key."""
    return [_decode(of, document) for document in store.all(_KIND[of])]
