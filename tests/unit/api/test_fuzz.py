"""Every route of docs/openapi.json with whatever may be sent to it, by each right: answered as it is described."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from orchestrator.api import rights, serve
from orchestrator.api.listening import Listener, bind
from orchestrator.api.peers import Admission, Caller, Peer, local
from orchestrator.model.right import Right
from tests.world.api_daemon import SHOP, Daemon, exchange
from tests.world.places import REPOSITORY

API: dict[str, Any] = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
LINES = sorted((method.upper(), path) for path, of in API["paths"].items() for method in of)
ASKED = [line for line in LINES if not line[1].endswith("/watch")]  # which would not end
NAMES = st.sampled_from(["shop", "web-0.shop", "web-0", "micro", "nobody", "..", "é", "\0", "a/b", "%"]) | st.text()
ODD = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Always(Admission):
    """Gives everybody the same right."""

    right: Right

    def caller(self, peer: Peer) -> Caller:
        """Whoever it is."""
        return local(peer, self.right)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Right, Path]]:
    """A daemon with a service, and a socket for each right."""
    directory = tmp_path_factory.mktemp("fuzz")
    with Daemon(directory) as daemon:
        daemon.give_image()
        daemon.control.apply(SHOP)
        paths = {right: directory / f"{right}.sock" for right in Right}
        listeners = [Listener(bind(path, None), Always(right=right)) for right, path in paths.items()]
        with serve(daemon.app, *listeners):
            yield paths


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference means."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = API["components"]["schemas"][name] if name else schema
    return found


def values(schema: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Mostly what the schema allows, and now and then anything."""
    schema = resolved(schema)
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | ODD
    if "anyOf" in schema:
        return st.one_of([values(one, depth) for one in schema["anyOf"]])
    match schema.get("type"):
        case "object" if depth < 4 and "properties" in schema:
            fields = {key: values(one, depth + 1) for key, one in schema["properties"].items()}
            return st.fixed_dictionaries({}, optional={**fields, "odd": ODD}) | ODD
        case "object":
            return st.dictionaries(NAMES, ODD, max_size=3)
        case "array" if depth < 4:
            return st.lists(values(schema.get("items", {}), depth + 1), max_size=3) | ODD
        case "string":
            return NAMES | ODD
        case "integer" | "number":
            return st.integers(-2, 70) | st.sampled_from([1 << 62, 1 << 70, 1e308, -0.5]) | ODD
        case _:
            return ODD


@st.composite
def requests(draw: st.DrawFn, method: str, path: str) -> bytes:
    """One to this route."""
    operation = API["paths"][path][method.lower()]
    target = re.sub(r"\{\w+\}", lambda _: quote(draw(NAMES), safe="", errors="replace") or "x", path)
    query = [
        f"{one['name']}={quote(str(draw(values(one['schema']))), safe='', errors='replace')}"
        for one in operation.get("parameters", ())
        if one["in"] == "query" and draw(st.booleans())
    ]
    [kind, of] = next(iter(operation.get("requestBody", {}).get("content", {"": {}}).items()))
    body = b""
    if kind == "application/json":
        body = json.dumps(draw(values(of["schema"]))).encode()
    elif kind:
        body = draw(st.binary(max_size=300) | st.sampled_from([SHOP.encode(), b"service: shop", b"- a\n"]))
    target += f"?{'&'.join(query)}" if query else ""
    head = f"{method} {target} HTTP/1.0\r\nhost: x\r\ncontent-type: {kind or 'text/plain'}\r\n"
    return head.encode("ascii") + f"content-length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(("method", "path"), ASKED)
@pytest.mark.parametrize("right", Right)
@seed(14)
@settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_answer_is_one_that_is_described(
    doors: dict[Right, Path], right: Right, method: str, path: str, data: st.DataObject
) -> None:
    """No fault of the daemon; a body as the description says of that status; 403 for what the right does not hold."""
    request = data.draw(requests(method, path))
    answer = exchange(doors[right], request)
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status != 500, (request, body)
    if not right.holds(rights.needed(method, re.sub(r"\{\w+\}", "x", path))):
        assert status == 403
    told = API["paths"][path][method.lower()]["responses"]
    described = told.get(str(status)) or told.get(f"{status // 100}XX")
    assert described is not None, (request, status)
    schema = described.get("content", {}).get("application/json", {}).get("schema")
    if schema and b"application/json" in head:
        jsonschema.validate(json.loads(body), {**schema, "components": API["components"]})
