"""A service as its file: what `manifest.parse` would read as the same service. Reading is not done here."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from orchestrator.model import Endpoint, HttpProbe, Probe, Ready, Role, ServiceSpec, Setup


def to_text(spec: ServiceSpec) -> str:
    """The service file, every key in the order of the example and defaults left out. Holds the roles' user data."""
    tree = {"service": spec.name, "vip": spec.vip, "roles": {role.name: _role(role) for role in spec.roles}}
    yaml = YAML(typ="rt", pure=True)
    yaml.default_flow_style = False
    yaml.width = 4096
    text = io.StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def _role(role: Role) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "image": role.image,
        "instances": role.instances,
        "size": {"vcpus": role.size.vcpus, "memory": f"{role.size.memory_mib} MiB"},
    }
    if role.endpoints:
        tree["endpoints"] = {one.name: _endpoint(one) for one in role.endpoints}
    if role.local_storage:
        tree["localStorage"] = {one.name: {"size": f"{one.size_mib} MiB"} for one in role.local_storage}
    if role.user_data:
        block = "\n" in role.user_data and all(one.isprintable() or one == "\n" for one in role.user_data)
        tree["answers"] = {"userData": LiteralScalarString(role.user_data) if block else role.user_data}
    if role.setup != Setup():
        tree["setup"] = {"restart": role.setup.restart, "within": _duration(role.setup.within_s)}
    if role.ready != Ready():
        tree["ready"] = _ready(role.ready)
    if role.drain_s != 30.0:
        tree["drain"] = _duration(role.drain_s)
    return tree


def _endpoint(end: Endpoint) -> dict[str, Any]:
    tree: dict[str, Any] = {"port": end.port, "target": end.target, "protocol": str(end.mode)}
    if end.probe is not None:
        tree["probe"] = _probe(end.probe)
    return tree


def _probe(probe: Probe) -> dict[str, Any]:
    tree: dict[str, Any] = {"path": probe.path} if isinstance(probe, HttpProbe) else {}
    if probe.port is not None:
        tree["port"] = probe.port
    return tree


def _ready(ready: Ready) -> dict[str, Any]:
    tree: dict[str, Any] = {
        key: list(said)
        for key, said in (("units", ready.units), ("ignore", ready.ignore), ("command", ready.command))
        if said
    }
    if ready.probe is not None:
        tree["probe"] = _probe(ready.probe)
    tree["within"] = _duration(ready.within_s)
    return tree


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)} ms" if seconds % 1 else f"{round(seconds)} s"
