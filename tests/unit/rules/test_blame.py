"""Whose fault an illness is: each line of the table with what it holds for, and what is nearly so and is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.errors import Whose
from orchestrator.model.cause import Kind
from orchestrator.rules import blame
from orchestrator.rules.blame import Evidence, judge
from tests.world.places import REPOSITORY

ALONE = Evidence(kind=Kind.CHECK_FAILS, of_host=40, size=5)
HOST = replace(ALONE, at_once=6, services=3)
NEW = replace(ALONE, arriving=True, proven=False, template_failures=2, older=3)
ALL = replace(ALONE, ill=5, changed_ago_s=60.0)


@pytest.mark.parametrize(
    ("seen", "whose"),
    [
        (ALONE, None),
        (replace(ALONE, strain="memory"), Whose.HOST),
        (replace(ALONE, kind=Kind.NO_SPACE), Whose.HOST),
        (replace(ALONE, kind=Kind.UNREACHABLE), Whose.HOST),
        (replace(ALONE, kind=Kind.PROBE_FAILS), None),
        (HOST, Whose.HOST),
        (replace(HOST, services=1), None),
        (replace(HOST, at_once=2, services=2), None),
        (replace(HOST, of_host=400), None),
        (replace(ALONE, kind=Kind.BALANCER_ALONE), Whose.BALANCER),
        (NEW, Whose.IMAGE),
        (replace(NEW, same_image=True), Whose.ANSWERS),
        (replace(NEW, template_failures=1), None),
        (replace(NEW, older=0), None),
        (replace(NEW, older_ill=1), None),
        (replace(NEW, proven=True), None),
        (replace(NEW, arriving=False), None),
        (ALL, Whose.SERVICE),
        (replace(ALL, ill=4), None),
        (replace(ALL, changed_ago_s=3600.0), None),
        (replace(ALL, size=1, ill=1), None),
    ],
)
def test_the_table(seen: Evidence, whose: Whose | None) -> None:
    """A line holds for its evidence, and not for its counter-example."""
    blamed = judge(seen)
    assert (blamed.whose if blamed else None) is whose
    assert blamed is None or (blamed.cause.whose is whose and str(blamed.cause) == blamed.words)


def test_the_page_has_the_table() -> None:
    """docs/healing.md shows what decides."""
    assert blame.table() in (REPOSITORY / "docs" / "healing.md").read_text()
