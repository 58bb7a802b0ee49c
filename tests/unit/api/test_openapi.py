"""The API described in the repository is the app's own; `python -m tests.unit.api.test_openapi` writes it anew."""

from __future__ import annotations

import io
import json
import typing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.app import create_app, description
from orchestrator.client import wire
from orchestrator.control.catalogue import Catalogue
from orchestrator.control.deployment import Capacity
from orchestrator.control.present import Present
from orchestrator.control.requests import Control
from orchestrator.drivers.fake import FakeStore, World
from orchestrator.drivers.images.image_files import LocalImageFiles
from orchestrator.drivers.tools.layout import Layout
from tests.world.places import REPOSITORY

FILE = REPOSITORY / "docs" / "openapi.json"
SCHEMA_OF = {
    wire.Service: "ServiceView",
    wire.Instance: "InstanceView",
    wire.Cause: "CauseView",
    wire.Unit: "Unit",
    wire.Image: "Image",
    wire.Arrival: "Arrival",
    wire.Operation: "Operation",
    wire.Event: "Event",
    wire.Change: "Change",
    wire.Applied: "AppliedView",
    wire.Checked: "CheckedView",
    wire.Revision: "RevisionView",
    wire.RolloutOf: "Rollout",
    wire.Rollout: "RolloutView",
    wire.Compared: "Compared",
    wire.Traffic: "Traffic",
    wire.Endpoint: "EndpointView",
    wire.Finding: "Finding",
    wire.Health: "Health",
    wire.Agent: "Agent",
}


def described(directory: Path) -> dict[str, Any]:
    """What the app says of itself; no request is made, so nothing real is needed behind it."""
    store, world, layout = FakeStore(), World(), Layout(directory / "state", directory / "run")
    images = Catalogue(Present(store), world, LocalImageFiles(layout, virtual_size_max=1 << 40))
    control = Control(
        store,
        find_image=images.find,
        capacity=Capacity(pool="10.90.0.0/16", memory_mib=1),
        clock=world,
        wake=lambda _kind, _key: None,
        seats=dict,
    )
    return description(
        create_app(control, images, console=layout.console, findings=list, repair=list, backup=io.BytesIO)
    )


def text(value: dict[str, Any]) -> str:
    """As the file has it."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


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


def test_user_data_has_no_default_that_tells(found: dict[str, Any]) -> None:
    """No example or default of the description holds user data."""
    role = found["components"]["schemas"]["Role"]
    assert role["properties"]["user_data"].get("default", "") == ""


@pytest.mark.parametrize("shape", SCHEMA_OF, ids=lambda shape: shape.__name__)
def test_the_clients_shapes_are_the_apps(shape: Any, found: dict[str, Any]) -> None:
    """What the client's types promise is what the API's schemas have, name by name and kind by kind."""
    schema = found["components"]["schemas"][SCHEMA_OF[shape]]
    kinds = {name: _kinds(hint) for name, hint in typing.get_type_hints(shape).items()}
    assert kinds == {name: _schema_kinds(value) for name, value in schema["properties"].items()}


_JSON_KINDS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null", list: "array"}


def _kinds(hint: Any) -> set[str]:
    parts = typing.get_args(hint) if type(None) in typing.get_args(hint) else (hint,)
    return {_JSON_KINDS.get(typing.get_origin(part) or part, "object") for part in parts}


def _schema_kinds(value: dict[str, Any]) -> set[str]:
    if "anyOf" in value:
        return set().union(*(_schema_kinds(one) for one in value["anyOf"]))
    if "$ref" in value:
        enums = (
            "Phase",
            "Standing",
            "Verb",
            "Progress",
            "Os",
            "DiskFormat",
            "Step",
            "AnswerFormat",
            "Kind",
            "Whose",
            "UnitState",
        )
        return {"string" if value["$ref"].rpartition("/")[2] in enums else "object"}
    return {value["type"]}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        FILE.write_text(text(described(Path(place))))
