"""Words that no record of ours says, and names, services and documents as records have them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any

from hypothesis import strategies as st

from orchestrator import servicefile
from orchestrator.control import records
from orchestrator.errors import InvalidInput
from orchestrator.model import Role, ServiceSpec
from orchestrator.ports import Document
from tests.world.service_files import find

HOSTILE = (
    "../../etc/passwd",
    "\x1b]0;owned\x07",
    "a\nb",
    "",
    ".",
    "WEB-1.SHOP",
    "--help",
    "\u202egpj",
    "\x00",
    "x" * 5000,
)
NAMES = st.from_regex("[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True) | st.sampled_from(
    (
        "a",
        "0",
        "9" * 40,
        "a-" * 19 + "aa",
        "web-0",
        "nul",
        "con",
        "x--y",
        "a" * 40,
        "-a",
        "A",
        "a.b",
        "a_b",
        "localhost",
    )
)


def spec_of(name: str, role: str, inner: str, vip: str, staging: str) -> ServiceSpec | None:
    """As the service file's reader takes it; None when it does not."""
    vips = {key: value for key, value in (("vip", vip), ("stagingVip", staging)) if value}
    ends: dict[str, Any] = {inner: {"type": "internal", "port": 9}}
    if vip:
        ends |= {
            f"{inner}0"[-40:]: {"port": 80, "allow": ["10.0.0.0/8", "2001:db8::/32"]},
            f"{inner}1"[-40:]: {"type": "instance", "ports": "1000-1019", "target": 22},
        }
    said = {"image": "micro", "instances": 3, "size": {"memory": "128 MiB"}, "endpoints": ends}
    said["localStorage"] = {inner[:20].strip("-"): {"size": "64 MiB"}}
    with contextlib.suppress(InvalidInput):
        return servicefile.parse(json.dumps({"service": name, **vips, "roles": {role: said}}), find)
    return None


def again(document: Document, templates: dict[str, Role]) -> object:
    """The document as it is read from a disk."""
    read = dataclasses.replace(document, body=json.loads(json.dumps(dict(document.body))), revision=1)
    if document.kind == records.WISH:
        return records.decode_instance(read, None, templates)
    return records.decode_template(read) if document.kind == records.TEMPLATE else records.decode(read, templates)
