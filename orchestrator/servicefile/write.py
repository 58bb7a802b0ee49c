"""A service as a file that `apply` takes and finds nothing to do for: the way back of the reader.

What may hold secrets is never shown: its key is named under `kept`. What is as usual is left out.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeAlias

from vmrole_unattend.secret import SecretRef
from vmrole_unattend.windows.answers import Answers, Join

from orchestrator.model import (
    AnswerFormat,
    Checkpoints,
    Devices,
    Endpoint,
    Healing,
    Image,
    InternalEndpoint,
    Leasing,
    Os,
    Ports,
    Road,
    Role,
    ServiceHealing,
    ServiceSpec,
    Topology,
    Upgrade,
    service_of,
)
from orchestrator.servicefile.answers import UNSEEN_DATA, UNSEEN_WISHES
from orchestrator.servicefile.carriers import usual_carrier
from orchestrator.servicefile.spelling import unit_of, word_of
from orchestrator.servicefile.yaml_text import yaml_text

Node: TypeAlias = dict[str, Any]


def written(spec: ServiceSpec, find_image: Callable[[str], Image | None]) -> str:
    """The file's text. An image whose name has moved on since is named by its digest."""
    top: Node = {"service": service_of(spec.name)}
    if spec.vip:
        top["vip"] = spec.vip
    if spec.shared_vip:
        top["sharedVip"] = True
    if spec.staging_vip:
        top["stagingVip"] = spec.staging_vip
    if spec.labels:
        top["labels"] = dict(spec.labels)
    if upgrade := _upgrade(spec):
        top["upgrade"] = upgrade
    if spec.healing != ServiceHealing():
        top["healing"] = _node(spec.healing)
    top["roles"] = {role.name: _role(role, dict(spec.labels), find_image) for role in spec.roles}
    return yaml_text(top)


def _upgrade(spec: ServiceSpec) -> Node:
    """Without a canary where scaling has left nobody beside it: that is no file any more that is taken."""
    beside = spec.upgrade.canary < sum(role.instances for role in spec.roles)
    return _node(spec.upgrade if beside else replace(spec.upgrade, canary=0), Upgrade())


def _role(role: Role, shared: Mapping[str, str], find_image: Callable[[str], Image | None]) -> Node:
    usual = Role(name=role.name, image=role.image, image_sha256=role.image_sha256)
    image = find_image(role.image)
    node: Node = {
        "image": role.image if image is not None and image.sha256 == role.image_sha256 else role.image_sha256,
        "instances": role.instances,
        "size": _node(role.size) | _node(role.limits),
        "endpoints": {end.name: _endpoint(end) for end in role.endpoints}
        | {own.name: {"type": "instance"} | _node(own) for own in role.instance_endpoints}
        | {inner.name: _internal(inner) for inner in role.internal_endpoints},
        "localStorage": {storage.name: _node(storage) for storage in role.local_storage},
        "drives": {drive.name: _node(drive) for drive in role.drives},
        "shares": {share.name: _node(share) for share in role.shares},
        "network": _node(role.network),
        "devices": _node(role.devices, Devices()),
        "libvirt": {"xml": role.libvirt_xml} if role.libvirt_xml else {},
        "answers": _answers(role),
        "identity": {"sshHostKeys": "keep"} if role.keep_ssh_host_keys else {},
        "setup": _node(role.setup) if role.answers is not AnswerFormat.NONE else {},
        "ready": _node(role.ready, usual.ready, always=("within_s",)),  # What is usual depends on the image.
        "drain": _value(role.drain_s, unit_of("drain_s")),
        "stop": _node(role.stop),
        "restart": _node(role.restart),
        "healing": _healing(role.healing),
        "evidence": {"disk": True} if role.keep_failed_disk else {},
        "reimage": "" if role.reimage is Road.COLD else role.reimage.value,
        "checkpoint": _node(role.checkpoint if role.reimage is not Road.COLD else Checkpoints(), Checkpoints()),
        "lease": _node(role.lease, Leasing()),
        "topology": "" if role.topology is Topology.BLAST else role.topology.value,
        "after": list(role.after) or "",
        "labels": {key: text for key, text in role.labels if shared.get(key) != text},
    }
    if role.os is Os.WINDOWS and "units" in node["ready"]:
        node["ready"]["services"] = node["ready"].pop("units")
    return {key: value for key, value in node.items() if value not in ({}, "")}


