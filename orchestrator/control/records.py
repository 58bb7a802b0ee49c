"""How the nouns lie in the store: which document is whose, and what each one holds. No decisions here.

    image/SHA256        one of the repository
    template/DIGEST     a role as VMs are built from it, once however many instances have it: user-data may be large
    service/NAME        the file as applied; its roles are digests of templates
    revision/NAME/UID/N one of the versions of that file, in the same form
    wish/INSTANCE       what is wanted of an instance; requests and operations write it
    state/INSTANCE      how far it is; its turn alone writes it
    operation/ID        long work over several instances
    rollout/ID          the same that an apply has made, from one revision to another
    token/NAME          who may come from the network, by the digest of a secret
    drive/NAME          a drive, whose bytes are a file
    lease/ID            an instance that one client has, or waits for
    standstill/WHOSE    that automation is paused: "host", or "service/NAME"

In memory an `Instance` is its wish and its state in one value. A field that a newer version has written, and that
this one does not know, stays where it was when the record is written again.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from orchestrator.control import other_versions, soundness
from orchestrator.control.asides import INSTANCE, SetAside
from orchestrator.model import (
    Image,
    Instance,
    Lease,
    Operation,
    Revision,
    Role,
    Rollout,
    Service,
    ServiceHealing,
    ServiceSpec,
    Unknown,
    Upgrade,
)
from orchestrator.model.drive import Drive
from orchestrator.model.standstill import Standstill
from orchestrator.model.token import Token
from orchestrator.ports import Check, Document, Write

Whole = Image | Service | Revision | Operation | Rollout | Token | Standstill | Drive | Lease  # a document each
Record = Whole | Instance

IMAGE, TEMPLATE, SERVICE, REVISION, WISH, STATE, OPERATION, ROLLOUT, TOKEN, STANDSTILL, DRIVE, LEASE = KINDS = (
    "image", "template", "service", "revision", "wish", "state", "operation", "rollout", "token", "standstill",
    "drive", "lease",
)  # fmt: skip
NAMELESS = (IMAGE, TEMPLATE, OPERATION, ROLLOUT, TOKEN, STANDSTILL, DRIVE, LEASE)  # what names no template
FIRST_INSTANCE = INSTANCE  # a wish and a state in one, of the first version; `upgrade` brings them over
_KIND: dict[type[Any], str] = {
    Image: IMAGE,
    Service: SERVICE,
    Revision: REVISION,
    Instance: "instance",
    Operation: OPERATION,
    Rollout: ROLLOUT,
    Token: TOKEN,
    Standstill: STANDSTILL,
    Drive: DRIVE,
    Lease: LEASE,
}
_OF_WISH = ("name", "uid", "service", "role_name", "index", "network", "nic", "goal", "made_at_s")
# Said where there is something to say: a record shall stay small.
_SELDOM = (
    "checkpoint", "layered", "no_checkpoint", "no_checkpoint_lasts", "no_memory", "no_memory_lasts", "memory_on_disk",
    "apart", "road", "word", "parting", "farewell", "clock_off_s", "agent_silent_since_s", "unwell_told_s", "lacks",
    "lan_given", "lan_given_at_s", "lan_refused",
)  # fmt: skip
_NOT_STORED = ("revision", "wish_revision", "state_revision")
# Roles, which may be large, are stored by themselves.
_WISH_PARTS: set[str] = set(_OF_WISH)
_WISH_ELSEWHERE: Any = {"goal": {"role"}}
_STATE_ELSEWHERE: set[str] = {*_OF_WISH, *_NOT_STORED, "role"}


def kind_of(of: type[Record]) -> str:
    """What people call the records of a type."""
    return _KIND[of]


def key_of(record: Record) -> str:
    """Under which key the store keeps the record."""
    match record:
        case Image():
            return record.sha256
        case Service() | Token() | Drive():
            return record.name
        case Revision() | Standstill():
            return record.key
        case Instance():
            return record.name
        case Operation() | Rollout() | Lease():
            return record.id


# Templates ---------------------------------------------------------------------------------------------------


def template(role: Role) -> Role:
    """The role as it is stored: how many instances it has is the service's business."""
    return dataclasses.replace(role, instances=0) if role.instances else role


# Templates that another version has written: the fields that it knew make another digest than ours.
_KEPT_UNDER: dict[Role, str] = {}


# By identity: the roles of all records are the very objects that the present keeps. A role that is in here is held,
# so no other has its id.
_DIGESTS: dict[int, tuple[Role, str]] = {}
_DIGESTS_MAX = 4096


def digest(role: Role) -> str:
    """The key of the role's template: SHA-256 of its content, hexadecimal."""
    known = _DIGESTS.get(id(role))
    if known is not None:
        return known[1]
    key = _digest(template(role))
    if len(_DIGESTS) >= _DIGESTS_MAX:
        _DIGESTS.clear()
    _DIGESTS[id(role)] = (role, key)
    return key


