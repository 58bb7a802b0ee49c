"""The schema of a service file agrees with its reader; `python -m tests.unit.servicefile.test_schema` writes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from orchestrator import servicefile
from orchestrator.errors import InvalidInput
from orchestrator.model import Image
from orchestrator.servicefile.schema import schema
from tests.unit.servicefile.odd_files import ACCEPTED, EXAMPLES, image, odd_values, places
from tests.world.places import REPOSITORY
from tests.world.service_files import CHECKPOINT_FAULTS, ENDPOINT_FAULTS, FAULTS, GOOD

FILE = REPOSITORY / "docs" / "service.schema.json"
# What a schema cannot say, or not without becoming hard to read, by the fault's words or by what was written: sizes
# and times that are too large, keys that exclude each other, images that there are.
SEEN = ("such as 8000-8010", "input, instance, internal", "write [first, second]", "not a list")
TYPED = ("true or false", "did you mean refresh?")
BEYOND = {
    "drop path or command",
    "drop port or command",
    *(case[4] for case in ENDPOINT_FAULTS if case[4] not in (*SEEN, "is missing")),  # which key goes with which type
    *(case[1] for case in ENDPOINT_FAULTS if case[4] == "is missing"),
    *(case[4] for case in CHECKPOINT_FAULTS if case[4] not in TYPED), "1 h at least", "use 1 s to 365 d",
    "add reimage: warm to the role",
    "1 MiB", "1 s to 1 d", "no http", "no udp", "only haproxy", "cannot be sent on", "10.0.0.0/8",
    "networks of IPv4", "is taken by",
    "tcp has no cookies", "udp has no",
    "say affinity: source", "not more than maxConnections", "more than nftables counts", "say balancer: haproxy",
    "16 characters",
    "not more than the interval", "0.1 s to 1 h", "path: /, status: 399-200", "give the probe a path",
    "vmrole image ls", "cannot be used", "not a digest", "cannot be a VIP",
}  # fmt: skip


def text(value: dict[str, Any]) -> str:
    """As the file has it."""
    return json.dumps(value, indent=2) + "\n"


def agrees(source: str) -> bool:
    """Whether the schema has nothing to say against a service file."""
    validator = jsonschema.Draft202012Validator(schema())
    return bool(validator.is_valid(YAML(typ="safe", pure=True).load(source)))


def is_read(source: str, of: Image) -> bool:
    """Whether the reader has nothing to say against it."""
    try:
        servicefile.parse(source, lambda _: of)
    except InvalidInput:
        return False
    return True


def test_the_file_is_what_the_reader_asks_for() -> None:
    """docs/service.schema.json is made of the reader: a key that it learns is seen in a review."""
    assert FILE.read_text() == text(schema()), "run: python -m tests.unit.servicefile.test_schema"
    jsonschema.Draft202012Validator.check_schema(schema())


def test_no_key_is_without_a_shape() -> None:
    """Nothing is taken whatever it is: an editor would have nothing to say about it."""
    assert '"anyOf": []' not in json.dumps(schema())


@pytest.mark.parametrize("source", ACCEPTED)
def test_what_is_a_service_file_agrees(source: str) -> None:
    """The README's, the examples, and the one of the reader's own tests."""
    assert is_read(source, image(source))
    assert agrees(source)


@pytest.mark.parametrize(("before", "after", "word"), [(case[0], case[1], case[4]) for case in FAULTS])
def test_what_the_reader_refuses_does_not_agree(before: str, after: str, word: str) -> None:
    """Each case of the reader's own tests, but for what is beyond a schema."""
    assert agrees(GOOD.replace(before, after, 1)) == bool({word, after} & BEYOND)


@pytest.mark.slow
@pytest.mark.parametrize("source", ACCEPTED)
def test_nothing_that_is_read_is_refused(source: str) -> None:
    """Whatever stands in any place of a file: an editor never marks what `apply` takes."""
    tree = YAML(typ="safe", pure=True).load(source)
    validator = jsonschema.Draft202012Validator(schema())
    taken = 0
    for turn, (*way, last) in enumerate(place for place in places(tree) if place):
        for value in odd_values(turn):
            changed = copy.deepcopy(tree)
            node = changed
            for step in way:
                node = node[step]
            node[last] = value
            if is_read(json.dumps(changed), image(source)):
                taken += 1
                assert validator.is_valid(changed), (way, last, value)
    assert taken


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: one.name)
def test_examples_tell_an_editor_where_the_schema_is(example: Path) -> None:
    """By the line that the YAML language server looks for."""
    (line,) = [one for one in example.read_text().splitlines() if "yaml-language-server" in one]
    assert (example.parent / line.rpartition("=")[2]).resolve() == FILE


if __name__ == "__main__":
    FILE.write_text(text(schema()))
