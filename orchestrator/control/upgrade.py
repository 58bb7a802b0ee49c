"""Records of the first version, in which each instance held its role twice, brought to the form of now.

Once, at the start of the daemon. Cut anywhere it goes on where it was: what has been brought over is in the new form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.control import records
from orchestrator.model import Role
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
    return brought


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
