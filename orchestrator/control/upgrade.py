"""Records of earlier versions, brought to the form of now.

In the first one each instance held its role twice; later, a rollout was an operation with a name of its own.
Once, at the start of the daemon. Cut anywhere it goes on where it was: what has been brought over is in the new form.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.control import records
from orchestrator.model import Operation, Progress, Role, Rollout
from orchestrator.ports import Document, Store, Write

_OF_WISH = ("name", "uid", "service", "role_name", "index", "network", "nic")


def upgrade(store: Store) -> int:
    """Returns how many records it has brought over. What it cannot read stays as it lies, and is told as such."""
    stored = {document.key for document in store.all(records.TEMPLATE)}
    brought = 0
    for document in (*store.all(records.SERVICE), *store.all(records.FIRST_INSTANCE)):
        try:
            roles, writes = _service(document) if document.kind == records.SERVICE else _instance(document)
        except (ValidationError, LookupError, TypeError):
            continue
        for key, role in roles.items():
            if key not in stored:
                store.commit([records.put_template(role)])
                stored.add(key)
        if writes:
            store.commit(writes)
            brought += 1
    for document in store.all(records.OPERATION):
        if writes := _rollout(store, document):
            store.commit(writes)
            brought += 1
    return brought


def _rollout(store: Store, document: Document) -> list[Write]:
    """A rollout that runs goes on as one; what is over may stay as it was called."""
    operation = records.decode(document, {})
    if not isinstance(operation, Operation) or operation.progress is not Progress.RUNNING:
        return []
    service = store.get(records.SERVICE, operation.service)
    if not operation.id.startswith("rollout-") or service is None or service.damage:
        return []
    uid = service.body.get("uid") or str(uuid.uuid4())
    rollout = Rollout(
        id=operation.id,
        service=operation.service,
        service_uid=uid,
        from_revision=0,
        to_revision=service.body.get("file_revision") or 1,
        targets=operation.targets,
        walk=operation.walk,
        message=operation.message,
        created_at_s=operation.created_at_s,
    )
    body = {**service.body, "uid": uid}
    named = [] if body == service.body else [Write(records.SERVICE, service.key, body, service.revision)]
    return [records.drop(operation), records.put(rollout), *named]


def _service(document: Document) -> tuple[Mapping[str, Role], list[Write]]:
    spec = document.body["spec"]
    if all("template" in entry for entry in spec["roles"]):
        return {}, []
    roles = [_role(body) for body in spec["roles"]]
    entries = [{"template": records.digest(role), "instances": role.instances} for role in roles]
    body = {**document.body, "spec": {**spec, "roles": entries}}
    return {records.digest(role): role for role in roles}, [
        Write(document.kind, document.key, body, document.revision)
    ]


def _instance(document: Document) -> tuple[Mapping[str, Role], list[Write]]:
    body = dict(document.body)
    wanted, built = _role(body["goal"]["role"]), _role(body["role"])
    wish: dict[str, Any] = {key: body.pop(key) for key in _OF_WISH}
    wish |= {
        "goal": {**body.pop("goal"), "role": records.digest(wanted)},
        "made_at_s": body.get("phase_since_s", 0.0),
    }
    state = {**body, "role": records.digest(built)}
    return {records.digest(role): role for role in (wanted, built)}, [
        Write(records.FIRST_INSTANCE, document.key, None, document.revision),
        Write(records.WISH, document.key, wish, 0),
        Write(records.STATE, document.key, state, 0),
    ]


def _role(body: Mapping[str, Any]) -> Role:
    return TypeAdapter(Role).validate_python(dict(body))