@functools.lru_cache(maxsize=4096)
def _digest(stored: Role) -> str:
    if stored in _KEPT_UNDER:
        return _KEPT_UNDER[stored]
    text = json.dumps(_template_body(stored), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def template_bytes(role: Role) -> int:
    """How large the role's template is as JSON."""
    text = json.dumps(_template_body(template(role)), separators=(",", ":"), ensure_ascii=False)
    return len(text.encode("utf-8", "surrogatepass"))


def put_template(role: Role) -> Write:
    """The write that creates the role's template, which nobody has stored yet."""
    return Write(TEMPLATE, digest(role), _template_body(template(role)), 0)


def _template_body(stored: Role) -> dict[str, Any]:
    body = to_json(stored)
    del body["unknown"]
    return with_unknown(body, stored.unknown)


def spec_digest(spec: ServiceSpec) -> str:
    """SHA-256 of all that a spec says, hexadecimal: equal for equal files."""
    text = json.dumps(_spec_body(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _spec_body(spec: ServiceSpec) -> dict[str, Any]:
    """A spec as it is stored: its roles, which may be large, lie by themselves."""
    body = to_json(dataclasses.replace(spec, roles=()))
    if spec.upgrade == Upgrade():
        del body["upgrade"]  # A file that says nothing of it is the same file as before there was such a key.
    if spec.healing == ServiceHealing():
        del body["healing"]
    for key in ("shared_vip", "staging_vip"):
        if not body[key]:
            del body[key]
    roles = [{"template": digest(role), "instances": role.instances} for role in spec.roles]
    return {**body, "roles": roles}


# Writing -----------------------------------------------------------------------------------------------------


def put(record: Whole) -> Write:
    """The write that creates (revision 0) or changes the record that was read at its revision."""
    body = _bare(record)
    if isinstance(record, Service | Revision):
        body["spec"] = _spec_body(record.spec)
    return Write(_KIND[type(record)], key_of(record), body, record.revision)


def put_wish(instance: Instance) -> Write:
    """The write that creates or changes what is wanted of the instance."""
    body = _adapter(Instance).dump_python(instance, mode="json", include=_WISH_PARTS, exclude=_WISH_ELSEWHERE)
    body["goal"]["role"] = digest(instance.goal.role)
    return Write(WISH, instance.name, body, instance.wish_revision)


def put_state(instance: Instance) -> Write:
    """The write that changes how far the instance is; of what it is built it names the template."""
    body = _adapter(Instance).dump_python(instance, mode="json", exclude=_STATE_ELSEWHERE)
    body["role"] = digest(instance.role)
    for field in other_versions.CAUSES:
        body[field] = _sparse(body[field])
    body["units"] = [_sparse(unit) for unit in body["units"]]
    for field in _SELDOM:
        if not body[field]:
            del body[field]
    return Write(STATE, instance.name, body, instance.state_revision)


def drop(record: Whole) -> Write:
    """The write that deletes the record as it was read."""
    return Write(_KIND[type(record)], key_of(record), None, record.revision)


def drop_instance(instance: Instance) -> list[Write]:
    """The writes that delete an instance as it was read."""
    state = [Write(STATE, instance.name, None, instance.state_revision)] if instance.state_revision else []
    return [*state, Write(WISH, instance.name, None, instance.wish_revision)]


def wish_stands(instance: Instance) -> Check:
    """The condition that nobody has wished anything else of the instance meanwhile."""
    return Check(WISH, instance.name, instance.wish_revision)


def state_stands(instance: Instance) -> Check:
    """The condition that the instance has come no further meanwhile."""
    return Check(STATE, instance.name, instance.state_revision)


def stands(record: Image | Service | Operation) -> Check:
    """The condition that the record is as it was read."""
    return Check(_KIND[type(record)], key_of(record), record.revision)


def _bare(record: Record) -> dict[str, Any]:
    body = to_json(record)
    for key in _NOT_STORED:
        body.pop(key, None)
    return body


def _sparse(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A cause or a unit without the fields that say nothing: a record shall stay small."""
    if value is None:
        return None
    return {key: _sparse(part) if isinstance(part, dict) else part for key, part in value.items() if part}


def with_unknown(body: dict[str, Any], unknown: Unknown) -> dict[str, Any]:
    """The body with what a newer version had written into it, where its place is still there."""
    for path, text in unknown:
        place: Any = body
        for step in path[:-1]:
            try:
                place = place[step]
            except (KeyError, IndexError, TypeError):
                break
        else:
            if isinstance(place, dict):
                place.setdefault(path[-1], json.loads(text))
    return body


# Reading -----------------------------------------------------------------------------------------------------

_UNREADABLE = (ValidationError, LookupError, TypeError, ValueError, AttributeError)


def decode(document: Document, templates: Mapping[str, Role]) -> Whole | SetAside:
    """Any record but an instance, which is two documents."""
    of = next(of for of, kind in _KIND.items() if kind == document.kind)
    body = dict(document.body)
    try:
        if of in (Service, Revision):
            body["spec"] = {**body["spec"], "roles": [_role(entry, templates) for entry in body["spec"]["roles"]]}
        return soundness.sound(cast("Whole", _read(of, body, document, revision=document.revision)), document.key)
    except _UNREADABLE as error:
        return _aside(document, error)


def decode_template(document: Document) -> Role | SetAside:
    """A role as it is stored."""
    try:
        role = soundness.sound(cast("Role", _read(Role, document.body, document)), document.key)
    except _UNREADABLE as error:
        return _aside(document, error)
    if later := other_versions.unknown(role, document.body):
        role = dataclasses.replace(role, unknown=later)
    if digest(role) != document.key:
        _KEPT_UNDER[role] = document.key
        _digest.cache_clear()
        _DIGESTS.clear()
    return role


def decode_instance(wish: Document, state: Document | None, templates: Mapping[str, Role]) -> Instance | SetAside:
    """An instance from its wish and its state; before its first turn it has none, and begins as it was wished."""
    damaged = next((document for document in (wish, state) if document is not None and document.damage), None)
    if damaged is not None:
        return SetAside("instance", damaged.key, damaged.damage, hearsay=wish.hearsay)
    try:
        goal = {**wish.body["goal"], "role": templates[wish.body["goal"]["role"]]}
        if state is None:
            reached = {
                "phase_since_s": wish.body["made_at_s"],
                "storage": goal.get("storage", 1),
                "role": goal["role"],
            }
        else:
            reached = {
                **state.body,
                **other_versions.causes(state.body),
                "units": other_versions.units(state.body),
                "role": templates[state.body["role"]],
            }
        revisions = {"wish_revision": wish.revision, "state_revision": state.revision if state else 0}
        whole = _read(Instance, {**reached, **wish.body, "goal": goal}, wish, **revisions)
        return soundness.sound(cast("Instance", whole), wish.key)
    except _UNREADABLE as error:
        return _aside(wish, error, kind="instance")


def shadow(wish: Document, templates: Mapping[str, Role]) -> Instance | SetAside:
    """An instance as it was wished, for what was given out to it; with another template where its own is lost."""
    whole = decode_instance(wish, None, templates)
    if isinstance(whole, Instance) or wish.damage:
        return whole
    name = wish.body.get("role_name")
    other = next((key for key, role in templates.items() if role.name == name), None)
    goal = wish.body.get("goal")
    if other is None or not isinstance(goal, dict):
        return whole
    return decode_instance(
        dataclasses.replace(wish, body={**wish.body, "goal": {**goal, "role": other}}), None, templates
    )


def _role(entry: Mapping[str, Any], templates: Mapping[str, Role]) -> Role:
    return dataclasses.replace(templates[entry["template"]], instances=entry["instances"])


def _aside(document: Document, error: Exception, *, kind: str = "") -> SetAside:
    match error:
        case _ if document.damage:
            fault = document.damage
        case ValidationError():
            first = error.errors(include_url=False, include_input=False)[0]
            fault = f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
        case soundness.Unsound():
            fault = str(error)
        case KeyError():
            fault = f"{str(error.args[0])[:80]} is not there"
        case _:
            fault = "its shape is another"
    return SetAside(kind or document.kind, document.key, fault, document.body, document.hearsay)


def _read(of: type[Any], body: Mapping[str, Any], document: Document, **revisions: int) -> object:
    if document.damage:
        raise ValueError(document.damage)
    return _adapter(of).validate_python({**body, **revisions})


def templates_named(document: Document) -> Sequence[str]:
    """The keys of the templates that a document names, whether it can be read or not."""
    match document.kind, document.body:
        case "wish", {"goal": {"role": str(key)}}:
            return (key,)
        case "state", {"role": str(key)}:
            return (key,)
        case "service" | "revision", {"spec": {"roles": list(entries)}}:
            return [key for entry in entries for key in _template_named(entry)]
        case _:
            return ()


def _template_named(entry: object) -> Sequence[str]:
    match entry:
        case {"template": str(key)}:
            return (key,)
        case _:
            return ()


_ADAPTER: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(of: type[Any]) -> TypeAdapter[Any]:
    if of not in _ADAPTER:  # Building one takes milliseconds; two threads building the same one do no harm.
        _ADAPTER[of] = TypeAdapter(of)
    return _ADAPTER[of]


def to_json(record: object) -> dict[str, Any]:
    """Any frozen value of `model` as plain JSON types."""
    return cast("dict[str, Any]", _adapter(type(record)).dump_python(record, mode="json"))
