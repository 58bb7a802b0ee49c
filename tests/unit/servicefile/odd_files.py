"""Service files that people did not mean, made of good ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from orchestrator.model import AnswerFormat, Image, Os
from tests.world.images import MICRO
from tests.world.places import REPOSITORY
from tests.world.service_files import GOOD

EXAMPLES = sorted((REPOSITORY / "docs" / "examples").glob("*.yaml"))
ODD: tuple[Any, ...] = (0, 1, -1, 1.5, 2022, "", "a", "A b", "1 s", "1 MiB", "10.0.0.1", "none", "udp", True, None)
ODD_NODES: tuple[Any, ...] = ([], ["a"], [1], {}, {"a": 1}, {"secret": "a"}, {"within": "1 s"})
_EVERY = 3  # A place meets each third value, its neighbours the others: all of them would take minutes.


def odd_values(turn: int) -> tuple[Any, ...]:
    """Some of the odd values and nodes, by the turn of the place that takes them."""
    return (*ODD, *ODD_NODES)[turn % _EVERY :: _EVERY]


def readme_examples() -> list[str]:
    """The service files of the README."""
    parts = (REPOSITORY / "README.md").read_text().split("```yaml\n")[1:]
    return [part.split("```", 1)[0] for part in parts]


ACCEPTED = [GOOD, *readme_examples(), *(one.read_text() for one in EXAMPLES)]


def image(text: str) -> Image:
    """What the roles of a service file are made of, by what they are answered with."""
    if "unattend:" not in text:
        return MICRO
    return dataclasses.replace(MICRO, os=Os.WINDOWS, answers=AnswerFormat.UNATTEND)


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a file, by its keys."""
    yield at
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, below in steps:
        yield from places(below, (*at, step))