def _healing(healing: Healing) -> Node | str:
    """A word where that says all."""
    node = _node(healing, Healing())
    return str(node["ladder"]) if set(node) == {"ladder"} else node


def _endpoint(end: Endpoint) -> Node:
    node = _node(replace(end, balancer=None if end.carrier is usual_carrier(end) else end.carrier))
    if end.affinity_s is not None:
        node["affinity"] = "source"
    if end.range is not None:
        del node["port"]
    return node


def _internal(inner: InternalEndpoint) -> Node:
    node: Node = {"type": "internal"}
    if inner.ports is not None and inner.ports.number == 1:
        node["port"] = inner.ports.first
    if inner.ports is not None and inner.mode is None:
        node["protocol"] = "any"
    return node | {key: said for key, said in _node(inner).items() if not (key == "ports" and "port" in node)}


def _answers(role: Role) -> Node | str:
    if role.answers is AnswerFormat.NONE:
        return AnswerFormat.NONE.value
    node: Node = {}
    if role.user_data_from is not None:
        node["userData"] = _value(role.user_data_from)
    if role.public_keys:
        node["publicKeys"] = list(role.public_keys)
    if role.install_agent:
        node["installAgent"] = True
    if role.admin_password is not None:
        node["adminPassword"] = _value(role.admin_password)
    if kept := _kept(role, UNSEEN_DATA):
        node["kept"] = kept
    if role.unattend is not None and (wishes := _wishes(role.unattend)):
        node["unattend"] = wishes
    return node


def _wishes(answers: Answers) -> Node:
    node = _node(answers, Answers(), leaving=(*UNSEEN_WISHES.values(), "own_xml_from", "accounts"))
    if answers.accounts:
        node["accounts"] = {account.name: _node(account) for account in answers.accounts}
    if answers.own_xml_from is not None:
        node["xml"] = _value(answers.own_xml_from)
    if kept := _kept(answers, UNSEEN_WISHES):
        node["kept"] = kept
    return node


def _kept(holder: object, unseen: Mapping[str, str]) -> list[str]:
    return [key for key, field in unseen.items() if getattr(holder, field)]


def _node(value: Any, usual: Any = None, *, leaving: tuple[str, ...] = (), always: tuple[str, ...] = ()) -> Node:  # noqa: ANN401
    """The fields of a value of `model`, as the file has them, without those that are as usual."""
    node = {}
    for field in (field.name for field in fields(value) if field.name not in ("name", *leaving)):
        held = getattr(value, field)
        if held is None or (usual is not None and field not in always and held == getattr(usual, field)):
            continue
        node[word_of(field)] = _value(held, unit_of(field))
    return {key: said for key, said in node.items() if said not in ({}, [], "") or key == "probe"}


def _value(held: Any, unit: str = "") -> Any:  # noqa: ANN401
    match held:
        case bool():
            return held
        case float() if not held.is_integer():
            return f"{held:.15g} s" if round(held, 3) == held else f"{round(held * 1000, 3):.15g} ms"
        case int() | float() if unit:
            return f"{int(held)}{unit}"
        case Ports():
            return str(held) if held.number > 1 else held.first
        case SecretRef():
            return {held.source.value: held.name}
        case enum.Enum():
            return held.value
        case tuple():
            return [_value(one) for one in held]
        case Join():
            return _node(held, Join())
        case _ if is_dataclass(held):
            return _node(held)
        case _:
            return held
