"""The API described in the repository is the app's own; `python -m tests.unit.api.test_openapi` writes it anew."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.api.app import create_app, description
from orchestrator.api.frames import MessageKind
from orchestrator.control.attaching import Attaching
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.deployment import Capacity
from orchestrator.control.drives import Drives
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.control.tokens import Tokens
from orchestrator.drivers.fake import FakeBlobs, FakeDrives, FakeStore, World, fake_host
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.kept_evidence import KeptEvidence
from orchestrator.drivers.store.pending import Pending
from orchestrator.drivers.tools.layout import Layout
from tests.unit.api.stub import HEAD, stub
from tests.world.places import REPOSITORY

FILE = REPOSITORY / "docs" / "openapi.json"
TYPES = REPOSITORY / "orchestrator" / "client" / "wire.pyi"


def described(directory: Path) -> dict[str, Any]:
    """What the app says of itself; no request is made, so nothing real is needed behind it."""
    store, world, layout = FakeStore(), World(), Layout(directory / "state", directory / "run")
    present = Present(store)
    images = Catalogue(present, world, LocalImageFiles(layout, virtual_size_max=1 << 40))
    control = Control(
        store,
        find_image=images.find,
        capacity=Capacity(pool="10.90.0.0/16", memory_mib=1),
        clock=world,
        wake=lambda _kind, _key: None,
        seats=dict,
    )
    tokens, drives = Tokens(present, world), Drives(present, FakeDrives(world), world)
    app = create_app(
        control,
        images,
        tokens=tokens,
        attaching=Attaching(present, drives, fake_host(world).machine, control.instance),
        blobs=FakeBlobs(world),
        console=layout.console,
        evidence=KeptEvidence(layout, world),
        findings=list,
        repair=list,
        backup=io.BytesIO,
        restores=Pending(layout.records),
    )
    return description(app)


def text(value: dict[str, Any]) -> str:
    """As the file has it."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def types(value: dict[str, Any]) -> str:
    """As the client's type checker has them, in the form of all our files."""
    kinds = ", ".join(f'"{kind}"' for kind in get_args(MessageKind))  # of a watch, which OpenAPI has no words for
    ruff = [str(Path(sys.executable).parent / "ruff"), "format", "--stdin-filename", str(TYPES), "-"]
    return subprocess.run(
        ruff, input=f"{stub(value)}\nMessageKind = Literal[{kinds}]\n", capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the app says of itself."""
    return described(tmp_path_factory.mktemp("described"))


def test_the_file_is_what_the_app_says(found: dict[str, Any]) -> None:
    """docs/openapi.json is equal to the app's description: a change of the API is seen in a review."""
    assert FILE.read_text() == text(found), "run: python -m tests.unit.api.test_openapi"


def test_it_is_openapi_3_1_and_every_operation_has_its_own_id(found: dict[str, Any]) -> None:
    """Clients are generated from it: ids are unique, every operation is described, every refusal has our body."""
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert found["openapi"].startswith("3.1")
    assert len(set(ids)) == len(ids)
    assert all(operation["description"] for operation in operations)
    assert all("ProblemBody" in json.dumps(operation["responses"]["4XX"]) for operation in operations)
    assert all(path == "/healthz" or path.startswith("/v1/") for path in found["paths"])


def test_every_refusal_is_json(found: dict[str, Any]) -> None:
    """Whatever a route answers with when all is well."""
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                if status in ("4XX", "5XX"):
                    assert [*answer["content"]] == ["application/json"], (method, path, status)


def test_user_data_has_no_default_that_tells(found: dict[str, Any]) -> None:
    """No example or default of the description holds user data."""
    role = found["components"]["schemas"]["Role"]
    assert role["properties"]["user_data"].get("default", "") == ""


def test_the_clients_types_are_what_the_app_says(found: dict[str, Any]) -> None:
    """orchestrator/client/wire.pyi comes from the app: no key of an answer or a request is written down twice."""
    assert TYPES.read_text() == types(found), "run: python -m tests.unit.api.test_openapi"


def test_what_an_answer_may_leave_out_is_nothing() -> None:
    """Answers hold every key, requests those that have to be there; of two kinds, a pair, a word: as they are."""
    reference = "#/components/schemas/"
    properties = {
        "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"$ref": f"{reference}a__Word"}]},
        "more": {"anyOf": [{"type": "array", "items": {"$ref": f"{reference}b__Word"}}, {"type": "null"}]},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "fixed": {"const": True, "type": "boolean"},
    }
    shape = {"type": "object", "properties": properties, "required": ["pair"]}
    words = {"a__Word": {"enum": ["a", "b"]}, "b__Word": {"enum": ["c"]}}
    schemas = {"Asked": shape, "Told": shape, **words}
    paths = {"/": {"get": {"responses": {"200": {"schema": {"$ref": f"{reference}Told"}}}}}}
    assert stub({"paths": paths, "components": {"schemas": schemas}}).removeprefix(HEAD).split("\n") == [
        "",
        'AWord = Literal["a", "b"]',
        "",
        "class Asked(TypedDict):",
        "    pair: tuple[str, AWord]",
        "    more: NotRequired[list[BWord] | None]",
        "    counts: NotRequired[dict[str, int]]",
        "    fixed: NotRequired[Literal[True]]",
        "",
        'BWord = Literal["c"]',
        "",
        "class Told(TypedDict):",
        "    pair: tuple[str, AWord]",
        "    more: list[BWord] | None",
        "    counts: dict[str, int]",
        "    fixed: Literal[True]",
        "",
    ]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        said = described(Path(place))
        FILE.write_text(text(said))
        TYPES.write_text(types(said))
